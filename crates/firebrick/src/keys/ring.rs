//! The keys of an open ledger, and finding them when it is opened.

use std::path::Path;
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use firebrick_core::Cid;
use firebrick_core::cloud::KeyText;
use firebrick_core::envelope::{self, EnvelopeError};
use firebrick_core::keys::{Key, KeyId, KeySet, SaltKey};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::record::{self, KeyOrigin};
use super::store::{self, KeyStore};
use super::{Keybag, insecure};
use crate::buffers::Buffers;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::lock;
use crate::options::Builder;
use crate::store::{self as blocks, LogOptions, LogStore, StoreError, StoreKey};

/// The ledger's keys while the database is open.
pub(crate) struct KeyRing {
    /// `None` for an insecure ledger: everything is plain.
    keys: Option<RwLock<KeySet>>,
    /// Where they are saved.
    store: Option<Arc<dyn KeyStore>>,
    changed: watch::Sender<u64>,
}

/// What [`KeyRing::open`] found.
pub(crate) struct Opened {
    pub(crate) ring: KeyRing,
    /// The key of the local store.
    pub(crate) store_key: Option<StoreKey>,
    /// Where keys come from that the database does not know yet.
    pub(crate) origin: KeyOrigin,
}

/// Name of the key that encrypts the local store.
fn local_name(ledger: &str) -> String {
    format!("@{ledger}-local@")
}

/// Name of the keys that encrypt what leaves this machine.
pub(crate) fn data_name(ledger: &str) -> String {
    format!("@{ledger}-data@")
}

/// A new key.
pub(super) fn generate(env: &dyn Env) -> Key {
    let mut random = Zeroizing::new([0; 32]);
    env.fill_random(&mut *random);
    Key::generate(*random)
}

/// Where keys are looked for, in this order; they are saved in the first.
pub(crate) struct Places(Vec<Arc<dyn KeyStore>>);

impl Places {
    pub(crate) fn of(options: &Builder) -> Result<Self> {
        let mut places: Vec<Arc<dyn KeyStore>> = Vec::new();
        places.extend(options.key_store.clone());
        match &options.keybag {
            Some(directory) => places.push(Arc::new(Keybag::open(directory))),
            None if places.is_empty() && options.path.is_some() => {
                places.push(Arc::new(Keybag::default_location()?));
            }
            None => {}
        }
        Ok(Self(places))
    }

    /// The keys under a name. What only a later place has is copied into the first.
    fn load(&self, name: &str, read_only: bool) -> Result<Option<KeySet>> {
        for (at, place) in self.0.iter().enumerate() {
            if let Some(keys) = store::load(&**place, name)? {
                if at > 0 && !read_only {
                    store::update(&*self.0[0], name, |there| {
                        Ok(there.unwrap_or_else(|| keys.clone()))
                    })?;
                }
                return Ok(Some(keys));
            }
        }
        Ok(None)
    }

    fn load_or_create(&self, name: &str, env: &dyn Env) -> Result<(KeySet, bool)> {
        if let Some(keys) = self.load(name, false)? {
            return Ok((keys, false));
        }
        let mine = KeySet::new(name, generate(env));
        let keys = match self.0.first() {
            // When several processes do so at once, all get the same one.
            Some(first) => store::update(&**first, name, |there| {
                Ok(there.unwrap_or_else(|| mine.clone()))
            })?,
            None => mine.clone(),
        };
        let made = keys == mine;
        Ok((keys, made))
    }

    /// The key with this id, under whatever name, and the keys that it is among.
    pub(crate) fn search(&self, id: &KeyId) -> Result<Option<(KeySet, Key)>> {
        for place in &self.0 {
            for name in place.names()? {
                // What is damaged there is not ours to judge.
                let Ok(Some(keys)) = store::load(&**place, &name) else {
                    continue;
                };
                if let Some(key) = keys.get(id).cloned() {
                    return Ok(Some((keys, key)));
                }
            }
        }
        Ok(None)
    }

    /// Saves a key for a new ledger of this name, with the others that it is kept with. `false`,
    /// and nothing changed, if the name has keys already and this is none of them.
    pub(crate) fn adopt(&self, ledger: &str, key: &Key) -> Result<bool> {
        let Some(first) = self.0.first() else {
            return Ok(true);
        };
        let name = data_name(ledger);
        let beside = self.search(&key.key_id())?.map(|(keys, _)| keys);
        let mine = match &beside {
            None => KeySet::new(&name, key.clone()),
            Some(beside) => {
                let mut mine = KeySet::new(&name, beside.default_key().clone());
                for other in beside.keys() {
                    mine.add(other.clone());
                }
                mine
            }
        };
        let saved = store::update(&**first, &name, |there| {
            Ok(there.unwrap_or_else(|| mine.clone()))
        })?;
        Ok(saved.keys().contains(key))
    }

    /// All places, for messages.
    pub(crate) fn described(&self) -> Vec<String> {
        self.0.iter().map(|place| place.place("*")).collect()
    }

    /// Where the keys of a name were looked for, for messages.
    pub(crate) fn looked(&self, name: &str) -> Vec<String> {
        self.0.iter().map(|place| place.place(name)).collect()
    }
}

impl KeyRing {
    /// Reads the keys of a ledger, or makes them, and the key of its local store.
    pub(crate) fn open(options: &Builder, ledger: &str, env: &dyn Env) -> Result<Opened> {
        if options.insecure {
            let ring = KeyRing {
                keys: None,
                store: None,
                changed: watch::Sender::new(0),
            };
            return Ok(Opened {
                ring,
                store_key: None,
                origin: KeyOrigin::Found,
            });
        }
        let places = Places::of(options)?;
        let (local, data) = (local_name(ledger), data_name(ledger));
        let path = options.path.as_deref();
        let exists = path.filter(|path| store_exists(path));
        // Only a new database gets new keys: made-up ones would read nothing that is there.
        let store_key = match (exists, path) {
            (Some(path), _) => {
                let keys = places.load(&local, options.read_only)?;
                Some(keys.ok_or_else(|| missing(&places, &local, path, blocks::fingerprint(path)))?)
            }
            (None, Some(path)) if options.read_only => {
                return Err(StoreError::NotFound {
                    path: path.to_owned(),
                }
                .into());
            }
            (None, Some(_)) => Some(places.load_or_create(&local, env)?.0),
            (None, None) => None,
        };
        let store_key = store_key.map(|keys| store_key_of(&keys));
        let (mut keys, made) = match exists {
            Some(path) if options.key.is_none() => {
                let keys = places.load(&data, options.read_only)?.ok_or_else(|| {
                    let fingerprint = store_key.as_ref().and_then(|key| default_of(path, key));
                    missing(&places, &data, path, fingerprint)
                })?;
                (keys, false)
            }
            _ => places.load_or_create(&data, env)?,
        };
        let mut origin = match made {
            true => KeyOrigin::Created,
            false => KeyOrigin::Found,
        };
        if let Some(text) = &options.key {
            let key =
                Key::from_text(text).map_err(|error| Error::Keys(format!("not a key: {error}")))?;
            let id = key.key_id();
            if keys.add(key) && !made {
                origin = KeyOrigin::Given;
            }
            keys.set_default(&id)
                .map_err(|error| Error::Keys(error.to_string()))?;
        }
        let ring = KeyRing {
            keys: Some(RwLock::new(keys)),
            store: places.0.into_iter().next(),
            changed: watch::Sender::new(0),
        };
        Ok(Opened {
            ring,
            store_key,
            origin,
        })
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&KeySet) -> T) -> Option<T> {
        self.keys.as_ref().map(|keys| look(&lock::read(keys)))
    }

    /// The key that encrypts; `None` for an insecure ledger.
    pub(crate) fn default_key(&self) -> Option<Key> {
        self.read(|keys| keys.default_key().clone())
    }

    /// The key with this id.
    pub(crate) fn key(&self, id: &KeyId) -> Option<Key> {
        self.read(|keys| keys.get(id).cloned()).flatten()
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

    /// What any of our keys adds to the names of CARs.
    pub(crate) fn salt_keys(&self) -> Vec<Option<SaltKey>> {
        let all = |keys: &KeySet| keys.keys().iter().map(|key| Some(key.salt_key())).collect();
        // Those who write without salts have no key, or are JavaScript.
        let mut salts: Vec<_> = self.read(all).unwrap_or_default();
        salts.push(None);
        salts
    }

    /// [`seal`](Self::seal) for a CAR in parts whose name is known: saves hashing and joining it.
    pub(crate) fn seal_named(&self, car: &Cid, parts: &[&[u8]]) -> Bytes {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut out = Buffers::shared().empty(len + envelope::AROUND_LEN);
        let iv = envelope::iv_of(car.digest());
        let seal = |keys: &KeySet| {
            envelope::seal_parts_with_iv(parts, keys.default_key(), &iv, &mut out);
        };
        if self.read(seal).is_none() {
            parts.iter().for_each(|part| out.extend_from_slice(part));
        }
        out.into()
    }

    /// Decrypts a CAR of a remote. An insecure ledger's CARs are plain.
    pub(crate) fn open_car(&self, bytes: Bytes) -> Result<Bytes, EnvelopeError> {
        match &self.keys {
            None => Ok(bytes),
            Some(keys) => {
                let keys = lock::read(keys);
                let mut plain = Buffers::shared().empty(bytes.len());
                envelope::open_any_iv_into(&bytes, &*keys, &mut plain)?;
                Ok(plain.into())
            }
        }
    }

    /// Wakes when a key was added.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Saves keys and uses them from now on. Keys that another process has saved meanwhile stay.
    pub(super) fn add(&self, added: &[Key], default: Option<&Key>) -> Result<()> {
        let Some(keys) = &self.keys else {
            return Err(insecure());
        };
        let mut keys = lock::write(keys);
        let mut changed = keys.clone();
        let add = |set: &mut KeySet| {
            for key in added {
                set.add(key.clone());
            }
            default.map_or(Ok(()), |key| set.set_default(&key.key_id()))
        };
        add(&mut changed).map_err(|error| Error::Keys(error.to_string()))?;
        if let Some(store) = &self.store {
            store::update(&**store, changed.name(), |there| {
                let mut set = there.unwrap_or_else(|| changed.clone());
                add(&mut set).map_err(|error| Error::Keys(error.to_string()))?;
                Ok(set)
            })?;
        }
        *keys = changed;
        drop(keys);
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Whether this is a CAR of this name that our keys open.
    pub(crate) fn opens_as(&self, car: &Cid, sealed: Bytes) -> bool {
        let plain = self.open_car(sealed);
        plain.is_ok_and(|plain| car.matches(&plain))
    }

    /// All keys as text.
    pub(crate) fn shared(&self) -> Vec<KeyText> {
        let all = |keys: &KeySet| keys.keys().iter().map(KeyText::new).collect();
        self.read(all).unwrap_or_default()
    }

    /// Whether a key is here by now.
    pub(crate) fn has(&self, id: &KeyId) -> bool {
        self.read(|keys| keys.get(id).is_some()).unwrap_or(false)
    }
}

fn store_exists(path: &Path) -> bool {
    path.join("firebrick.json").is_file()
}

/// The database at `path` was made with keys that are not there.
fn missing(places: &Places, name: &str, path: &Path, fingerprint: Option<String>) -> Error {
    Error::MissingKey {
        name: name.to_owned(),
        fingerprint,
        database: path.to_owned(),
        looked: places.looked(name),
    }
}

/// The ledger key that a database was used with last; its store can be read without it.
fn default_of(path: &Path, key: &StoreKey) -> Option<String> {
    let store = LogStore::open_read_only(path, &LogOptions::sealed(key.clone())).ok()?;
    record::last_default(&store)
}

fn store_key_of(keys: &KeySet) -> StoreKey {
    let key = keys.default_key();
    StoreKey::new(key.subkey("firebrick local store")).named(key.fingerprint())
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
