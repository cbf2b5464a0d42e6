//! The golden fixtures: ledgers as JavaScript left them, and what must be seen in them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytes::Bytes;
use firebrick_core::Cid;
use firebrick_core::keys::{self, KeySet};
use firebrick_core::ledger::{Ledger, Part, Source, SourceError};
use firebrick_core::urls;

use super::Report;
use expected::{Expected, LedgerExpected};

mod expected;
mod files;
mod query;
mod read;
mod replay;
mod several;

/// A ledger read from a fixture.
type Opened = Ledger<Directory, KeySet>;

/// Checks every fixture in a folder.
pub(crate) fn check(dir: &Path, report: &mut Report) -> Result<()> {
    let mut cases = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            cases.push(path);
        }
    }
    cases.sort();
    for case in cases {
        let name = case.file_name().unwrap_or_default().to_string_lossy();
        report.at(&name);
        if let Err(error) = check_case(&case, &name, report) {
            report.check(false, || format!("{error:#}"));
        }
    }
    Ok(())
}

fn check_case(dir: &Path, name: &str, report: &mut Report) -> Result<()> {
    let json = fs::read(dir.join("expected.json")).context("expected.json")?;
    let expected: Expected = serde_json::from_slice(&json).context("expected.json")?;
    report.eq("the case", expected.case.as_str(), name);
    for (ledger, expected) in &expected.ledgers {
        let fixture = Fixture::new(dir, name, ledger, expected)?;
        let data = fixture.open(Part::Data);
        read::check(&fixture, &data, report);
        files::check(&fixture, &data, report);
        several::check(&fixture, &data, report);
        query::check(&fixture, &data, report);
    }
    read::in_memory(dir, name, &expected, report)?;
    replay::check(dir, name, &expected, report)
}

/// One ledger of a fixture.
struct Fixture<'a> {
    /// For messages.
    name: String,
    root: PathBuf,
    expected: &'a LedgerExpected,
    data_keys: Option<KeySet>,
    index_keys: Option<KeySet>,
}

impl<'a> Fixture<'a> {
    fn new(case: &Path, name: &str, ledger: &'a str, expected: &'a LedgerExpected) -> Result<Self> {
        let key_set = |store: &str| -> Result<Option<KeySet>> {
            let Some(bag) = &expected.keybag else {
                return Ok(None);
            };
            let default = || urls::default_key_name(ledger, store);
            let name = expected.storekey.clone().unwrap_or_else(default);
            let path = case.join(bag).join(keys::file_name(&name));
            let json = match fs::read_to_string(&path) {
                // Stores that were never opened have no key yet.
                Err(error) if error.kind() == ErrorKind::NotFound && store != "data" => {
                    return Ok(None);
                }
                json => json.with_context(|| path.display().to_string())?,
            };
            let set = KeySet::from_json(&json).with_context(|| path.display().to_string())?;
            Ok(Some(set))
        };
        Ok(Self {
            name: format!("{name} {ledger}"),
            root: case.join(&expected.dir),
            expected,
            data_keys: key_set("data")?,
            index_keys: key_set("data-idx")?,
        })
    }

    fn keys(&self, part: Part) -> Option<&KeySet> {
        match part {
            Part::Data => self.data_keys.as_ref(),
            Part::Index => self.index_keys.as_ref(),
        }
    }

    fn open(&self, part: Part) -> Opened {
        let source = Directory(self.root.clone());
        Ledger::open(source, self.keys(part).cloned(), part)
    }

    fn read(&self, path: &str) -> Result<Option<Bytes>, SourceError> {
        Directory(self.root.clone()).read(path)
    }

    /// The names of the files in a part's directory of CARs.
    fn names(&self, part: Part) -> Vec<String> {
        let dir = self.root.join(format!("{}data", part.prefix()));
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        names
    }

    /// The CARs in a part's directory.
    fn cars(&self, part: Part) -> Vec<Cid> {
        let names = self.names(part).into_iter();
        names
            .filter_map(|name| name.strip_suffix(".car")?.parse().ok())
            .collect()
    }

    fn at(&self, what: &str) -> String {
        format!("{} {what}", self.name)
    }
}

/// A ledger's directory on disk.
struct Directory(PathBuf);

impl Source for Directory {
    fn read(&self, path: &str) -> Result<Option<Bytes>, SourceError> {
        match fs::read(self.0.join(path)) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
