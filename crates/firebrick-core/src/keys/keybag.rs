//! The set of keys under one name, and its JSON file.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use zeroize::Zeroizing;

use super::{Key, KeyError, KeyId};

/// The keys of one name: all of them decrypt, the default one encrypts.
///
/// ```
/// use firebrick_core::keys::{Key, KeySet};
///
/// let mut keys = KeySet::new("@notes-data@", Key::generate([1; 32]));
/// keys.add(Key::generate([2; 32]));
/// assert_eq!((keys.name(), keys.keys().len()), ("@notes-data@", 2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    name: String,
    keys: Vec<Key>,
    default: usize,
}

/// The file that holds the keys of a name, in the keybag's directory.
///
/// ```
/// assert_eq!(firebrick_core::keys::file_name("@notes-data@"), "_notes_data_.json");
/// ```
#[must_use]
pub fn file_name(name: &str) -> String {
    // JavaScript replaces UTF-16 code units, so a character beyond 0xffff counts twice.
    let mut file = String::with_capacity(name.len() + 5);
    for c in name.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' => file.push(c),
            _ => file.extend(std::iter::repeat_n('_', c.len_utf16())),
        }
    }
    file + ".json"
}

impl KeySet {
    /// A set of one key, which is the default.
    ///
    /// ```
    /// use firebrick_core::keys::{Key, KeySet};
    ///
    /// let key = Key::generate([1; 32]);
    /// assert_eq!(KeySet::new("@notes-data@", key.clone()).default_key(), &key);
    /// ```
    #[must_use]
    pub fn new(name: impl Into<String>, key: Key) -> Self {
        Self {
            name: name.into(),
            keys: vec![key],
            default: 0,
        }
    }

    /// The key name, such as `@ledger-data@`.
    ///
    /// ```
    /// use firebrick_core::keys::{Key, KeySet};
    ///
    /// let keys = KeySet::new("@notes-data@", Key::generate([1; 32]));
    /// assert_eq!(keys.name(), "@notes-data@");
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All keys in the order of the file.
    ///
    /// ```
    /// # use firebrick_core::keys::{Key, KeySet};
    /// let (old, new) = (Key::generate([1; 32]), Key::generate([2; 32]));
    /// let mut keys = KeySet::new("@notes-data@", old.clone());
    /// keys.add(new.clone());
    /// assert_eq!(keys.keys(), [old, new]);
    /// ```
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The key with this id.
    ///
    /// ```
    /// # use firebrick_core::keys::{Key, KeySet};
    /// let (old, new) = (Key::generate([1; 32]), Key::generate([2; 32]));
    /// let keys = KeySet::new("@notes-data@", old.clone());
    /// assert_eq!(keys.get(&old.key_id()), Some(&old));
    /// assert_eq!(keys.get(&new.key_id()), None);
    /// ```
    #[must_use]
    pub fn get(&self, id: &KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.key_id() == *id)
    }

    /// The key that encrypts.
    ///
    /// ```
    /// # use firebrick_core::keys::{Key, KeySet};
    /// let (old, new) = (Key::generate([1; 32]), Key::generate([2; 32]));
    /// let mut keys = KeySet::new("@notes-data@", old.clone());
    /// keys.add(new);
    /// assert_eq!(keys.default_key(), &old);
    /// ```
    #[must_use]
    pub fn default_key(&self) -> &Key {
        &self.keys[self.default]
    }

    /// Adds a key that only decrypts; false if it is there already.
    ///
    /// ```
    /// # use firebrick_core::keys::{Key, KeySet};
    /// let (old, new) = (Key::generate([1; 32]), Key::generate([2; 32]));
    /// let mut keys = KeySet::new("@notes-data@", old.clone());
    /// assert!(keys.add(new.clone()));
    /// assert!(!keys.add(new)); // it is there already
    /// ```
    pub fn add(&mut self, key: Key) -> bool {
        let is_new = !self.keys.contains(&key);
        if is_new {
            self.keys.push(key);
        }
        is_new
    }

    /// Makes a key of the set the one that encrypts.
    ///
    /// ```
    /// # use firebrick_core::keys::{Key, KeySet};
    /// let (old, new) = (Key::generate([1; 32]), Key::generate([2; 32]));
    /// let mut keys = KeySet::new("@notes-data@", old.clone());
    /// keys.add(new.clone());
    /// keys.set_default(&new.key_id())?;
    /// assert_eq!(keys.default_key(), &new);
    /// assert!(keys.set_default(&Key::generate([3; 32]).key_id()).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`KeyError::Unknown`] if it is not in the set.
    pub fn set_default(&mut self, id: &KeyId) -> Result<(), KeyError> {
        let at = self.keys.iter().position(|key| key.key_id() == *id);
        self.default = at.ok_or(KeyError::Unknown(*id))?;
        Ok(())
    }

    /// Reads a keybag file: the current form and the older ones. If no key is marked as default,
    /// the first one is.
    ///
    /// ```
    /// use firebrick_core::keys::KeySet;
    ///
    /// let old_form = r#"{"name": "@notes-data@", "key": "zMCozZ91oiHGYp12nZVhtFh"}"#;
    /// let keys = KeySet::from_json(old_form)?;
    /// assert_eq!(keys.default_key().to_text(), "zMCozZ91oiHGYp12nZVhtFh");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with it.
    pub fn from_json(text: &str) -> Result<Self, KeyError> {
        let file: File = serde_json::from_str(text).map_err(|e| KeyError::Json(e.to_string()))?;
        let item = match (file.clazz, file.item) {
            (Some(kind), _) if !matches!(&*kind, "V1StorageKeyItem" | "V2StorageKeyItem") => {
                return Err(KeyError::OtherKind(kind));
            }
            (_, Some(item)) => item,
            (_, None) => Item {
                name: file.name,
                key: file.key,
                keys: file.keys,
            },
        };
        let name = item
            .name
            .ok_or_else(|| KeyError::Json("the field name is missing".into()))?;
        let (mut keys, mut default) = (Vec::new(), None);
        if let Some(text) = &item.key {
            keys.push(Key::from_text(text)?);
        }
        for (fingerprint, entry) in item.keys.unwrap_or_default().0 {
            let key = Key::from_text(&entry.key)?;
            let own = key.fingerprint();
            let stored = entry.finger_print.unwrap_or_else(|| own.clone());
            if let Some(wrong) = [fingerprint, stored].into_iter().find(|f| *f != own) {
                return Err(KeyError::Fingerprint(wrong));
            }
            if !keys.contains(&key) {
                keys.push(key);
                if entry.default && default.is_none() {
                    default = Some(keys.len() - 1);
                }
            }
        }
        if keys.is_empty() {
            return Err(KeyError::Empty(name));
        }
        Ok(Self {
            name,
            keys,
            default: default.unwrap_or(0),
        })
    }

    /// The keybag file as JavaScript writes it today. It holds the secrets.
    ///
    /// ```
    /// use firebrick_core::keys::{Key, KeySet};
    ///
    /// let keys = KeySet::new("@notes-data@", Key::generate([1; 32]));
    /// assert_eq!(KeySet::from_json(&keys.to_json())?, keys);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        let keys = self.keys.iter().enumerate().map(|(at, key)| {
            let entry = KeyEntry {
                key: Zeroizing::new(key.to_text()),
                finger_print: Some(key.fingerprint()),
                default: at == self.default,
            };
            (key.fingerprint(), entry)
        });
        let file = WrittenFile {
            id: &self.name,
            clazz: "V2StorageKeyItem",
            item: WrittenItem {
                name: &self.name,
                keys: Entries(keys.collect()),
            },
        };
        // Writing text fields and booleans into memory cannot fail.
        serde_json::to_string_pretty(&file).unwrap_or_default()
    }
}

#[derive(serde::Deserialize)]
struct File {
    clazz: Option<String>,
    item: Option<Item>,
    name: Option<String>,
    key: Option<Zeroizing<String>>,
    keys: Option<Entries>,
}

#[derive(serde::Deserialize)]
struct Item {
    name: Option<String>,
    key: Option<Zeroizing<String>>,
    keys: Option<Entries>,
}

#[derive(serde::Serialize)]
struct WrittenFile<'a> {
    id: &'a str,
    clazz: &'a str,
    item: WrittenItem<'a>,
}

#[derive(serde::Serialize)]
struct WrittenItem<'a> {
    name: &'a str,
    keys: Entries,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct KeyEntry {
    key: Zeroizing<String>,
    #[serde(rename = "fingerPrint")]
    finger_print: Option<String>,
    #[serde(default)]
    default: bool,
}

/// A JSON object whose order is kept, because the first key may become the default.
#[derive(Default)]
struct Entries(Vec<(String, KeyEntry)>);

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (fingerprint, entry) in &self.0 {
            map.serialize_entry(fingerprint, entry)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of keys")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURRENT: &str = r#"{
  "id": "@rotated-data@",
  "clazz": "V2StorageKeyItem",
  "item": {
    "name": "@rotated-data@",
    "keys": {
      "zCtMWcDb2p6NEG4L87jQN49h4MHHvuhMPz3L3wP8UBqbU": {
        "key": "zF4mTtxfcDh8ZRvqpvKzRdX",
        "fingerPrint": "zCtMWcDb2p6NEG4L87jQN49h4MHHvuhMPz3L3wP8UBqbU",
        "default": false
      },
      "zsF8u8zX6WHs2swVXZhviydmSxaEitUbgo55Tzx7AKrH": {
        "key": "z5bUTWn7vuucFWaqeE5Bz4fXCRfxjtoYagA7TSpuoDZzE",
        "fingerPrint": "zsF8u8zX6WHs2swVXZhviydmSxaEitUbgo55Tzx7AKrH",
        "default": true
      }
    }
  }
}"#;

    #[test]
    fn the_current_form_both_ways() {
        let mut set = KeySet::from_json(CURRENT).unwrap();
        assert_eq!(set.to_json(), CURRENT);
        assert_eq!(set.default_key().as_bytes().len(), 32);
        let first = set.keys()[0].key_id();
        set.set_default(&first).unwrap();
        assert_eq!(set.default_key().key_id(), first);
        assert!(!set.add(set.keys()[0].clone()));
        assert!(set.add(Key::generate([1; 32])));
        assert_eq!(KeySet::from_json(&set.to_json()).unwrap(), set);
    }

    #[test]
    fn older_forms() {
        let v1 = r#"{"name":"@sealed-data@","key":"zT7UbyWd4eZN94aCMRoWGAs"}"#;
        let set = KeySet::from_json(v1).unwrap();
        assert_eq!(set.default_key().to_text(), "zT7UbyWd4eZN94aCMRoWGAs");
        let none_marked = r#"{"name":"n","keys":{"zsF8u8zX6WHs2swVXZhviydmSxaEitUbgo55Tzx7AKrH":{"key":"z5bUTWn7vuucFWaqeE5Bz4fXCRfxjtoYagA7TSpuoDZzE"},
            "zCtMWcDb2p6NEG4L87jQN49h4MHHvuhMPz3L3wP8UBqbU":{"key":"zF4mTtxfcDh8ZRvqpvKzRdX","fingerPrint":"zCtMWcDb2p6NEG4L87jQN49h4MHHvuhMPz3L3wP8UBqbU"}}}"#;
        let set = KeySet::from_json(none_marked).unwrap();
        assert_eq!(set.default_key().as_bytes().len(), 32);
        assert_eq!(set.keys().len(), 2);
    }

    #[test]
    fn what_is_refused() {
        let read = KeySet::from_json;
        assert!(matches!(read("["), Err(KeyError::Json(_))));
        assert!(matches!(read("{}"), Err(KeyError::Json(_))));
        assert_eq!(read(r#"{"name":"n"}"#), Err(KeyError::Empty("n".into())));
        let device = r#"{"id":"x","clazz":"DeviceIdKeyBagItem","item":{}}"#;
        assert!(matches!(read(device), Err(KeyError::OtherKind(_))));
        let wrong = CURRENT.replace("zsF8u8", "zsF8u9");
        assert!(matches!(read(&wrong), Err(KeyError::Fingerprint(_))));
    }

    #[test]
    fn file_names() {
        assert_eq!(file_name("@one-data@"), "_one_data_.json");
        assert_eq!(file_name("Ä ü/x"), "____x.json");
        assert_eq!(file_name("😀"), "__.json");
    }
}
