//! What can go wrong in a store. Each message names the cause and a way out.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use firebrick_core::Cid;

/// Why a store could not do what was asked.
///
/// Cloning is cheap, so that one failed commit can be reported to every writer that took part.
///
/// ```
/// use firebrick::store::{LogOptions, LogStore, StoreError};
/// # let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("store");
/// let store = LogStore::open(&path, &LogOptions::insecure())?;
/// match LogStore::open(&path, &LogOptions::insecure()) {
///     Err(StoreError::Locked { holder, .. }) => println!("in use by {holder}"),
///     other => panic!("{other:?}"),
/// }
/// # drop(store);
/// # Ok::<(), StoreError>(())
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process, or another handle of this one, has the store open for writing.
    #[error(
        "the store {path} is in use by {holder}; close it there, or open it read-only",
        path = .path.display()
    )]
    Locked {
        /// The store's directory.
        path: PathBuf,
        /// Who holds it, as far as is known.
        holder: String,
    },
    /// The store was made with another store key.
    #[error(
        "the store {path} was made with another store key; open it with that key, or restore the key from a backup",
        path = .path.display()
    )]
    WrongKey {
        /// The store's directory.
        path: PathBuf,
    },
    /// The store is encrypted and no key was given, or the other way round.
    #[error(
        "the store {path} {found}, but it was opened as one that {asked}; open it the way it was made",
        path = .path.display()
    )]
    CipherMismatch {
        /// The store's directory.
        path: PathBuf,
        /// How the store was made.
        found: &'static str,
        /// How it was opened.
        asked: &'static str,
    },
    /// The directory holds something else than a store.
    #[error(
        "{path} is not empty and not a Firebrick store ({reason}); choose an empty or a new directory",
        path = .path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What tells so.
        reason: String,
    },
    /// The store was made by a newer version of this library.
    #[error(
        "the store {path} has format version {found} and this program knows versions up to {supported}; update the program",
        path = .path.display()
    )]
    Newer {
        /// The store's directory.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest one that is known here.
        supported: u32,
    },
    /// The store has an older format and was opened read-only.
    #[error(
        "the store {path} has the older format version {found}; open it once for writing, which upgrades it",
        path = .path.display()
    )]
    NeedsUpgrade {
        /// The store's directory.
        path: PathBuf,
        /// Its format version.
        found: u32,
    },
    /// There is no store here.
    #[error("there is no store in {path}; check the path", path = .path.display())]
    NotFound {
        /// The directory.
        path: PathBuf,
    },
    /// An earlier write or sync failed, so what is on the disk is uncertain.
    #[error(
        "the store refuses changes after a failure ({cause}); close it, check the disk and open it again"
    )]
    Poisoned {
        /// The failure.
        cause: String,
    },
    /// No space is left. Nothing was changed; reading goes on, and writing too once there is space.
    #[error("no space left on the disk of the store ({source}); free some space and try again")]
    Full {
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The system refused an operation.
    #[error("could not {action} ({source}); check the disk and the permissions of the store")]
    Io {
        /// What was tried.
        action: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A block is damaged on the disk.
    #[error(
        "block {cid} is damaged on the disk ({place}); it is healed when a remote that has it is attached, or from a backup"
    )]
    Corrupt {
        /// The block.
        cid: Cid,
        /// Where it lies.
        place: String,
    },
    /// Something else than a block is damaged, and nothing to rebuild it from is there.
    #[error("the store is damaged: {what}; restore it from a backup or sync again from a remote")]
    Damaged {
        /// What, and where.
        what: String,
    },
    /// A commit is larger than one commit may be.
    #[error("a commit of {bytes} bytes is over the limit of {limit}; split it")]
    TooLarge {
        /// The size of the commit.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The store was opened read-only.
    #[error("the store was opened read-only; open it for writing to change it")]
    ReadOnly,
    /// The store was closed.
    #[error("the store was closed; open it again")]
    Closed,
}

impl StoreError {
    /// An error of the system: [`StoreError::Full`] if it says that there is no space.
    pub(crate) fn io(action: impl Into<String>, source: io::Error) -> Self {
        let source = Arc::new(source);
        if is_full(&source) {
            return Self::Full { source };
        }
        Self::Io {
            action: action.into(),
            source,
        }
    }
}

/// Whether the system ran out of space or quota.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
