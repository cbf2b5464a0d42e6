//! `cargo xtask wasm`: `firebrick-core` must build for the browser, which proves that it
//! uses no files, clocks, threads or runtime.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::run::{apt_install, cargo, check, output, program, root};

const TARGET: &str = "wasm32-unknown-unknown";
/// Debian ships a cargo and the standard library's source apart from the default toolchain.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_LINKER: &str = "/usr/bin/wasm-ld-22";

pub(crate) fn run() -> Result<()> {
    if toolchain_has_target() {
        check(
            cargo()
                .args(build_arguments())
                .env("CARGO_TARGET_DIR", target_dir()),
        )?;
    } else {
        build_with_debian()?;
    }
    let library = target_dir()
        .join(TARGET)
        .join("debug")
        .join("libfirebrick_core.rlib");
    ensure!(library.exists(), "the build left no {}", library.display());
    Ok(())
}

fn build_arguments() -> [&'static str; 7] {
    [
        "build",
        "--locked",
        "--package",
        "firebrick-core",
        "--no-default-features",
        "--target",
        TARGET,
    ]
}

/// Its own folder: another compiler version would rebuild everything else in turns.
fn target_dir() -> PathBuf {
    root().join("target").join("wasm")
}

fn toolchain_has_target() -> bool {
    output(program("rustc").args(["--print", "sysroot"])).is_some_and(|sysroot| {
        Path::new(&sysroot)
            .join("lib/rustlib")
            .join(TARGET)
            .join("lib")
            .is_dir()
    })
}

/// Builds the standard library from source, which stable cargo does only by this switch.
fn build_with_debian() -> Result<()> {
    let source =
        Path::new("/usr/lib/rustlib/src/rust/library").exists() || debian_source().is_some();
    if !Path::new(DEBIAN_CARGO).exists() || !Path::new(DEBIAN_LINKER).exists() || !source {
        apt_install(
            &DEBIAN_PACKAGES,
            &format!("this toolchain has no standard library for {TARGET}"),
        )?;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian_first = std::env::join_paths(
        std::iter::once(PathBuf::from("/usr/bin")).chain(std::env::split_paths(&path)),
    )?;
    check(
        program(DEBIAN_CARGO)
            .args(build_arguments())
            .arg("-Zbuild-std=std,panic_abort")
            .env("PATH", debian_first)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER)
            .env("CARGO_TARGET_DIR", target_dir())
            .env_remove("RUSTC")
            .env_remove("RUSTUP_TOOLCHAIN"),
    )
}

fn debian_source() -> Option<String> {
    output(program("dpkg-query").args(["-W", "-f=${Status}", "rust-web-src"]))
        .filter(|status| status.contains("install ok installed"))
}
