//! `cargo xtask man`: the manual pages and completion scripts of the `firebrick` command.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::run::{cargo, check, output};

const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

pub(crate) fn run(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let dir = dir.canonicalize()?;
    let firebrick = ["run", "--quiet", "--locked", "-p", "firebrick-cli", "--"];
    let pages = dir.join("man1");
    check(
        cargo()
            .args(firebrick)
            .args(["--quiet", "man-pages"])
            .arg(&pages),
    )?;
    ensure!(
        pages.join("firebrick.1").is_file() && fs::read_dir(&pages)?.count() > 10,
        "pages are missing in {}",
        pages.display()
    );
    for shell in SHELLS {
        let script = output(cargo().args(firebrick).args(["completions", shell]));
        let script = script.with_context(|| format!("making the completions for {shell}"))?;
        ensure!(
            script.contains("firebrick"),
            "the completions for {shell} are empty"
        );
        let file = dir.join(format!("firebrick.{shell}"));
        fs::write(&file, script).with_context(|| format!("writing {}", file.display()))?;
    }
    println!("manual pages and completions are in {}", dir.display());
    Ok(())
}
