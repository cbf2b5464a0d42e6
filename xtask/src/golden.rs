//! The golden checks: vectors and fixtures written by the JavaScript implementation.
//!
//! Everything is generic by schema; no check knows the name of a case. `cargo xtask vectors` and
//! `cargo xtask fixtures` run them on any folder, `cargo test` on the ones in the repository.

pub(crate) mod fixtures;
mod json;
mod report;
mod tagged;
pub(crate) mod vectors;

pub(crate) use report::Report;

use anyhow::{Result, bail};

/// Prints the summary; an error if a check failed or none ran.
pub(crate) fn finish(report: &Report) -> Result<()> {
    println!("{} passed, {} failed", report.passed, report.failed);
    if report.failed > 0 {
        bail!("{} checks failed", report.failed);
    }
    if report.passed == 0 {
        bail!("no checks ran");
    }
    Ok(())
}

/// The generator's random bytes: a linear congruential generator, the top byte of each state.
pub(crate) fn lcg_bytes(seed: u32, length: usize) -> Vec<u8> {
    lcg(seed).map(|x| (x >> 24) as u8).take(length).collect()
}

fn lcg(seed: u32) -> impl Iterator<Item = u32> {
    let mut x = seed;
    std::iter::repeat_with(move || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        x
    })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../crates/firebrick-core/tests/golden")
            .join(name)
    }

    #[test]
    fn vectors() {
        let mut report = Report::quiet();
        vectors::check(&golden("vectors"), &mut report).unwrap();
        assert!(report.failed == 0, "{:#?}", report.lines);
        assert!(report.passed > 10_000, "{}", report.passed);
    }
    #[test]
    fn fixtures() {
        let mut report = Report::quiet();
        fixtures::check(&golden("fixtures"), &mut report).unwrap();
        assert!(report.failed == 0, "{:#?}", report.lines);
        assert!(report.passed > 10_000, "{}", report.passed);
    }
}
