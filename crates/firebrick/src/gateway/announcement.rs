//! What a writer leaves in its slot.

use bytes::Bytes;
use firebrick_core::Cid;
use serde::de::IgnoredAny;

use super::error::{GatewayError, GatewayErrorKind};

/// Name of a slot: one writer epoch, 32 characters of `0-9a-z`, drawn at random per store and open.
///
/// Listings may show other names too: [`MAIN_SLOT`], and copies of slots that a file-sync tool made.
///
/// ```
/// use firebrick::gateway::{SlotId, check_slot_id};
/// let slot: SlotId = "a1".repeat(16);
/// assert!(check_slot_id(&slot).is_ok());
/// ```
pub type SlotId = String;

/// The slot id under which a listing shows the pointer that JavaScript writes (`meta/main.json`).
///
/// ```
/// use firebrick::gateway::{Gateway, MAIN_SLOT, MemoryRemote};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), firebrick::gateway::GatewayError> {
/// let remote = MemoryRemote::unnamed().with_pointer();
/// remote.write_pointer("[]".into()).await?;
/// assert_eq!(remote.slots().await?[0].0, MAIN_SLOT);
/// # Ok(()) }
/// ```
pub const MAIN_SLOT: &str = "main";

/// Length of a slot id.
pub(super) const SLOT_ID_LEN: usize = 32;

/// The current state of one writer.
///
/// ```
/// # use firebrick::Cid;
/// use firebrick::core::cid::Codec;
/// use firebrick::gateway::Announcement;
/// let mut announcement = Announcement::new("[]");
/// announcement.wants.push(Cid::of(Codec::Car, b"lost"));
/// let stored = announcement.to_bytes()?;
/// assert_eq!(Announcement::from_bytes(&stored), Some(announcement));
/// # Ok::<(), firebrick::gateway::GatewayError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// One meta event in the form of `main.json` (format §10.1), on one line.
    pub meta: Bytes,
    /// CARs that this writer needs and can't read. Whoever holds their blocks may upload them again.
    pub wants: Vec<Cid>,
}

impl Announcement {
    /// An announcement that asks for nothing.
    ///
    /// ```
    /// use firebrick::gateway::Announcement;
    /// let announcement = Announcement::new("[]");
    /// assert!(announcement.wants.is_empty());
    /// ```
    #[must_use]
    pub fn new(meta: impl Into<Bytes>) -> Self {
        Self {
            meta: meta.into(),
            wants: Vec::new(),
        }
    }

    /// The stored form: two lines of JSON, first the meta event as it is, then `{"wants":[…]}`.
    ///
    /// A prefix of it never reads as a whole one, so a file that arrives in pieces is noticed.
    ///
    /// ```
    /// use firebrick::gateway::Announcement;
    /// assert_eq!(Announcement::new("[]").to_bytes()?, b"[]\n{\"wants\":[]}\n");
    /// assert!(Announcement::new("not JSON").to_bytes().is_err());
    /// # Ok::<(), firebrick::gateway::GatewayError>(())
    /// ```
    ///
    /// # Errors
    /// [`GatewayErrorKind::Corrupt`] if `meta` isn't JSON on one line.
    pub fn to_bytes(&self) -> Result<Vec<u8>, GatewayError> {
        if self.meta.contains(&b'\n') || !is_json(&self.meta) {
            return Err(GatewayError::new(
                GatewayErrorKind::Corrupt,
                "a meta event must be JSON on one line; nothing was announced",
            ));
        }
        let mut out = Vec::with_capacity(self.meta.len() + 16 + self.wants.len() * 62);
        out.extend_from_slice(&self.meta);
        out.extend_from_slice(b"\n{\"wants\":[");
        for (at, cid) in self.wants.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            out.extend_from_slice(format!("{comma}\"{cid}\"").as_bytes());
        }
        out.extend_from_slice(b"]}\n");
        Ok(out)
    }

    /// Reads the stored form; `None` if it is anything else, or not all of it.
    ///
    /// ```
    /// use firebrick::gateway::Announcement;
    /// let stored = b"[]\n{\"wants\":[]}\n";
    /// assert_eq!(Announcement::from_bytes(stored), Some(Announcement::new("[]")));
    /// assert_eq!(Announcement::from_bytes(&stored[..9]), None); // the rest has not arrived
    /// ```
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Rest {
            wants: Vec<Cid>,
        }
        let bytes = bytes.strip_suffix(b"\n")?;
        let line = bytes.iter().position(|b| *b == b'\n')?;
        let (meta, rest) = (&bytes[..line], &bytes[line + 1..]);
        let rest: Rest = serde_json::from_slice(rest).ok()?;
        is_json(meta).then(|| Self {
            meta: Bytes::copy_from_slice(meta),
            wants: rest.wants,
        })
    }
}

/// Whether `bytes` are one whole JSON value.
pub(super) fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// Checks the name of a slot that is to be written.
///
/// ```
/// use firebrick::gateway::check_slot_id;
/// assert!(check_slot_id(&"a1".repeat(16)).is_ok());
/// assert!(check_slot_id("../main.json").is_err());
/// ```
///
/// # Errors
/// [`GatewayErrorKind::Unsupported`] for anything but 32 characters of `0-9a-z`.
pub fn check_slot_id(slot: &str) -> Result<(), GatewayError> {
    if slot.len() == SLOT_ID_LEN && slot.bytes().all(is_slot_byte) {
        return Ok(());
    }
    Err(GatewayError::new(
        GatewayErrorKind::Unsupported,
        format!("{slot:?} can't be a slot: a slot id has 32 characters of 0-9 and a-z"),
    ))
}

/// Whether this byte may occur in a slot id.
pub(super) const fn is_slot_byte(byte: u8) -> bool {
    byte.is_ascii_digit() || byte.is_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use firebrick_core::cid::Codec;

    use super::*;

    #[test]
    fn the_stored_form_reads_back_and_no_prefix_does() {
        let wants = vec![Cid::of(Codec::Car, b"a"), Cid::of(Codec::Car, b"b")];
        for wants in [vec![], wants] {
            let announcement = Announcement {
                meta: Bytes::from_static(br#"[{"cid":"x","parents":[],"data":"M"}]"#),
                wants,
            };
            let bytes = announcement.to_bytes().unwrap();
            assert_eq!(Announcement::from_bytes(&bytes), Some(announcement));
            for len in 0..bytes.len() {
                assert_eq!(Announcement::from_bytes(&bytes[..len]), None, "{len}");
            }
        }
    }

    #[test]
    fn bad_metas_and_slots_are_refused() {
        for meta in ["", "[", "[]\n[]", "nonsense"] {
            assert!(Announcement::new(meta).to_bytes().is_err(), "{meta:?}");
        }
        assert!(check_slot_id(&"a1".repeat(16)).is_ok());
        for slot in [
            "",
            "main",
            "../../../../../../../etc/password",
            &"A".repeat(32),
        ] {
            assert!(check_slot_id(slot).is_err(), "{slot}");
        }
    }
}
