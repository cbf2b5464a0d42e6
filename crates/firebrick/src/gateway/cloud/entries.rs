//! What the server is known to hold: metas, each as the slot of its writer.

use bytes::Bytes;
use data_encoding::BASE32HEX_NOPAD;
use firebrick_core::Cid;
use firebrick_core::cloud::{MetaEntry, SlotNote};
use firebrick_core::meta::MetaEvent;
use hashbrown::HashSet;
use std::collections::BTreeMap;

use crate::gateway::{Announcement, GatewayError, GatewayErrorKind, GatewayResult, SlotId};

/// Slots that come beyond twice as many as there were at first lead to a fresh look: the server does not
/// say which ones it has dropped.
const SPARE: usize = 512;
/// More is not taken from any server.
const MOST: usize = 200_000;

#[derive(Debug)]
struct Known {
    cid: Cid,
    number: u64,
    announcement: Announcement,
}

/// The slots.
#[derive(Debug, Default)]
pub(super) struct Entries {
    slots: BTreeMap<SlotId, Known>,
    /// How many there were at the last full set.
    full: usize,
    /// Metas that are left out of listings.
    hidden: HashSet<Cid>,
}

impl Entries {
    /// What a bind was answered: everything that there is.
    pub(super) fn replace(&mut self, metas: &[MetaEntry]) {
        self.slots.clear();
        self.add(metas);
        self.full = self.slots.len();
        let slots = &self.slots;
        let here: HashSet<Cid> = slots.values().map(|known| known.cid).collect();
        self.hidden.retain(|cid| here.contains(cid));
    }

    /// More; whether anything is new. What cannot be read, or goes by another's name, is left out.
    pub(super) fn add(&mut self, metas: &[MetaEntry]) -> bool {
        let mut changed = false;
        for entry in metas {
            if self.slots.len() >= MOST {
                tracing::warn!("the server sends more metas than can be; the rest is left out");
                break;
            }
            match entry.noted() {
                Ok((event, note)) if !event.cars.is_empty() => {
                    changed |= self.take(entry.cid, &event, note);
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(cid = %entry.cid, %error, "a meta cannot be read"),
            }
        }
        changed
    }

    fn take(&mut self, cid: Cid, event: &MetaEvent, note: Option<SlotNote>) -> bool {
        let note = note.unwrap_or_else(|| SlotNote {
            slot: slot_of(&cid),
            number: 0,
            wants: Vec::new(),
        });
        let newer = |known: &Known| (known.number, known.cid) < (note.number, cid);
        if !self.slots.get(&note.slot).is_none_or(newer) {
            return false;
        }
        let announcement = Announcement {
            meta: Bytes::from(event.to_main_json()),
            wants: note.wants,
        };
        let known = Known {
            cid,
            number: note.number,
            announcement,
        };
        self.slots.insert(note.slot, known);
        true
    }

    /// What a writer's next event in a slot has to be numbered with.
    pub(super) fn next_number(&self, slot: &str) -> u64 {
        let known = self.slots.get(slot);
        known.map_or(1, |known| known.number.saturating_add(1))
    }

    pub(super) fn list(&self) -> Vec<(SlotId, Announcement)> {
        let shown = self.slots.iter();
        shown
            .filter(|(_, known)| !self.hidden.contains(&known.cid))
            .map(|(slot, known)| (slot.clone(), known.announcement.clone()))
            .collect()
    }

    /// Leaves a slot out of listings until its writer says something new. Whether the writer named it.
    pub(super) fn hide(&mut self, slot: &str) -> bool {
        let Some(known) = self.slots.get(slot) else {
            return false;
        };
        self.hidden.insert(known.cid);
        known.number > 0
    }

    /// Whether most of it may be gone at the server.
    pub(super) fn is_worn(&self) -> bool {
        self.slots.len() > 2 * self.full + SPARE
    }
}

/// The slot that stands for a meta whose writer names none.
fn slot_of(cid: &Cid) -> SlotId {
    let mut slot = BASE32HEX_NOPAD.encode(cid.digest()).to_ascii_lowercase();
    slot.truncate(32);
    slot
}

/// The one event of an announcement; nothing if it names no CARs, which no meta can say.
pub(super) fn event_of(announcement: &Announcement) -> GatewayResult<Option<MetaEvent>> {
    let corrupt = |text: String| GatewayError::new(GatewayErrorKind::Corrupt, text);
    // Checks that it is JSON on one line, as every remote does.
    announcement.to_bytes()?;
    let file = firebrick_core::meta::MetaFile::parse(&announcement.meta)
        .map_err(|error| corrupt(format!("nothing was announced: {error}")))?;
    if let Some((_, error)) = file.damaged.first() {
        return Err(corrupt(format!("nothing was announced: {error}")));
    }
    let mut events = file.events.into_iter().map(|(_, event)| event);
    match (events.next(), events.next()) {
        (_, Some(_)) => Err(corrupt("a slot has one event, not several".into())),
        (event, None) => Ok(event.filter(|event| !event.cars.is_empty())),
    }
}

#[cfg(test)]
mod tests {
    use firebrick_core::cid::Codec;

    use super::*;

    fn event(name: &str) -> MetaEvent {
        MetaEvent {
            cars: vec![Cid::of(Codec::Car, name.as_bytes())],
            parents: Vec::new(),
        }
    }

    fn noted(name: &str, slot: char, number: u64) -> MetaEntry {
        let note = SlotNote {
            slot: slot.to_string().repeat(32),
            number,
            wants: Vec::new(),
        };
        MetaEntry::with_note(&event(name), &note)
    }

    fn metas(entries: &Entries) -> Vec<Bytes> {
        let list = entries.list().into_iter();
        list.map(|(_, announcement)| announcement.meta).collect()
    }

    #[test]
    fn the_newest_of_a_slot_counts_in_any_order() {
        let (old, new) = (noted("old", 'a', 1), noted("new", 'a', 2));
        for order in [[&old, &new], [&new, &old]] {
            let mut entries = Entries::default();
            for entry in order {
                entries.add(std::slice::from_ref(entry));
            }
            assert_eq!(metas(&entries), [event("new").to_main_json()]);
            assert_eq!(entries.next_number(&"a".repeat(32)), 3);
        }
    }

    #[test]
    fn those_without_a_slot_are_one_each() {
        let js = [MetaEntry::new(&event("one")), MetaEntry::new(&event("two"))];
        let mut entries = Entries::default();
        assert!(entries.add(&js));
        assert!(!entries.add(&js));
        let slots = entries.list();
        assert_eq!(slots.len(), 2);
        assert!(
            slots
                .iter()
                .all(|(slot, _)| crate::gateway::check_slot_id(slot).is_ok())
        );
        entries.replace(&js[..1]);
        assert_eq!(metas(&entries), [event("one").to_main_json()]);
    }

    #[test]
    fn forged_and_empty_metas_are_left_out() {
        let forged = MetaEntry {
            cid: Cid::of(Codec::DagCbor, b"another"),
            ..MetaEntry::new(&event("one"))
        };
        let empty = MetaEntry::new(&MetaEvent {
            cars: Vec::new(),
            parents: Vec::new(),
        });
        let mut entries = Entries::default();
        assert!(!entries.add(&[forged, empty]));
        assert!(entries.list().is_empty());
    }

    #[test]
    fn hidden_until_something_new() {
        let mut entries = Entries::default();
        entries.add(&[noted("old", 'a', 1)]);
        entries.hide(&"a".repeat(32));
        assert!(entries.list().is_empty());
        entries.replace(&[noted("old", 'a', 1)]);
        assert!(entries.list().is_empty());
        entries.add(&[noted("new", 'a', 2)]);
        assert_eq!(entries.list().len(), 1);
    }

    #[test]
    fn what_cannot_be_announced_is_refused() {
        let said = |meta: &str| event_of(&Announcement::new(meta.to_owned()));
        assert!(matches!(said("[]"), Ok(None)));
        let one = event("one").to_main_json();
        assert!(matches!(said(&one), Ok(Some(_))));
        let inner = one.trim_matches(['[', ']']).to_owned() + "]}";
        let inner = inner.trim_end_matches("]}").to_owned();
        let both = format!("[{inner},{inner}]");
        for bad in ["", "nonsense", "[5]", &both] {
            assert!(said(bad).is_err(), "{bad}");
        }
    }
}
