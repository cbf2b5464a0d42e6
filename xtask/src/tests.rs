//! `cargo xtask test`: every check of the project, in the order in which they fail fastest.

mod count;

use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use crate::run::{apt_install, cargo, check, output, program, root};
use crate::{man, wasm};
use count::Count;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Run only these steps
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    only: Vec<String>,
    /// Leave these steps out
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    skip: Vec<String>,
    /// Name the steps and stop
    #[arg(long)]
    list: bool,
}

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn() -> Result<Count>,
}

const STEPS: [Step; 10] = [
    Step {
        name: "fmt",
        what: "the code is formatted",
        run: fmt,
    },
    Step {
        name: "clippy",
        what: "no warnings from the compiler or clippy",
        run: clippy,
    },
    Step {
        name: "unit",
        what: "unit and integration tests",
        run: unit,
    },
    Step {
        name: "doctests",
        what: "examples in the documentation",
        run: doctests,
    },
    Step {
        name: "golden",
        what: "the golden checks run over a folder",
        run: golden,
    },
    Step {
        name: "examples",
        what: "example programs run",
        run: examples,
    },
    Step {
        name: "man",
        what: "manual pages and shell completions can be made",
        run: manual,
    },
    Step {
        name: "docs",
        what: "documentation builds without warnings",
        run: docs,
    },
    Step {
        name: "wasm",
        what: "the core builds for the browser",
        run: wasm_build,
    },
    Step {
        name: "interop",
        what: "the JavaScript implementation reads and writes our ledgers",
        run: interop,
    },
];

pub(crate) fn run(options: &Options) -> Result<()> {
    if options.list {
        for step in &STEPS {
            println!("{:<10} {}", step.name, step.what);
        }
        return Ok(());
    }
    if let Some(unknown) = options
        .only
        .iter()
        .chain(&options.skip)
        .find(|name| STEPS.iter().all(|s| s.name != *name))
    {
        bail!("no step is called `{unknown}`; --list names them");
    }
    let chosen = STEPS.iter().filter(|step| {
        (options.only.is_empty() || options.only.iter().any(|name| name == step.name))
            && !options.skip.iter().any(|name| name == step.name)
    });
    let mut total = Count::default();
    let mut broken = Vec::new();
    for step in chosen {
        eprintln!("\n==> {}: {}", step.name, step.what);
        let began = Instant::now();
        match (step.run)() {
            Ok(count) => total += count,
            Err(error) => {
                eprintln!("error: {error:#}");
                broken.push(step.name);
            }
        }
        eprintln!(
            "    {} took {:.1} s",
            step.name,
            began.elapsed().as_secs_f64()
        );
    }
    // The last line is the one that test-reading tools look for.
    if !broken.is_empty() {
        eprintln!("\nbroken steps: {}", broken.join(", "));
        println!(
            "{} passed, {} failed",
            total.passed,
            total.failed.max(broken.len() as u64)
        );
        std::process::exit(1);
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(())
}

fn fmt() -> Result<Count> {
    check(cargo().args(["fmt", "--all", "--check"]))?;
    Ok(Count::default())
}

fn clippy() -> Result<Count> {
    check(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))?;
    Ok(Count::default())
}

fn docs() -> Result<Count> {
    check(
        cargo()
            .args(["doc", "--workspace", "--no-deps", "--locked", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    Ok(Count::default())
}

fn unit() -> Result<Count> {
    install_postgres()?;
    let has_nextest = output(cargo().args(["nextest", "--version"])).is_some();
    if has_nextest {
        count::run(cargo().args([
            "nextest",
            "run",
            "--workspace",
            "--locked",
            "--no-fail-fast",
        ]))
    } else {
        count::run(cargo().args([
            "test",
            "--workspace",
            "--locked",
            "--no-fail-fast",
            "--bins",
            "--lib",
            "--tests",
        ]))
    }
}

/// Tests start clusters of their own; only the programs are needed.
fn install_postgres() -> Result<()> {
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut debian = debian.flatten().map(|version| version.path());
    if debian.any(|version| version.join("bin/initdb").exists())
        || output(program("initdb").arg("--version")).is_some()
    {
        return Ok(());
    }
    apt_install(&["postgresql"], "tests of several servers need PostgreSQL")
}

fn doctests() -> Result<Count> {
    count::run(cargo().args(["test", "--workspace", "--locked", "--no-fail-fast", "--doc"]))
}

/// The same checks as the core's tests make, through the commands that check other folders.
fn golden() -> Result<Count> {
    let golden = root().join("crates/firebrick-core/tests/golden");
    let mut count = Count::default();
    for what in ["vectors", "fixtures"] {
        count::run(
            program(std::env::current_exe()?)
                .arg(what)
                .arg(golden.join(what)),
        )?;
        // Tens of thousands of comparisons are one test.
        count.passed += 1;
    }
    Ok(count)
}

/// Runs each example of the library: they are the first code that a newcomer copies.
fn examples() -> Result<Count> {
    let folder = root().join("crates/firebrick/examples");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .map(|entries| {
            entries
                .filter_map(|entry| {
                    entry
                        .ok()?
                        .path()
                        .file_stem()
                        .map(|stem| stem.to_string_lossy().into_owned())
                })
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    let mut count = Count::default();
    for name in names {
        check(cargo().args([
            "run",
            "--locked",
            "--quiet",
            "--package",
            "firebrick",
            "--example",
            &name,
        ]))?;
        count.passed += 1;
    }
    Ok(count)
}

fn manual() -> Result<Count> {
    man::run(&root().join("target/man"))?;
    Ok(Count::default())
}

fn wasm_build() -> Result<Count> {
    wasm::run()?;
    Ok(Count::default())
}

fn interop() -> Result<Count> {
    let folder = root().join("interop");
    if !folder.join("package.json").exists() {
        eprintln!("    no interop project here");
        return Ok(Count::default());
    }
    if output(program("node").arg("--version")).is_none()
        || output(program("npm").arg("--version")).is_none()
    {
        apt_install(&["nodejs", "npm"], "the interop tests need Node.js and npm")?;
    }
    let browser = std::env::var_os("CHROMIUM").unwrap_or_else(|| "/usr/bin/chromium".into());
    if !std::path::Path::new(&browser).exists() {
        apt_install(
            &["chromium"],
            "the server's admin page is tested in Chromium",
        )?;
    }
    check(
        program("npm")
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&folder),
    )?;
    let mut count = count::run(program("npm").args(["test"]).current_dir(&folder))?;
    // These need the packages, so the other steps leave them out.
    for package in ["firebrick", "firebrick-server"] {
        count += count::run(cargo().args([
            "test",
            "--locked",
            "--package",
            package,
            "--test",
            "interop",
            "--",
            "--ignored",
        ]))?;
    }
    Ok(count)
}
