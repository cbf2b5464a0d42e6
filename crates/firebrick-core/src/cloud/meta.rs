//! Metas in messages, and the keys that travel with them.

use std::fmt;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::ZeroizeOnDrop;

use super::{MAX_ENTRIES, MAX_KEY_LEN, MAX_META_LEN, ProtocolError, limit};
use crate::cid::{Cid, Codec};
use crate::keys::{Key, KeyError};
use crate::meta::{MetaError, MetaEvent};

/// Pointers to the newest CARs of a ledger, and the keys that open them.
///
/// ```
/// use firebrick_core::cloud::{KeyText, MetaEntry, MetaSet};
/// use firebrick_core::keys::Key;
/// # use firebrick_core::meta::MetaEvent;
/// # let event = MetaEvent { cars: vec![firebrick_core::pail::EMPTY_ROOT], parents: vec![] };
///
/// let set = MetaSet {
///     metas: vec![MetaEntry::new(&event)],
///     keys: vec![KeyText::new(&Key::generate([7; 32]))],
/// };
/// let json = serde_json::to_string(&set)?;
/// assert_eq!(serde_json::from_str::<MetaSet>(&json)?, set);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MetaSet {
    /// The pointers.
    pub metas: Vec<MetaEntry>,
    /// The keys, in clear: whoever carries the message can read the ledger.
    #[serde(default)]
    pub keys: Vec<KeyText>,
}

impl MetaSet {
    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        limit("meta.metas", self.metas.len(), MAX_ENTRIES)?;
        limit("meta.keys", self.keys.len(), MAX_ENTRIES)?;
        for entry in &self.metas {
            limit("meta.metas.parents", entry.parents.len(), MAX_ENTRIES)?;
            limit("meta.metas.data", entry.data.len(), MAX_META_LEN)?;
        }
        for key in &self.keys {
            limit("meta.keys", key.0.len(), MAX_KEY_LEN)?;
        }
        Ok(())
    }
}

/// A meta event as text.
///
/// ```
/// use firebrick_core::cloud::MetaEntry;
/// # use firebrick_core::meta::MetaEvent;
/// # let event = MetaEvent { cars: vec![firebrick_core::pail::EMPTY_ROOT], parents: vec![] };
///
/// let entry = MetaEntry::new(&event);
/// assert_eq!(entry.parents, event.parents);
/// assert!(entry.data.starts_with('M'));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaEntry {
    /// The name of the event's block. Nothing says that it is, see [`event`](Self::event).
    pub cid: Cid,
    /// The events that the writer had received.
    pub parents: Vec<Cid>,
    /// The event's block in base64, after an `M`.
    pub data: String,
}

impl MetaEntry {
    /// The event as it is sent.
    ///
    /// ```
    /// use firebrick_core::cloud::MetaEntry;
    /// # use firebrick_core::meta::MetaEvent;
    /// # let event = MetaEvent { cars: vec![firebrick_core::pail::EMPTY_ROOT], parents: vec![] };
    ///
    /// assert_eq!(MetaEntry::new(&event).cid, event.encode().cid);
    /// ```
    #[must_use]
    pub fn new(event: &MetaEvent) -> Self {
        let block = event.encode();
        Self {
            cid: block.cid,
            parents: event.parents.clone(),
            data: format!("M{}", BASE64.encode(&block.bytes)),
        }
    }

    /// Reads the event and checks that it has the name it goes by.
    ///
    /// ```
    /// use firebrick_core::cloud::MetaEntry;
    /// use firebrick_core::meta::MetaError;
    /// # use firebrick_core::meta::MetaEvent;
    /// # let other = firebrick_core::pail::EMPTY_ROOT;
    /// # let event = MetaEvent { cars: vec![other], parents: vec![] };
    ///
    /// let mut entry = MetaEntry::new(&event);
    /// assert_eq!(entry.event()?, event);
    /// entry.cid = other;
    /// assert!(matches!(entry.event(), Err(MetaError::Name(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`MetaError::Name`] for a forged name, others for what is no event.
    pub fn event(&self) -> Result<MetaEvent, MetaError> {
        let digits = self.data.strip_prefix('M').ok_or(MetaError::Base64)?;
        let block = BASE64
            .decode(digits.as_bytes())
            .map_err(|_| MetaError::Base64)?;
        if self.cid.codec() != Codec::DagCbor || !self.cid.matches(&block) {
            return Err(MetaError::Name(self.cid));
        }
        MetaEvent::decode(&block)
    }
}

/// A key's material as text, `z…`. `Debug` does not show it; it is erased from memory when dropped.
///
/// ```
/// use firebrick_core::cloud::KeyText;
/// use firebrick_core::keys::Key;
///
/// let text = KeyText::new(&Key::generate([7; 32]));
/// assert!(!format!("{text:?}").contains(text.as_str()));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct KeyText(String);

impl KeyText {
    /// The text of a key.
    ///
    /// ```
    /// use firebrick_core::cloud::KeyText;
    /// use firebrick_core::keys::Key;
    ///
    /// let key = Key::generate([7; 32]);
    /// assert_eq!(KeyText::new(&key).as_str(), key.to_text());
    /// ```
    #[must_use]
    pub fn new(key: &Key) -> Self {
        Self(key.to_text())
    }

    /// The text. It is the secret.
    ///
    /// ```
    /// use firebrick_core::cloud::KeyText;
    /// use firebrick_core::keys::Key;
    ///
    /// assert!(KeyText::new(&Key::generate([7; 32])).as_str().starts_with('z'));
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key.
    ///
    /// ```
    /// use firebrick_core::cloud::KeyText;
    /// use firebrick_core::keys::Key;
    ///
    /// let key = Key::generate([7; 32]);
    /// assert_eq!(KeyText::new(&key).key()?, key);
    /// assert!(KeyText::from("no key".to_owned()).key().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`KeyError`] if the text is none.
    pub fn key(&self) -> Result<Key, KeyError> {
        Key::from_text(&self.0)
    }
}

impl From<String> for KeyText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(…)")
    }
}
