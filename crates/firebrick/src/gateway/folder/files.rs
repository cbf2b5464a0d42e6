//! File operations: complete files only, synced in the right order, errors in plain words.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::layout::temporary_name;
use super::{Folder, lock};
use crate::buffers::{Buffer, Buffers};
use crate::gateway::GatewayResult;
use crate::gateway::error::{GatewayError, GatewayErrorKind};
use crate::store;

/// Bytes compared at a time.
const COMPARE_CHUNK: usize = 64 << 10;

/// When a file is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    /// Before it is visible.
    Now,
    /// Before the next announcement.
    Later,
    /// As `Later`; but a sync has failed, after which a second one may wrongly succeed. It must be
    /// written again.
    Rewrite,
}

impl Folder {
    /// Writes a file so that its name shows the old content or the new one, never anything else.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8], sync: Sync) -> GatewayResult<()> {
        self.check_writable()?;
        let directory = path.parent().unwrap_or(&self.layout.root);
        let temporary = self.temporary_in(directory);
        let written = write_new(&temporary, bytes, sync)
            .and_then(|()| rename(&temporary, path))
            .and_then(|()| match sync {
                Sync::Later => Ok(()),
                Sync::Now | Sync::Rewrite => sync_directory(directory),
            });
        written.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            self.explain("can't be written", path, error)
        })
    }

    /// Makes durable what was put since the last time.
    pub(super) fn sync_cars(&self) -> GatewayResult<()> {
        // Taken out while at it: what is put meanwhile is the next announcement's business.
        let mut files = std::mem::take(&mut *lock(&self.unsynced));
        if files.is_empty() {
            return Ok(());
        }
        let result = self.sync_all(&mut files);
        if result.is_err() {
            lock(&self.unsynced).append(&mut files);
        }
        result
    }

    fn sync_all(&self, files: &mut std::collections::BTreeMap<PathBuf, Sync>) -> GatewayResult<()> {
        for (path, sync) in &mut *files {
            let result = match sync {
                Sync::Rewrite => self.rewrite(path),
                Sync::Now | Sync::Later => sync_file(path).map_err(|error| {
                    *sync = Sync::Rewrite;
                    self.explain("can't be synced", path, error)
                }),
            };
            result?;
        }
        let data = &self.layout.data;
        sync_directory(data).map_err(|error| {
            files.values_mut().for_each(|sync| *sync = Sync::Rewrite);
            self.explain("can't be synced", data, error)
        })
    }

    fn rewrite(&self, path: &Path) -> GatewayResult<()> {
        match self.read(path, u64::MAX)? {
            Some(bytes) => self.replace(path, &bytes, Sync::Rewrite),
            // Somebody deleted it meanwhile, as it may happen to any CAR at any time.
            None => Ok(()),
        }
    }

    /// Reads a file; `None` if there is none.
    pub(super) fn read(&self, path: &Path, limit: u64) -> GatewayResult<Option<Bytes>> {
        let read = || -> io::Result<Result<Buffer, u64>> {
            let mut file = File::open(path)?;
            let metadata = file.metadata()?;
            if metadata.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            if metadata.len() > limit {
                return Ok(Err(metadata.len()));
            }
            let len = usize::try_from(metadata.len()).unwrap_or(0);
            let mut bytes = Buffers::shared().empty(len);
            file.read_to_end(&mut bytes)?;
            Ok(Ok(bytes))
        };
        match read() {
            Ok(Ok(bytes)) => Ok(Some(bytes.into())),
            Ok(Err(len)) => {
                let path = path.display();
                let message = format!("{path} has {len} bytes, more than the limit of {limit}");
                Err(GatewayError::new(GatewayErrorKind::TooLarge, message))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.explain("can't be read", path, error)),
        }
    }

    /// Removes a file, which may be gone already.
    pub(super) fn remove(&self, path: &Path) -> GatewayResult<()> {
        self.check_writable()?;
        lock(&self.unsynced).remove(path);
        match fs::remove_file(path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.explain("can't be removed", path, error)),
        }
    }

    fn check_writable(&self) -> GatewayResult<()> {
        lock(&self.read_only).clone().map_or(Ok(()), Err)
    }

    /// A path for a temporary file in `directory`.
    pub(super) fn temporary_in(&self, directory: &Path) -> PathBuf {
        let mut random = [0; 16];
        self.env.fill_random(&mut random);
        directory.join(temporary_name(random))
    }

    /// The folder isn't there (any more).
    pub(super) fn gone(&self) -> GatewayError {
        let root = self.layout.root.display();
        let message = format!(
            "the folder {root} isn't there, or not its directories `data` and `meta`; is its drive \
             mounted? It is tried again; if the folder is lost for good, attach it anew"
        );
        GatewayError::new(GatewayErrorKind::Unavailable, message)
    }

    /// An error of the file system, with what it means here and what to do.
    pub(super) fn explain(&self, what: &str, path: &Path, error: io::Error) -> GatewayError {
        use io::ErrorKind as E;
        let (kind, advice) = match error.kind() {
            E::NotFound if !(self.layout.meta.is_dir() && self.layout.data.is_dir()) => {
                return self.gone().with_source(error);
            }
            E::PermissionDenied => (
                GatewayErrorKind::Denied,
                "check the owner and the permissions of the folder",
            ),
            E::ReadOnlyFilesystem => (
                GatewayErrorKind::ReadOnly,
                "the file system is mounted read-only; what others put there can still be read",
            ),
            E::StorageFull | E::QuotaExceeded => (
                GatewayErrorKind::Full,
                "there is no space left; make room, nothing is lost and it is tried again",
            ),
            E::NotADirectory | E::AlreadyExists => (
                GatewayErrorKind::Foreign,
                "there is a file where a folder should be; give the path of a folder",
            ),
            E::IsADirectory => (
                GatewayErrorKind::Foreign,
                "there is a folder where a file should be; move it away",
            ),
            E::NetworkDown
            | E::NetworkUnreachable
            | E::HostUnreachable
            | E::StaleNetworkFileHandle
            | E::TimedOut
            | E::ResourceBusy
            | E::Interrupted => (
                GatewayErrorKind::Unavailable,
                "the drive doesn't answer; it is tried again",
            ),
            E::InvalidFilename => (GatewayErrorKind::InvalidUrl, "give another path"),
            _ => (GatewayErrorKind::Other, "it is tried again"),
        };
        let message = format!("{} {what}: {error}; {advice}", path.display());
        GatewayError::new(kind, message).with_source(error)
    }
}

/// Whether a file has exactly this content. If in doubt, no.
pub(super) fn holds(path: &Path, bytes: &[u8]) -> bool {
    let Ok(mut file) = File::open(path) else {
        return false;
    };
    let same_length = file
        .metadata()
        .is_ok_and(|metadata| metadata.len() == bytes.len() as u64);
    let mut buffer = vec![0; bytes.len().min(COMPARE_CHUNK)];
    same_length
        && bytes.chunks(COMPARE_CHUNK).all(|chunk| {
            let buffer = &mut buffer[..chunk.len()];
            file.read_exact(buffer).is_ok() && buffer == chunk
        })
}

fn write_new(path: &Path, bytes: &[u8], sync: Sync) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    match sync {
        Sync::Later => Ok(()),
        Sync::Now | Sync::Rewrite => file.sync_all(),
    }
}

/// On Windows a reader can be in the way for a moment.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let mut result = fs::rename(from, to);
    for pause in [1, 4, 16, 64] {
        if !(cfg!(windows) && result.is_err()) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(pause));
        result = fs::rename(from, to);
    }
    result
}

fn sync_file(path: &Path) -> io::Result<()> {
    // Windows syncs only what was opened for writing.
    match File::options().read(true).write(cfg!(windows)).open(path) {
        Ok(file) => file.sync_all(),
        // Somebody deleted it meanwhile, as it may happen to any CAR at any time.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the names in a directory durable, as far as its file system can.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    match store::sync_directory(path) {
        // Some network file systems can't sync directories, and have nothing better.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        result => result,
    }
}
