//! The keys of a ledger, and the keybag that holds them on disk.
//!
//! Two kinds: the ledger's keys encrypt what leaves this machine, and are shared by those who share
//! the ledger; the local key encrypts the store at rest and never leaves.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use firebrick_core::envelope::{self, EnvelopeError};
use firebrick_core::keys::{Key, KeyId, KeySet, SaltKey, file_name};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::env::Env;
use crate::error::{Error, Result};
use crate::options::Builder;
use crate::store::{StoreError, StoreKey};

/// A directory of key files in the format's JSON (format §9), one file per key name, readable only
/// by the owner. The JavaScript implementation reads and writes the same files.
#[derive(Clone, Debug)]
pub struct Keybag {
    directory: PathBuf,
}

impl Keybag {
    /// The keybag in this directory; it is created with the first key.
    #[must_use]
    pub fn open(directory: impl AsRef<Path>) -> Self {
        Self {
            directory: directory.as_ref().to_owned(),
        }
    }

    /// The keybag at `$FIREBRICK_KEYBAG`, else at `$HOME/.firebrick/keybag`.
    ///
    /// # Errors
    /// [`Error::Keys`] if neither variable is set.
    pub fn default_location() -> Result<Self> {
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".firebrick/keybag"));
        let chosen = std::env::var_os("FIREBRICK_KEYBAG").map(PathBuf::from);
        chosen
            .or_else(home)
            .map(|directory| Self { directory })
            .ok_or_else(|| {
                Error::Keys(
                    "there is no place for keys: set FIREBRICK_KEYBAG or HOME, or name a keybag"
                        .into(),
                )
            })
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(file_name(name))
    }

    /// The keys under this name; `None` if there are none.
    ///
    /// # Errors
    /// [`Error::Keys`] if the file is not a key file, [`Error::Io`] if it cannot be read.
    pub fn key_set(&self, name: &str) -> Result<Option<KeySet>> {
        let file = self.file(name);
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Error::io(format!(
                    "reading the key file {}",
                    file.display()
                ))(error));
            }
        };
        let keys = KeySet::from_json(&text).map_err(|error| {
            Error::Keys(format!(
                "{} is not a key file: {error}; restore it from a copy",
                file.display()
            ))
        })?;
        Ok(Some(keys))
    }

    /// Replaces the keys under their name, in one step.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, keys: &KeySet) -> Result<()> {
        let file = self.file(keys.name());
        self.write(keys)?.persist(&file).map_err(|error| {
            Error::io(format!("writing the key file {}", file.display()))(error.error)
        })?;
        Ok(())
    }

    /// The keys under this name; a new random one if there are none. When several processes do so
    /// at once, all get the same one.
    fn load_or_create(&self, name: &str, make: impl FnOnce() -> Key) -> Result<KeySet> {
        if let Some(keys) = self.key_set(name)? {
            return Ok(keys);
        }
        let keys = KeySet::new(name, make());
        let file = self.file(name);
        match self.write(&keys)?.persist_noclobber(&file) {
            Ok(_) => Ok(keys),
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
                self.key_set(name)?.ok_or_else(|| {
                    Error::Keys(format!("{} vanished while it was read", file.display()))
                })
            }
            Err(error) => Err(Error::io(format!(
                "writing the key file {}",
                file.display()
            ))(error.error)),
        }
    }

    /// A temporary file beside the others, synced; only the owner can read it.
    fn write(&self, keys: &KeySet) -> Result<tempfile::NamedTempFile> {
        use std::io::Write as _;
        let what = || format!("writing keys to {}", self.directory.display());
        std::fs::create_dir_all(&self.directory).map_err(Error::io(what()))?;
        let mut file = tempfile::Builder::new()
            .prefix(".key-")
            .tempfile_in(&self.directory)
            .map_err(Error::io(what()))?;
        let text = Zeroizing::new(keys.to_json());
        file.write_all(text.as_bytes())
            .and_then(|()| file.as_file().sync_all())
            .map_err(Error::io(what()))?;
        Ok(file)
    }
}

/// The ledger's keys while the database is open.
pub(crate) struct KeyRing {
    /// `None` for an insecure ledger: everything is plain.
    keys: Option<RwLock<KeySet>>,
    keybag: Option<Keybag>,
    changed: watch::Sender<u64>,
}

/// Name of the key that encrypts the local store.
fn local_name(ledger: &str) -> String {
    format!("@{ledger}-local@")
}

impl KeyRing {
    /// Reads the keys of a ledger, or makes them, and the key of its local store.
    pub(crate) fn open(
        options: &Builder,
        ledger: &str,
        env: &dyn Env,
    ) -> Result<(Self, Option<StoreKey>)> {
        let changed = watch::Sender::new(0);
        if options.insecure {
            return Ok((
                Self {
                    keys: None,
                    keybag: None,
                    changed,
                },
                None,
            ));
        }
        let generate = || {
            let mut random = Zeroizing::new([0; 32]);
            env.fill_random(&mut *random);
            Key::generate(*random)
        };
        let name = format!("@{ledger}-data@");
        let keybag = match (&options.keybag, &options.path) {
            (Some(directory), _) => Some(Keybag::open(directory)),
            (None, Some(_)) => Some(Keybag::default_location()?),
            (None, None) => None,
        };
        let place = keybag.as_ref().zip(options.path.as_deref());
        let exists = place.is_some_and(|(_, path)| store_exists(path));
        // Only a new database gets new keys: made-up ones would read nothing that is there.
        let store_key = match place {
            Some((keybag, path)) if exists => {
                Some(existing_key(keybag, &local_name(ledger), path)?)
            }
            Some((_, path)) if options.read_only => {
                return Err(StoreError::NotFound {
                    path: path.to_owned(),
                }
                .into());
            }
            Some((keybag, _)) => Some(keybag.load_or_create(&local_name(ledger), generate)?),
            None => None,
        };
        let store_key = store_key.map(|keys| store_key_of(&keys));
        let mut keys = match (&keybag, &options.path) {
            (Some(keybag), Some(path)) if exists && options.key.is_none() => {
                existing_key(keybag, &name, path)?
            }
            (Some(keybag), _) => keybag.load_or_create(&name, generate)?,
            (None, _) => KeySet::new(name, generate()),
        };
        if let Some(text) = &options.key {
            let key =
                Key::from_text(text).map_err(|error| Error::Keys(format!("not a key: {error}")))?;
            let id = key.key_id();
            keys.add(key);
            keys.set_default(&id)
                .map_err(|error| Error::Keys(error.to_string()))?;
        }
        Ok((
            Self {
                keys: Some(RwLock::new(keys)),
                keybag,
                changed,
            },
            store_key,
        ))
    }

    fn read<T>(&self, look: impl FnOnce(&KeySet) -> T) -> Option<T> {
        self.keys
            .as_ref()
            .map(|keys| look(&keys.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Encrypts a CAR for a remote.
    pub(crate) fn seal(&self, plain: Bytes) -> Bytes {
        self.read(|keys| Bytes::from(envelope::seal(&plain, keys.default_key())))
            .unwrap_or(plain)
    }

    /// What makes the names of our CARs unguessable; `None` for an insecure ledger.
    pub(crate) fn salt_key(&self) -> Option<SaltKey> {
        self.read(|keys| keys.default_key().salt_key())
    }

    /// Decrypts a CAR of a remote. An insecure ledger's CARs are plain.
    pub(crate) fn open_car(&self, bytes: Bytes) -> Result<Bytes, EnvelopeError> {
        match &self.keys {
            None => Ok(bytes),
            Some(keys) => envelope::open_any_iv(
                &bytes,
                &*keys.read().unwrap_or_else(PoisonError::into_inner),
            ),
        }
    }

    /// Wakes when a key was added.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn add(&self, text: &str, as_default: bool) -> Result<String> {
        let key = Key::from_text(text.trim()).map_err(|error| {
            Error::Keys(format!(
                "not a key: {error}; a key begins with z, as `keys export` prints it"
            ))
        })?;
        let Some(keys) = &self.keys else {
            return Err(Error::Keys(
                "this database is insecure: it has no keys and can use none".into(),
            ));
        };
        let (id, fingerprint) = (key.key_id(), key.fingerprint());
        let mut keys = keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = keys.clone();
        changed.add(key);
        if as_default {
            changed
                .set_default(&id)
                .map_err(|error| Error::Keys(error.to_string()))?;
        }
        if let Some(keybag) = &self.keybag {
            keybag.save(&changed)?;
        }
        *keys = changed;
        drop(keys);
        self.changed.send_modify(|count| *count += 1);
        Ok(fingerprint)
    }

    /// Whether a key is here by now.
    pub(crate) fn has(&self, id: &KeyId) -> bool {
        self.read(|keys| keys.keys().iter().any(|key| key.key_id() == *id))
            .unwrap_or(false)
    }
}

fn store_exists(path: &Path) -> bool {
    path.join("firebrick.json").is_file()
}

/// Keys of the database at `path`, which exists and was made with them.
fn existing_key(keybag: &Keybag, name: &str, path: &Path) -> Result<KeySet> {
    keybag.key_set(name)?.ok_or_else(|| {
        Error::Keys(format!(
            "the database at {} needs the key {name}, which is not in the keybag {}; name the keybag it was made with, or restore the key file",
            path.display(),
            keybag.directory().display(),
        ))
    })
}

fn store_key_of(keys: &KeySet) -> StoreKey {
    StoreKey::new(keys.default_key().subkey("firebrick local store"))
}

/// The keys of a ledger. See [`Database::keys`](crate::Database::keys).
#[derive(Debug)]
pub struct Keys<'a> {
    ring: &'a KeyRing,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(ring: &'a KeyRing) -> Self {
        Self { ring }
    }

    /// The fingerprint of the key that CARs are written with, `z…`; `None` if the ledger is
    /// insecure.
    #[must_use]
    pub fn fingerprint(&self) -> Option<String> {
        self.ring.read(|keys| keys.default_key().fingerprint())
    }

    /// The fingerprints of all keys.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<String> {
        self.ring
            .read(|keys| keys.keys().iter().map(Key::fingerprint).collect())
            .unwrap_or_default()
    }

    /// The key itself as text, `z…`. Whoever has it can read the ledger, so hand it over in secret.
    ///
    /// # Errors
    /// [`Error::Keys`] if the ledger is insecure.
    pub fn export(&self) -> Result<Zeroizing<String>> {
        let text = self
            .ring
            .read(|keys| Zeroizing::new(keys.default_key().to_text()));
        text.ok_or_else(|| Error::Keys("this database is insecure: it has no key".into()))
    }

    /// Adds a key and writes with it from now on; the former ones still read. This is how a
    /// database joins a ledger that another one began. Returns the fingerprint.
    ///
    /// # Errors
    /// [`Error::Keys`] if the text is not a key, [`Error::Io`] if the keybag cannot be written.
    pub fn import(&self, text: &str) -> Result<String> {
        self.ring.add(text, true)
    }

    /// Adds a key that only reads. Returns the fingerprint.
    ///
    /// # Errors
    /// Those of [`Keys::import`].
    pub fn add(&self, text: &str) -> Result<String> {
        self.ring.add(text, false)
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing")
            .field(
                "default",
                &self.read(|keys| keys.default_key().fingerprint()),
            )
            .finish_non_exhaustive()
    }
}
