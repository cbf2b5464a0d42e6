//! `cargo xtask fixtures DIR`: the golden fixtures of the format.

use std::path::Path;

use anyhow::Result;

use crate::golden::{self, Report};

pub(crate) fn run(dir: &Path) -> Result<()> {
    let mut report = Report::new();
    golden::fixtures::check(dir, &mut report)?;
    golden::finish(&report)
}
