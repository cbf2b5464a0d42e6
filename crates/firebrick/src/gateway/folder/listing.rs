//! Listing CARs and slots.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::time::SystemTime;

use bytes::Bytes;

use super::layout::{MAX_META_BYTES, is_slot_name, list_names, parse_car_name};
use super::{Folder, lock};
use crate::gateway::announcement::{Announcement, MAIN_SLOT, SlotId, is_json};
use crate::gateway::{CarEntry, GatewayResult};

/// Listings of a directory that keeps changing before the result is taken as it is.
const LISTING_TRIES: usize = 4;

impl Folder {
    pub(super) fn list_cars(&self) -> GatewayResult<Vec<CarEntry>> {
        let data = &self.layout.data;
        let list = || -> io::Result<Vec<CarEntry>> {
            let mut cars = Vec::new();
            for entry in fs::read_dir(data)? {
                let entry = entry?;
                let name = entry.file_name();
                let Some((cid, is_file)) = name.to_str().and_then(parse_car_name) else {
                    continue;
                };
                // A CAR that is deleted meanwhile is no error.
                if let Ok(metadata) = entry.metadata()
                    && !metadata.is_dir()
                {
                    let len = metadata.len();
                    cars.push(CarEntry { cid, len, is_file });
                }
            }
            Ok(cars)
        };
        list().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.gone(),
            _ => self.explain("can't be listed", data, error),
        })
    }

    pub(super) fn list_slots(&self) -> GatewayResult<BTreeMap<SlotId, Announcement>> {
        let mut slots = BTreeMap::new();
        for name in self.slot_names()? {
            let path = self.layout.heads.join(&name);
            // One bad file must not hide the others.
            match self.read(&path, MAX_META_BYTES) {
                Ok(Some(bytes)) => match Announcement::from_bytes(&bytes) {
                    Some(announcement) => {
                        lock(&self.seen_slots).insert(name.clone());
                        slots.insert(name, announcement);
                    }
                    None => tracing::warn!(path = %path.display(), "not a whole slot, skipped"),
                },
                Ok(None) => {
                    lock(&self.seen_slots).remove(&name);
                }
                Err(error) => tracing::warn!(%error, "slot skipped"),
            }
        }
        Ok(slots)
    }

    /// The names of all slots: those listed, and those seen earlier.
    ///
    /// POSIX leaves open whether a listing shows a file that is replaced while it runs. ext4 always
    /// shows it; tmpfs with 3,000 slots under constant writing left something out of every third
    /// listing. So a listing during which the directory changed is repeated, and all that any of
    /// them shows is taken.
    fn slot_names(&self) -> GatewayResult<BTreeSet<String>> {
        let heads = &self.layout.heads;
        let mut names = lock(&self.seen_slots).clone();
        for _ in 0..LISTING_TRIES {
            let before = modified(heads);
            match list_names(heads) {
                Ok(listed) => names.extend(listed.into_iter().filter(|name| is_slot_name(name))),
                // A folder of Fireproof's that can't be written has no slots.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if !self.layout.meta.is_dir() {
                        return Err(self.gone());
                    }
                }
                Err(error) => return Err(self.explain("can't be listed", heads, error)),
            }
            if modified(heads) == before {
                break;
            }
        }
        Ok(names)
    }
}

fn modified(path: &std::path::Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|m| m.modified()).ok()
}

/// Adds what JavaScript announced, if it is readable.
pub(super) fn with_pointer(
    mut slots: BTreeMap<SlotId, Announcement>,
    pointer: Option<Bytes>,
) -> Vec<(SlotId, Announcement)> {
    if let Some(pointer) = pointer {
        if is_json(&pointer) {
            slots.insert(MAIN_SLOT.to_owned(), Announcement::new(pointer));
        } else {
            tracing::warn!("main.json is no JSON, skipped");
        }
    }
    slots.into_iter().collect()
}
