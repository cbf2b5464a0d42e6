//! From backup files to a database.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firebrick_core::backup::{FileHead, Header};
use firebrick_core::keys::{Key, KeyId};
use firebrick_core::{Block, clock, file};

use super::read::{BackupReader, Part};
use super::{BackupError, BackupInfo, RestoreReport, at, folder_of};
use crate::env::{self, RealEnv};
use crate::error::{Error, Result};
use crate::files;
use crate::keys::Places;
use crate::ledger::{Ledger, Snapshot};
use crate::store::{BlobWriter, sync_directory};
use crate::{Builder, Database};

/// What the history of a restored database says where its events came from.
const ORIGIN: &str = "restored backup";

/// Reads a whole backup and checks everything in it.
pub(crate) async fn inspect(file: PathBuf, options: Builder) -> Result<BackupInfo> {
    let env = options.env.clone();
    let env = env.unwrap_or_else(|| Arc::new(RealEnv::new()));
    let job = move || {
        let finder = Finder::new(&options)?;
        let (mut reader, header) = finder.open(&file)?;
        loop {
            if let Part::End(trailer) = reader.next()? {
                return Ok(reader.info(header, trailer));
            }
        }
    };
    env::blocking(&*env, job).await.map_err(|_| Error::Closed)?
}

/// Finds the key of a backup: given, or somewhere among those that are kept.
struct Finder<'a> {
    options: &'a Builder,
    places: Places,
    looked: Vec<String>,
}

impl<'a> Finder<'a> {
    fn new(options: &'a Builder) -> Result<Self> {
        let places = Places::of(options)?;
        let looked = places.described();
        Ok(Self {
            options,
            places,
            looked,
        })
    }

    fn find(&self, id: &KeyId) -> Result<Option<Key>> {
        if let Some(text) = &self.options.key {
            let key = Key::from_text(text.trim())
                .map_err(|error| Error::Keys(format!("not a key: {error}")))?;
            if key.key_id() == *id {
                return Ok(Some(key));
            }
        }
        Ok(self.places.search(id)?.map(|(_, key)| key))
    }

    fn open(&self, file: &Path) -> Result<(BackupReader, Header)> {
        BackupReader::open(file, |id| self.find(id), &self.looked)
    }
}

/// Restores into a directory beside the target, which takes the target's place when it is whole.
pub(crate) async fn restore(
    files: Vec<PathBuf>,
    options: Builder,
) -> Result<(Database, RestoreReport)> {
    if files.is_empty() {
        return Err(BackupError::Nothing.into());
    }
    let name = crate::database::ledger_name(&options)?;
    let own_store = options.store.as_ref();
    let Some(target) = options.path.clone().filter(|_| own_store.is_none()) else {
        if own_store.is_some_and(|store| !store.head().is_empty()) {
            let path = options.path.unwrap_or_default();
            return Err(BackupError::NotEmpty { path }.into());
        }
        take_key(&files, &options, &name)?;
        let database = options.name(name).open().await?;
        let report = fill(&database, files).await?;
        return Ok((database, report));
    };
    if !is_free(&target).map_err(Error::io(format!("looking at {}", target.display())))? {
        return Err(BackupError::NotEmpty { path: target }.into());
    }
    take_key(&files, &options, &name)?;
    let what = || format!("restoring into {}", target.display());
    let folder = folder_of(&target);
    std::fs::create_dir_all(folder).map_err(Error::io(what()))?;
    let staging = tempfile::Builder::new()
        .prefix(".restoring-")
        .tempdir_in(folder)
        .map_err(Error::io(what()))?;
    let database = at(&options, staging.path(), &name).open().await?;
    let filled = fill(&database, files).await;
    database.close().await?;
    drop(database);
    let report = filled?;
    let move_in = || {
        match std::fs::remove_dir(&target) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::rename(staging.path(), &target)?;
        sync_directory(folder)
    };
    move_in().map_err(Error::io(what()))?;
    // It has moved: nothing is left to remove.
    let _ = staging.keep();
    let database = options.name(name).open().await?;
    Ok((database, report))
}

fn is_free(target: &Path) -> std::io::Result<bool> {
    match std::fs::read_dir(target) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(error),
    }
}

/// Looks that the files begin well, and saves the key of the last one under the new name.
fn take_key(files: &[PathBuf], options: &Builder, name: &str) -> Result<()> {
    let finder = Finder::new(options)?;
    let mut last = None;
    for (at, file) in files.iter().enumerate() {
        let (reader, header) = finder.open(file)?;
        if reader.is_plain() != options.insecure {
            return Err(BackupError::CipherMismatch {
                file: file.clone(),
                plain: reader.is_plain(),
            }
            .into());
        }
        if at == 0 && !header.base.is_empty() {
            return Err(missing_base(file, header));
        }
        last = reader.key().cloned();
    }
    match last {
        Some(key) if !finder.places.adopt(name, &key)? => Err(BackupError::NameTaken {
            name: name.to_owned(),
            fingerprint: key.fingerprint(),
        }
        .into()),
        _ => Ok(()),
    }
}

fn missing_base(file: &Path, header: Header) -> Error {
    BackupError::MissingBase {
        file: file.to_owned(),
        base: header.base,
    }
    .into()
}

async fn fill(database: &Database, files: Vec<PathBuf>) -> Result<RestoreReport> {
    let ledger = database.ledger();
    let of = Arc::clone(ledger);
    ledger.blocking(move || fill_now(&of, &files)).await
}

fn fill_now(ledger: &Ledger, files: &[PathBuf]) -> Result<RestoreReport> {
    let mut infos: Vec<BackupInfo> = Vec::new();
    for file in files {
        let before = infos.last().map_or(&[][..], |info| &info.head);
        let info = take_in(ledger, file, before)?;
        infos.push(info);
    }
    let Some(last) = infos.last() else {
        return Err(BackupError::Nothing.into());
    };
    let (head, root) = (last.head.clone(), last.root);
    ledger.store().sync_blobs()?;
    ledger.begin_at(&head, root).map_err(|error| {
        let is_unfit = error.unreadable().is_some() || matches!(error, Error::Malformed { .. });
        match is_unfit {
            true => Error::from(BackupError::Damaged {
                file: files.last().cloned().unwrap_or_default(),
                at: last.file_bytes,
                what: error.to_string(),
            }),
            false => error,
        }
    })?;
    let snapshot = ledger.saved_snapshot()?;
    // What one backup lacks, another may hold.
    let (mut missing, mut missing_files) = (BTreeSet::new(), BTreeSet::new());
    for info in &infos {
        for id in &info.missing {
            if is_missing(ledger, &snapshot, id)? {
                missing.insert(id.clone());
            }
        }
        for (id, name) in &info.missing_files {
            if lacks_file(ledger, &snapshot, id, name)? {
                missing_files.insert((id.clone(), name.clone()));
            }
        }
    }
    Ok(RestoreReport {
        files: infos,
        head,
        root,
        missing: missing.into_iter().collect(),
        missing_files: missing_files.into_iter().collect(),
    })
}

fn is_missing(ledger: &Ledger, snapshot: &Snapshot, id: &str) -> Result<bool> {
    let cid = snapshot.tree.get(&ledger.source, id)?;
    cid.map_or(Ok(false), |cid| Ok(!ledger.source.contains(&cid)?))
}

fn lacks_file(ledger: &Ledger, snapshot: &Snapshot, id: &str, name: &str) -> Result<bool> {
    let Some(cid) = snapshot.tree.get(&ledger.source, id)? else {
        return Ok(false);
    };
    let Some(document) = ledger.store().block(&cid)? else {
        return Ok(false);
    };
    for entry in file::entries(&document) {
        if entry.name == name {
            let Some(items) = files::items(ledger, &entry)? else {
                return Ok(true);
            };
            for item in &items {
                if !files::is_here(ledger, item)? {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// A content on its way to the disk.
enum Incoming {
    Beside(BlobWriter),
    /// The store keeps all blocks alike.
    Whole(Vec<u8>),
}

/// Takes in one content of a file; the reader checks that it is whole and has its hash.
fn take_content(ledger: &Ledger, reader: &mut BackupReader, head: FileHead) -> Result<()> {
    let mut incoming = match ledger.store().stage_blob()? {
        Some(writer) => Incoming::Beside(writer),
        None => Incoming::Whole(Vec::new()),
    };
    let mut left = head.len;
    while left > 0 {
        let Part::Bytes(bytes) = reader.next()? else {
            // Given up by the writer.
            return Ok(());
        };
        left = left.saturating_sub(bytes.len() as u64);
        match &mut incoming {
            Incoming::Beside(writer) => writer.write(&bytes)?,
            Incoming::Whole(all) => all.extend_from_slice(&bytes),
        }
    }
    match incoming {
        Incoming::Beside(writer) => {
            let staged = writer.finish(head.cid)?.sync()?;
            Ok(ledger.store().show_blobs(vec![staged])?)
        }
        Incoming::Whole(bytes) => {
            let (cid, bytes) = (head.cid, bytes.into());
            ledger.ingest(vec![Block { cid, bytes }], ORIGIN, &[])?;
            Ok(())
        }
    }
}

/// Stores the blocks of one file, which must go on from what is here.
fn take_in(ledger: &Ledger, file: &Path, before: &[firebrick_core::Cid]) -> Result<BackupInfo> {
    let find = |id: &KeyId| Ok(ledger.keys.key(id));
    let (mut reader, header) = BackupReader::open(file, find, &["the new database".to_owned()])?;
    for event in &header.base {
        if !clock::contains(&ledger.source, before, event).unwrap_or(false) {
            return Err(missing_base(file, header));
        }
    }
    loop {
        match reader.next()? {
            Part::Blocks(blocks) => {
                ledger.ingest(blocks, ORIGIN, &[])?;
            }
            Part::Content(head) => take_content(ledger, &mut reader, head)?,
            // They only come within a content.
            Part::Bytes(_) | Part::Abandoned => {}
            Part::End(trailer) => {
                let joined = clock::join(&ledger.source, before, &header.head)
                    .map_err(|error| reader.damaged(error.to_string()))?;
                if joined != header.head {
                    return Err(BackupError::WrongOrder {
                        file: file.to_owned(),
                    }
                    .into());
                }
                return Ok(reader.info(header, trailer));
            }
        }
    }
}
