//! The keys of a ledger.
//!
//! Two kinds: the ledger's keys encrypt what leaves this machine, and are shared by those who share
//! the ledger; the local key encrypts the store at rest and never leaves. Both are in a [`KeyStore`].

mod keybag;
mod record;
mod ring;
mod store;

use firebrick_core::keys::wrapped::{self, Cost};
use firebrick_core::keys::{Key, KeySet};
use zeroize::Zeroizing;

pub use self::keybag::Keybag;
pub use self::record::{KeyInfo, KeyOrigin};
pub(crate) use self::ring::{KeyRing, Places};
pub use self::store::{KeyStore, MemoryKeyStore};

use self::record::KeyRecord;
use crate::error::{Error, Result};
use crate::ledger::Ledger;

/// The keys of a ledger. See [`Database::keys`](crate::Database::keys).
///
/// ```
/// # use firebrick::{Database, Error};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// let db = Database::memory("notes").await?;
/// let first = db.keys().fingerprint().unwrap();
/// let second = db.keys().rotate()?;
/// assert_eq!(db.keys().fingerprint().as_ref(), Some(&second));
///
/// // To a peer: everything that it needs to read the ledger, under a passphrase.
/// let text = db.keys().export_wrapped("correct horse battery staple")?;
/// let peer = Database::memory("peer").await?;
/// peer.keys().import_wrapped(&text, "correct horse battery staple")?;
/// assert!(peer.keys().list().iter().any(|key| key.fingerprint == first));
/// assert_eq!(peer.keys().fingerprint(), Some(second));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Keys<'a> {
    ledger: &'a Ledger,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(ledger: &'a Ledger) -> Self {
        Self { ledger }
    }

    fn ring(&self) -> &KeyRing {
        &self.ledger.keys
    }

    /// The fingerprint of the key that CARs are written with, `z…`; `None` if the ledger is
    /// insecure.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let before = db.keys().fingerprint();
    /// db.keys().rotate()?;
    /// assert_ne!(db.keys().fingerprint(), before);
    /// let plain = Database::builder().insecure(true).open().await?;
    /// assert_eq!(plain.keys().fingerprint(), None);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn fingerprint(&self) -> Option<String> {
        self.ring().read(|keys| keys.default_key().fingerprint())
    }

    /// The fingerprints of all keys.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let first = db.keys().fingerprint().unwrap();
    /// let second = db.keys().rotate()?;
    /// let all = db.keys().fingerprints();
    /// assert!(all.contains(&first) && all.contains(&second));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn fingerprints(&self) -> Vec<String> {
        self.ring()
            .read(|keys| keys.keys().iter().map(Key::fingerprint).collect())
            .unwrap_or_default()
    }

    /// All keys, and those that this database once had and that are missing now.
    ///
    /// ```
    /// # use firebrick::{Database, Error, KeyOrigin};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// db.keys().rotate()?;
    /// let keys = db.keys().list();
    /// assert_eq!(keys.len(), 2);
    /// assert!(keys[0].is_default && keys[0].origin == Some(KeyOrigin::Rotated));
    /// assert!(keys[1].is_here && keys[1].origin == Some(KeyOrigin::Created));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn list(&self) -> Vec<KeyInfo> {
        let known = record::remembered(&**self.ledger.store());
        let mut list: Vec<KeyInfo> = known
            .into_iter()
            .map(|(fingerprint, record)| KeyInfo {
                fingerprint,
                is_default: false,
                is_here: false,
                bits: 0,
                origin: record.map(|record| record.origin),
                added_ms: record.map(|record| record.added_ms),
            })
            .collect();
        let here = self.ring().read(KeySet::clone);
        for key in here.iter().flat_map(KeySet::keys) {
            let fingerprint = key.fingerprint();
            let at = list.iter().position(|info| info.fingerprint == fingerprint);
            let at = at.unwrap_or_else(|| {
                list.push(KeyInfo {
                    fingerprint,
                    is_default: false,
                    is_here: false,
                    bits: 0,
                    origin: None,
                    added_ms: None,
                });
                list.len() - 1
            });
            list[at].is_here = true;
            list[at].bits = key.as_bytes().len() as u16 * 8;
            list[at].is_default = here.as_ref().is_some_and(|set| set.default_key() == key);
        }
        list.sort_by_key(|info| (!info.is_default, !info.is_here, info.added_ms));
        list
    }

    /// The key itself as text, `z…`. Whoever has it can read the ledger, so hand it over in secret.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let key = db.keys().export()?;
    /// assert!(key.starts_with('z'));
    /// let backup = Database::builder().name("copy").key(key.as_str()).open().await?;
    /// assert_eq!(backup.keys().fingerprint(), db.keys().fingerprint());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Keys`] if the ledger is insecure.
    pub fn export(&self) -> Result<Zeroizing<String>> {
        let text = self
            .ring()
            .read(|keys| Zeroizing::new(keys.default_key().to_text()));
        text.ok_or_else(insecure)
    }

    /// All keys as one line of text under a passphrase, for [`Keys::import_wrapped`]. The passphrase
    /// is stretched with Argon2id (64 MiB, 3 passes, 4 lanes), which takes some 0.2 s; call it
    /// where blocking does no harm.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let text = db.keys().export_wrapped("correct horse battery staple")?;
    /// let peer = Database::memory("peer").await?;
    /// peer.keys().import_wrapped(&text, "correct horse battery staple")?;
    /// assert_eq!(peer.keys().fingerprint(), db.keys().fingerprint());
    /// assert!(matches!(db.keys().export_wrapped("short"), Err(Error::WrappedKeys(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::WrappedKeys`] for a passphrase of fewer than 8 characters, [`Error::Keys`] if the
    /// ledger is insecure.
    pub fn export_wrapped(&self, passphrase: &str) -> Result<String> {
        let keys = self.ring().read(KeySet::clone).ok_or_else(insecure)?;
        let mut random = [0; wrapped::RANDOM_LEN];
        self.ledger.env.fill_random(&mut random);
        Ok(wrapped::wrap(&keys, passphrase, Cost::default(), &random)?)
    }

    /// Adds the keys that [`Keys::export_wrapped`] gave. Their default becomes the default here.
    /// Returns its fingerprint.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let text = db.keys().export_wrapped("correct horse battery staple")?;
    /// let peer = Database::memory("peer").await?;
    /// let wrong = peer.keys().import_wrapped(&text, "correct horse");
    /// assert!(matches!(wrong, Err(Error::WrappedKeys(_))));
    /// let fingerprint = peer.keys().import_wrapped(&text, "correct horse battery staple")?;
    /// assert_eq!(Some(fingerprint), db.keys().fingerprint());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::WrappedKeys`]: the wrong passphrase, a damaged text, a text of a newer version.
    /// [`Error::Keys`] or [`Error::Io`] if the keys cannot be saved, [`Error::ReadOnly`]. Nothing is
    /// changed then.
    pub fn import_wrapped(&self, text: &str, passphrase: &str) -> Result<String> {
        let keys = wrapped::unwrap(text, passphrase)?;
        let default = keys.default_key().clone();
        self.take_in(keys.keys(), Some(&default), KeyOrigin::Imported)?;
        Ok(default.fingerprint())
    }

    /// Adds a key and writes with it from now on; the former ones still read. This is how a
    /// database joins a ledger that another one began. Returns the fingerprint.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let peer = Database::memory("peer").await?;
    /// let fingerprint = peer.keys().import(&db.keys().export()?)?;
    /// assert_eq!(peer.keys().fingerprint(), Some(fingerprint)); // writes with it
    /// assert!(matches!(peer.keys().import("no key"), Err(Error::Keys(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Keys`] if the text is not a key, [`Error::Io`] if the keybag cannot be written,
    /// [`Error::ReadOnly`].
    pub fn import(&self, text: &str) -> Result<String> {
        let key = parse(text)?;
        self.take_in(std::slice::from_ref(&key), Some(&key), KeyOrigin::Imported)?;
        Ok(key.fingerprint())
    }

    /// Adds a key that only reads. Returns the fingerprint.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let peer = Database::memory("peer").await?;
    /// let own = peer.keys().fingerprint();
    /// let fingerprint = peer.keys().add(&db.keys().export()?)?;
    /// assert!(peer.keys().fingerprints().contains(&fingerprint));
    /// assert_eq!(peer.keys().fingerprint(), own); // still writes with its own
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Keys::import`].
    pub fn add(&self, text: &str) -> Result<String> {
        let key = parse(text)?;
        self.take_in(std::slice::from_ref(&key), None, KeyOrigin::Imported)?;
        Ok(key.fingerprint())
    }

    /// Makes a new key, which encrypts what is written for remotes from now on; the former ones
    /// still read. Returns its fingerprint.
    ///
    /// What was written before stays encrypted as it was: whoever has an old key keeps reading it.
    /// Peers without the new key show [`State::NeedsKey`](crate::State::NeedsKey) with its
    /// fingerprint, and go on when it is imported there. The key of the local store stays.
    ///
    /// ```
    /// # use firebrick::{Database, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let old = db.keys().fingerprint().unwrap();
    /// let new = db.keys().rotate()?;
    /// assert_eq!(db.keys().fingerprint().as_ref(), Some(&new));
    /// assert!(db.keys().fingerprints().contains(&old)); // what was written before stays readable
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Keys`] if the ledger is insecure, [`Error::Io`] if the keybag cannot be written,
    /// [`Error::ReadOnly`].
    pub fn rotate(&self) -> Result<String> {
        let key = ring::generate(&*self.ledger.env);
        self.take_in(std::slice::from_ref(&key), Some(&key), KeyOrigin::Rotated)?;
        Ok(key.fingerprint())
    }

    /// Adds keys that a remote has sent. They only read.
    pub(crate) fn learn(&self, keys: &[Key]) -> Result<()> {
        let known = self.fingerprints();
        let unknown = keys
            .iter()
            .filter(|key| !known.contains(&key.fingerprint()));
        let unknown: Vec<Key> = unknown.cloned().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        self.take_in(&unknown, None, KeyOrigin::Received)
    }

    /// Saves keys, uses them and remembers where they came from.
    fn take_in(&self, keys: &[Key], default: Option<&Key>, origin: KeyOrigin) -> Result<()> {
        self.ledger.ensure_writable()?;
        let known = self.fingerprints();
        let fresh: Vec<String> = keys.iter().map(Key::fingerprint).collect();
        self.ring().add(keys, default)?;
        let record = KeyRecord {
            origin,
            added_ms: self.ledger.env.unix_ms(),
        };
        let fresh = fresh.iter().filter(|key| !known.contains(key));
        let mut records: Vec<_> = fresh.map(|key| record::remember(key, record)).collect();
        records.extend(default.map(|key| record::remember_default(&key.fingerprint())));
        self.ledger.record(&records)
    }

    /// Remembers the keys that the database was opened with, if it is the first time.
    pub(crate) fn note_opening(&self, origin: KeyOrigin) -> Result<()> {
        let Some(default) = self.fingerprint().filter(|_| !self.ledger.read_only) else {
            return Ok(());
        };
        let store = &**self.ledger.store();
        let record = KeyRecord {
            origin,
            added_ms: self.ledger.env.unix_ms(),
        };
        let known = record::remembered(store);
        let here = self.fingerprints().into_iter();
        let mut records: Vec<_> = here
            .filter(|key| !known.iter().any(|(known, _)| known == key))
            .map(|key| record::remember(&key, record))
            .collect();
        if record::last_default(store).as_ref() != Some(&default) {
            records.push(record::remember_default(&default));
        }
        if records.is_empty() {
            return Ok(());
        }
        self.ledger.record(&records)
    }
}

fn insecure() -> Error {
    Error::Keys("this database is insecure: it has no keys and can use none".into())
}

fn parse(text: &str) -> Result<Key> {
    Key::from_text(text.trim()).map_err(|error| {
        Error::Keys(format!(
            "not a key: {error}; a key begins with z, as `keys export` prints it"
        ))
    })
}
