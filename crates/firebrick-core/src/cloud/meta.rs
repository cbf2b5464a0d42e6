//! Metas in messages, and the keys that travel with them.

use std::fmt;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::ZeroizeOnDrop;

use super::{MAX_ENTRIES, MAX_KEY_LEN, MAX_META_LEN, ProtocolError, limit};
use crate::cid::{Cid, Codec};
use crate::keys::{Key, KeyError};
use crate::meta::{MetaError, MetaEvent};

/// CARs that one writer asks for at once.
const MAX_WANTS: usize = 256;

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
        MetaEvent::decode(&self.block()?)
    }

    /// The event of one of several writers, and what its writer says beside the CARs.
    #[must_use]
    pub fn with_note(event: &MetaEvent, note: &SlotNote) -> Self {
        let block = event.encode_with(&note.beside(&event.db_meta()));
        Self {
            cid: block.cid,
            parents: event.parents.clone(),
            data: format!("M{}", BASE64.encode(&block.bytes)),
        }
    }

    /// Reads the event and the note, which JavaScript does not write.
    ///
    /// # Errors
    /// Those of [`event`](Self::event). A note that cannot be read counts as none.
    pub fn noted(&self) -> Result<(MetaEvent, Option<SlotNote>), MetaError> {
        let block = self.block()?;
        let (event, db_meta) = MetaEvent::decode_with(&block)?;
        Ok((event, SlotNote::read(db_meta)))
    }

    /// The event's block, whose name was checked.
    fn block(&self) -> Result<Vec<u8>, MetaError> {
        let digits = self.data.strip_prefix('M').ok_or(MetaError::Base64)?;
        let block = BASE64
            .decode(digits.as_bytes())
            .map_err(|_| MetaError::Base64)?;
        if self.cid.codec() != Codec::DagCbor || !self.cid.matches(&block) {
            return Err(MetaError::Name(self.cid));
        }
        Ok(block)
    }
}

/// What a writer of ours says beside the CARs, as `firebrick` next to `cars` in the dag-json of its meta
/// event. Readers that do not know it ignore it. The server sees it, as it sees the names of the CARs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SlotNote {
    /// The writer's slot: 32 characters of `0-9a-z`.
    pub slot: String,
    /// Grows with each event of the slot, so that the newest is known in whatever order they arrive.
    pub number: u64,
    /// CARs that the writer needs and cannot read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wants: Vec<Cid>,
}

impl SlotNote {
    /// Adds the note to `{"cars":[…]}`.
    fn beside(&self, db_meta: &str) -> String {
        let open = db_meta.strip_suffix('}').unwrap_or(db_meta);
        // Nothing here can fail to be written.
        let note = serde_json::to_string(self).unwrap_or_default();
        format!(r#"{open},"firebrick":{note}}}"#)
    }

    fn read(db_meta: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Noted {
            firebrick: SlotNote,
        }
        let Noted { firebrick: note } = serde_json::from_slice(db_meta).ok()?;
        let is_slot = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
        let valid = note.slot.len() == 32 && note.slot.bytes().all(is_slot);
        (valid && note.wants.len() <= MAX_WANTS).then_some(note)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> MetaEvent {
        MetaEvent {
            cars: vec![Cid::of(Codec::Car, b"a")],
            parents: vec![Cid::of(Codec::DagCbor, b"p")],
        }
    }

    #[test]
    fn notes_stand_beside_what_others_read() {
        for wants in [vec![], vec![Cid::of(Codec::Car, b"lost")]] {
            let note = SlotNote {
                slot: "a1".repeat(16),
                number: 7,
                wants,
            };
            let entry = MetaEntry::with_note(&event(), &note);
            assert_eq!(entry.event(), Ok(event()));
            assert_eq!(entry.noted(), Ok((event(), Some(note))));
        }
        assert_eq!(MetaEntry::new(&event()).noted(), Ok((event(), None)));
    }

    #[test]
    fn bad_notes_are_none() {
        for note in [
            "5",
            "{}",
            r#"{"slot":"main","number":1}"#,
            r#"{"slot":"../../../../../../../etc/passwd..","number":1}"#,
            r#"{"slot":"a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1","number":-1}"#,
        ] {
            let text = event()
                .db_meta()
                .replace("]}", &format!(r#"],"firebrick":{note}}}"#));
            let block = event().encode_with(&text);
            let entry = MetaEntry {
                cid: block.cid,
                parents: event().parents,
                data: format!("M{}", BASE64.encode(&block.bytes)),
            };
            assert_eq!(entry.noted(), Ok((event(), None)), "{note}");
        }
    }
}
