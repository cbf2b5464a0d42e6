//! Where keys are kept: the interface, and one in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use firebrick_core::keys::KeySet;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::lock;

/// A place that keeps secrets by name: the keychain of an operating system, a hardware token, a
/// secret manager. Give one to [`Builder::key_store`](crate::Builder::key_store); without one, keys
/// are in a [`Keybag`](crate::Keybag).
///
/// A name is like `@notes-data@` (the keys of the ledger, shared with its peers) or `@notes-local@`
/// (the key of the local store, which never leaves). A secret is a text of some 300 bytes for each
/// key in it. Calls may block.
///
/// ```
/// # use firebrick::{Database, Error, MemoryKeyStore};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// let keychain = MemoryKeyStore::new();
/// let db = Database::builder()
///     .path(dir.path().join("notes"))
///     .key_store(keychain.clone())
///     .open()
///     .await?;
/// assert_eq!(keychain.len(), 2);
/// # db.close().await?;
/// # Ok(()) }
/// ```
pub trait KeyStore: Send + Sync + 'static {
    /// Where the secret of this name is, for people: "the keychain item X of login.keychain".
    ///
    /// ```
    /// # use firebrick::{KeyStore, MemoryKeyStore};
    /// let keychain = MemoryKeyStore::new();
    /// assert_eq!(keychain.place("@notes-data@"), "@notes-data@ in memory");
    /// ```
    fn place(&self, name: &str) -> String;

    /// The secret; `None` if there is none.
    ///
    /// ```
    /// # use firebrick::{Error, KeyStore, MemoryKeyStore};
    /// let keychain = MemoryKeyStore::new();
    /// assert!(keychain.get("@notes-data@")?.is_none());
    /// keychain.replace("@notes-data@", None, "secret")?;
    /// assert_eq!(keychain.get("@notes-data@")?.unwrap().as_str(), "secret");
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Keys`] or [`Error::Io`] if the place cannot be read, for instance because it is
    /// locked. Must not be answered with `None`: that means that new keys may be made.
    fn get(&self, name: &str) -> Result<Option<Zeroizing<String>>>;

    /// Stores a secret if what is there now equals `expected`; otherwise changes nothing and
    /// returns `false`. So no process overwrites a key that another one has just added.
    ///
    /// ```
    /// # use firebrick::{Error, KeyStore, MemoryKeyStore};
    /// let keychain = MemoryKeyStore::new();
    /// assert!(keychain.replace("@notes-data@", None, "one")?);
    /// assert!(!keychain.replace("@notes-data@", None, "two")?); // there is one already
    /// assert!(keychain.replace("@notes-data@", Some("one"), "two")?);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Keys`] or [`Error::Io`] if the place cannot be written.
    fn replace(&self, name: &str, expected: Option<&str>, secret: &str) -> Result<bool>;

    /// The names that are there, as far as the place can tell.
    ///
    /// ```
    /// # use firebrick::{Error, KeyStore, MemoryKeyStore};
    /// let keychain = MemoryKeyStore::new();
    /// keychain.replace("@notes-data@", None, "secret")?;
    /// assert_eq!(keychain.names()?, ["@notes-data@"]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    fn names(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// Times that a change is tried when others change the same keys.
const TRIES: usize = 1000;

/// The keys under a name.
pub(super) fn load(store: &dyn KeyStore, name: &str) -> Result<Option<KeySet>> {
    let Some(text) = store.get(name)? else {
        return Ok(None);
    };
    KeySet::from_json(&text).map(Some).map_err(|error| {
        Error::Keys(format!(
            "{} is not a key file: {error}; restore it from a copy",
            store.place(name)
        ))
    })
}

/// Changes the keys under a name, whoever changes them at the same time. `change` gets what is there
/// and returns what shall be, or `None` to leave it.
pub(super) fn update(
    store: &dyn KeyStore,
    name: &str,
    mut change: impl FnMut(Option<KeySet>) -> Result<KeySet>,
) -> Result<KeySet> {
    for _ in 0..TRIES {
        let before = load(store, name)?;
        let expected = store.get(name)?;
        let after = change(before.clone())?;
        if before.as_ref() == Some(&after) {
            return Ok(after);
        }
        let secret = Zeroizing::new(after.to_json());
        let expected = expected.as_ref().map(|text| text.as_str());
        if expected.is_some() == before.is_some() && store.replace(name, expected, &secret)? {
            return Ok(after);
        }
    }
    Err(Error::Keys(format!(
        "{} is changed by others all the time; try again",
        store.place(name)
    )))
}

/// Keys in memory, gone with the last handle. For tests, and for programs that bring their own keys.
///
/// ```
/// # use firebrick::{Database, Error, MemoryKeyStore};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// let keys = MemoryKeyStore::new();
/// let first = Database::builder().name("notes").key_store(keys.clone()).open().await?;
/// let second = Database::builder().name("notes").key_store(keys.clone()).open().await?;
/// assert_eq!(first.keys().fingerprint(), second.keys().fingerprint());
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct MemoryKeyStore {
    secrets: Arc<Mutex<BTreeMap<String, Zeroizing<String>>>>,
}

impl MemoryKeyStore {
    /// A store without keys.
    ///
    /// ```
    /// # use firebrick::MemoryKeyStore;
    /// assert!(MemoryKeyStore::new().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Zeroizing<String>>> {
        lock::lock(&self.secrets)
    }

    /// How many names have keys.
    ///
    /// ```
    /// # use firebrick::{Database, Error, MemoryKeyStore};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// let keys = MemoryKeyStore::new();
    /// let db = Database::builder().name("notes").key_store(keys.clone()).open().await?;
    /// assert!(keys.len() >= 1); // the ledger's keys are under one name
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are no keys.
    ///
    /// ```
    /// # use firebrick::{Error, KeyStore, MemoryKeyStore};
    /// let keys = MemoryKeyStore::new();
    /// assert!(keys.is_empty());
    /// keys.replace("@notes-data@", None, "secret")?;
    /// assert!(!keys.is_empty());
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Forgets the secret of a name.
    ///
    /// ```
    /// # use firebrick::{Error, KeyStore, MemoryKeyStore};
    /// let keys = MemoryKeyStore::new();
    /// keys.replace("@notes-data@", None, "secret")?;
    /// keys.remove("@notes-data@");
    /// assert!(keys.get("@notes-data@")?.is_none());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn remove(&self, name: &str) {
        self.lock().remove(name);
    }
}

impl std::fmt::Debug for MemoryKeyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.lock().keys()).finish()
    }
}

impl KeyStore for MemoryKeyStore {
    fn place(&self, name: &str) -> String {
        format!("{name} in memory")
    }

    fn get(&self, name: &str) -> Result<Option<Zeroizing<String>>> {
        Ok(self.lock().get(name).cloned())
    }

    fn replace(&self, name: &str, expected: Option<&str>, secret: &str) -> Result<bool> {
        let mut secrets = self.lock();
        let here = secrets.get(name).map(|text| text.as_str());
        if here != expected {
            return Ok(false);
        }
        secrets.insert(name.to_owned(), Zeroizing::new(secret.to_owned()));
        Ok(true)
    }

    fn names(&self) -> Result<Vec<String>> {
        Ok(self.lock().keys().cloned().collect())
    }
}
