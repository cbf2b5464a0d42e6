//! The records of the demo, and each database's share of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use firebrick::{Cid, Document};
use firebrick_core::document;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::commands::import::new_id;
use crate::failure::{Exit, Failure, Result};
use crate::ndjson::{BadLine, Records};
use crate::output::document_text;

/// 3,376 airports; `data/README.md` says where they come from.
const AIRPORTS: &[u8] = include_bytes!("../../data/airports.ndjson");

/// What the databases begin with and must end with.
#[derive(Debug)]
pub(crate) struct Deal {
    pub(crate) source: String,
    /// Documents in all.
    pub(crate) records: u64,
    /// Lines that repeat an id; the last of them counts.
    pub(crate) repeated: u64,
    pub(crate) shares: Vec<Share>,
    /// The hash that every database must have over all its documents.
    pub(crate) hash: String,
}

/// One database's share.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) file: PathBuf,
    pub(crate) records: u64,
}

/// Reads all records once, gives each an id, and deals them out. A repeated id stays with the
/// database that has it, so that the last one wins there as it does in one database.
pub(crate) fn deal(
    file: Option<&Path>,
    id_field: Option<&str>,
    databases: usize,
    folder: &Path,
) -> Result<Deal> {
    let source = file.map_or_else(|| "airports".to_owned(), |file| file.display().to_string());
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::BadInput,
            "bad_file",
            format!("cannot read {source}: {error}"),
        )
    };
    let reader: Box<dyn BufRead> = match file {
        Some(file) => Box::new(BufReader::with_capacity(
            256 * 1024,
            File::open(file).map_err(failed)?,
        )),
        None => Box::new(AIRPORTS),
    };
    let mut shares = Shares::create(folder, databases)?;
    let mut dealt: BTreeMap<String, (usize, Cid)> = BTreeMap::new();
    let mut repeated = 0;
    let mut records = Records::new(reader, id_field.map(str::to_owned));
    while let Some(record) = records.next().map_err(failed)? {
        let record = record.map_err(|bad| bad_line(&source, &bad))?;
        let line = record.line;
        let json = Value::Object(record.document);
        let (id, cid) =
            identify(&json).map_err(|reason| bad_line(&source, &BadLine { line, reason }))?;
        let next = dealt.len() % databases;
        let owner = match dealt.get(&id) {
            Some((owner, _)) => {
                repeated += 1;
                *owner
            }
            None => next,
        };
        shares.write(owner, json, &id)?;
        dealt.insert(id, (owner, cid));
    }
    if dealt.is_empty() {
        return Err(Failure::bad_input(format!("{source} holds no record")));
    }
    let mut shares = shares.finish()?;
    for (owner, _) in dealt.values() {
        shares[*owner].records += 1;
    }
    let mut hash = Proof::default();
    for (id, (_, cid)) in &dealt {
        hash.add(id, cid);
    }
    Ok(Deal {
        source,
        records: dealt.len() as u64,
        repeated,
        shares,
        hash: hash.finish(),
    })
}

fn identify(json: &Value) -> Result<(String, Cid), String> {
    let document = Document::from_json(json).map_err(|error| error.to_string())?;
    let mut failed = None;
    let generate = || {
        new_id().unwrap_or_else(|error| {
            failed = Some(error.to_string());
            String::new()
        })
    };
    let (id, block) =
        document::encode_own(&document, generate).map_err(|error| error.to_string())?;
    failed.map_or(Ok((id, block.cid)), Err)
}

fn bad_line(source: &str, bad: &BadLine) -> Failure {
    Failure::new(
        Exit::BadInput,
        "bad_line",
        format!("line {} of {source} is no record: {}", bad.line, bad.reason),
    )
    .hint("each line must be a JSON object, such as {\"name\": \"x\"}")
}

/// Hash over all documents in the order of their ids. A document's CID is the hash of its content,
/// so equal hashes mean equal ids and equal values.
#[derive(Default)]
pub(crate) struct Proof(Sha256);

impl Proof {
    pub(crate) fn add(&mut self, id: &str, cid: &Cid) {
        self.0.update(id.as_bytes());
        self.0.update(b"\n");
        self.0.update(cid.to_string().as_bytes());
        self.0.update(b"\n");
    }

    pub(crate) fn finish(self) -> String {
        self.0
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

struct Shares {
    files: Vec<PathBuf>,
    writers: Vec<BufWriter<File>>,
}

impl Shares {
    fn create(folder: &Path, databases: usize) -> Result<Shares> {
        let files: Vec<PathBuf> = (1..=databases)
            .map(|number| folder.join(format!("share-{number}.ndjson")))
            .collect();
        let writers = files.iter().map(|file| {
            Ok(BufWriter::new(
                File::create(file).map_err(|e| cannot_write(file, &e))?,
            ))
        });
        Ok(Shares {
            writers: writers.collect::<Result<_>>()?,
            files,
        })
    }

    fn write(&mut self, owner: usize, mut document: Value, id: &str) -> Result<()> {
        if let Value::Object(fields) = &mut document {
            fields.insert("_id".to_owned(), Value::String(id.to_owned()));
        }
        let text = document_text(&document, false);
        let result = writeln!(self.writers[owner], "{text}");
        result.map_err(|error| cannot_write(&self.files[owner], &error))
    }

    fn finish(mut self) -> Result<Vec<Share>> {
        for (writer, file) in self.writers.iter_mut().zip(&self.files) {
            writer.flush().map_err(|error| cannot_write(file, &error))?;
        }
        Ok(self
            .files
            .into_iter()
            .map(|file| Share { file, records: 0 })
            .collect())
    }
}

fn cannot_write(file: &Path, error: &std::io::Error) -> Failure {
    Failure::bad_input(format!("cannot write {}: {error}", file.display()))
        .hint("--dir names another folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_airports_are_dealt_evenly() {
        let dir = tempfile::tempdir().unwrap();
        let records = deal(None, None, 5, dir.path()).unwrap();
        assert_eq!((records.records, records.repeated), (3376, 0));
        let shares: Vec<u64> = records.shares.iter().map(|share| share.records).collect();
        assert_eq!(shares, [676, 675, 675, 675, 675]);
        // The hash depends on the documents, not on how they were dealt.
        let other = tempfile::tempdir().unwrap();
        assert_eq!(
            deal(None, None, 3, other.path()).unwrap().hash,
            records.hash
        );
    }

    #[test]
    fn a_repeated_id_stays_with_its_database() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("records.ndjson");
        std::fs::write(
            &file,
            "{\"_id\":\"a\",\"n\":1}\n{\"_id\":\"b\"}\n{\"_id\":\"a\",\"n\":2}\n",
        )
        .unwrap();
        let records = deal(Some(&file), None, 2, dir.path()).unwrap();
        assert_eq!((records.records, records.repeated), (2, 1));
        let first = std::fs::read_to_string(&records.shares[0].file).unwrap();
        assert_eq!(first, "{\"_id\":\"a\",\"n\":1}\n{\"_id\":\"a\",\"n\":2}\n");
    }

    #[test]
    fn bad_records_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("records.ndjson");
        for (text, line) in [
            ("{}\n[1]\n", "line 2"),
            ("{\"_id\":\"é\"}\n", "line 1"),
            ("\n\n", "no record"),
        ] {
            std::fs::write(&file, text).unwrap();
            let failure = deal(Some(&file), None, 2, dir.path()).unwrap_err();
            assert_eq!(failure.exit_code, Exit::BadInput);
            assert!(failure.message.contains(line), "{failure}");
        }
    }
}
