//! Where things are in a folder, and whether a folder may be used at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use firebrick_core::Cid;

use super::files::Sync;
use super::{Folder, lock};
use crate::gateway::GatewayResult;
use crate::gateway::announcement::{SLOT_ID_LEN, is_slot_byte};
use crate::gateway::error::{GatewayError, GatewayErrorKind};

/// Content of the `version` files.
const VERSION: &str = "v0.19-file";

/// CARs larger than this are not read into memory.
pub(super) const MAX_CAR_BYTES: u64 = 1 << 30;

/// Slots and pointers larger than this are not read: no honest writer makes one.
pub(super) const MAX_META_BYTES: u64 = 4 << 20;

/// Temporary files older than this were left behind by a crash.
const STALE_TEMPORARY: Duration = Duration::from_secs(24 * 3600);

const TEMPORARY_PREFIX: &str = ".firebrick-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// The paths of a folder.
pub(super) struct Layout {
    pub(super) root: PathBuf,
    pub(super) data: PathBuf,
    pub(super) meta: PathBuf,
    pub(super) heads: PathBuf,
    pub(super) pointer: PathBuf,
    /// The pointer of JavaScript's indexes.
    pub(super) index_pointer: PathBuf,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        let meta = root.join("meta");
        Self {
            root: root.to_owned(),
            data: root.join("data"),
            heads: meta.join("heads"),
            pointer: meta.join("main.json"),
            index_pointer: root.join("idx-meta/main.json"),
            meta,
        }
    }
}

/// File name of a CAR.
pub(super) fn car_name(cid: &Cid, is_file: bool) -> String {
    if is_file {
        cid.to_string()
    } else {
        format!("{cid}.car")
    }
}

/// The CAR that a file name stands for, and whether it is a file CAR.
pub(super) fn parse_car_name(name: &str) -> Option<(Cid, bool)> {
    let text = name.strip_suffix(".car");
    let cid = text.unwrap_or(name).parse().ok()?;
    Some((cid, text.is_none()))
}

/// Whether this may be the file of a slot: a slot id, or a slot id and what a file-sync tool
/// appends to the name of a conflicting copy, such as ` (conflicted copy)`, `.sync-conflict-…`, ` 2`.
pub(super) fn is_slot_name(name: &str) -> bool {
    let Some((slot, rest)) = name.as_bytes().split_at_checked(SLOT_ID_LEN) else {
        return false;
    };
    slot.iter().all(|byte| is_slot_byte(*byte))
        && rest.first().is_none_or(|byte| !is_slot_byte(*byte))
        && !rest.contains(&b'/')
        && !rest.contains(&b'\\')
        && !rest.ends_with(TEMPORARY_SUFFIX.as_bytes())
}

/// A name that nobody else uses.
pub(super) fn temporary_name(random: [u8; 16]) -> String {
    let random = u128::from_le_bytes(random);
    format!("{TEMPORARY_PREFIX}{random:032x}{TEMPORARY_SUFFIX}")
}

fn is_temporary_name(name: &str) -> bool {
    name.starts_with(TEMPORARY_PREFIX) && name.ends_with(TEMPORARY_SUFFIX)
}

/// What sync tools and file managers leave in any directory.
fn is_clutter(name: &str) -> bool {
    name.starts_with(['.', '~']) || ["Thumbs.db", "desktop.ini", "Icon\r"].contains(&name)
}

impl Folder {
    /// Checks that the folder is one of ours or free, makes what is missing, and finds out whether
    /// it can be written.
    pub(super) fn prepare(&self) -> GatewayResult<()> {
        let existing = self.inspect()?;
        *lock(&self.read_only) = None;
        match self.make_layout() {
            Ok(()) => {
                self.remove_stale_temporaries();
                Ok(())
            }
            // A folder that can only be read still gives what others put there.
            Err(error) if existing && is_not_writable(&error) => {
                tracing::warn!(%error, "the folder can only be read");
                *lock(&self.read_only) = Some(error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the folder holds the layout already. Refuses one that holds something else.
    fn inspect(&self) -> GatewayResult<bool> {
        let Layout {
            root, data, meta, ..
        } = &self.layout;
        let names = match list_names(root) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(self.explain("can't be listed", root, error)),
        };
        let has_layout = [
            meta.join("version"),
            data.join("version"),
            self.layout.pointer.clone(),
            self.layout.heads.clone(),
        ];
        if has_layout.iter().any(|path| path.exists()) {
            return Ok(true);
        }
        // What an earlier attempt left that was stopped in the middle is as good as empty.
        let foreign: Vec<&String> = names
            .iter()
            .filter(|name| !is_clutter(name))
            .filter(|name| {
                !(["data", "meta"].contains(&name.as_str()) && is_empty(&root.join(name)))
            })
            .collect();
        if foreign.is_empty() {
            return Ok(false);
        }
        Err(foreign_folder(root, &foreign))
    }

    fn make_layout(&self) -> GatewayResult<()> {
        let Layout {
            root, data, heads, ..
        } = &self.layout;
        for directory in [data, heads] {
            fs::create_dir_all(directory)
                .map_err(|error| self.explain("can't be created", directory, error))?;
        }
        for directory in [&self.layout.data, &self.layout.meta] {
            self.write_version(&directory.join("version"))?;
        }
        self.probe(heads)?;
        self.probe(data)?;
        for directory in [&self.layout.meta, root] {
            super::files::sync_directory(directory)
                .map_err(|error| self.explain("can't be synced", directory, error))?;
        }
        Ok(())
    }

    fn write_version(&self, path: &Path) -> GatewayResult<()> {
        match self.read(path, MAX_META_BYTES)? {
            None => self.replace(path, VERSION.as_bytes(), Sync::Now),
            Some(found) => {
                if found != VERSION {
                    let found = String::from_utf8_lossy(&found[..found.len().min(40)]).into_owned();
                    tracing::warn!(path = %path.display(), found, "unknown version, going on");
                }
                Ok(())
            }
        }
    }

    /// Finds out whether files can be made here.
    fn probe(&self, directory: &Path) -> GatewayResult<()> {
        let path = self.temporary_in(directory);
        fs::write(&path, b"")
            .and_then(|()| fs::remove_file(&path))
            .map_err(|error| self.explain("can't be written", directory, error))
    }

    fn is_stale(&self, path: &Path) -> bool {
        let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
        let now = UNIX_EPOCH + Duration::from_millis(self.env.unix_ms());
        let age = modified.map(|time| now.duration_since(time));
        matches!(age, Ok(Ok(age)) if age > STALE_TEMPORARY)
    }

    /// Clears away what writers left that died in the middle. Failing at it does no harm.
    fn remove_stale_temporaries(&self) {
        let Layout {
            data, meta, heads, ..
        } = &self.layout;
        for directory in [data, meta, heads] {
            for name in list_names(directory).unwrap_or_default() {
                let path = directory.join(&name);
                if is_temporary_name(&name) && self.is_stale(&path) {
                    let _ = fs::remove_file(path);
                }
            }
        }
    }
}

fn is_not_writable(error: &GatewayError) -> bool {
    matches!(
        error.kind(),
        GatewayErrorKind::ReadOnly | GatewayErrorKind::Denied
    )
}

fn is_empty(directory: &Path) -> bool {
    list_names(directory).is_ok_and(|names| names.iter().all(|name| is_clutter(name)))
}

/// The names in a directory that are Unicode; others are none of ours.
pub(super) fn list_names(directory: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(directory)?
        .filter_map(|entry| match entry {
            Ok(entry) => entry.file_name().into_string().ok().map(Ok),
            Err(error) => Some(Err(error)),
        })
        .collect()
}

fn foreign_folder(root: &Path, foreign: &[&String]) -> GatewayError {
    let is_ledger = |name: &&&String| {
        let ledger = root.join(name);
        ledger.join("meta/version").exists() || ledger.join("data/version").exists()
    };
    let ledgers: Vec<&str> = foreign
        .iter()
        .filter(is_ledger)
        .take(5)
        .map(|name| name.as_str())
        .collect();
    let root = root.display();
    let message = if ledgers.is_empty() {
        let examples: Vec<&str> = foreign.iter().take(3).map(|name| name.as_str()).collect();
        format!(
            "{root} holds other files ({}) and no ledger; nothing was written. Give an empty or new \
             folder, for example {root}/firebrick",
            examples.join(", ")
        )
    } else {
        format!(
            "{root} isn't a ledger's folder, but holds such folders: {}. Give one of these, or an \
             empty or new folder",
            ledgers.join(", ")
        )
    };
    GatewayError::new(GatewayErrorKind::Foreign, message)
}
