//! What can be said about a ledger whose shards are partly lost.

use std::collections::BTreeMap;

use hashbrown::HashSet;

use super::{Ledger, ReadError, Source};
use crate::cid::Cid;
use crate::clock::EventSource;
use crate::keys::Keys;
use crate::pail::ShardSource;

/// A document that was found in spite of missing shards.
///
/// ```
/// # use firebrick_core::genesis::GENESIS;
/// # use firebrick_core::keys::Key;
/// # use firebrick_core::ledger::{Ledger, Part, SourceError};
/// # use firebrick_core::meta::MetaEvent;
/// # let newest = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
/// # let data = format!("data/{}.car", GENESIS.car.cid);
/// # let source = move |path: &str| -> Result<Option<bytes::Bytes>, SourceError> {
/// #     Ok(match path {
/// #         "meta/main.json" => Some(newest.to_main_json().into()),
/// #         _ => (path == data).then(|| GENESIS.car_bytes()),
/// #     })
/// # };
/// # let ledger = Ledger::open(source, None::<Key>, Part::Data);
/// use firebrick_core::document::GENESIS_KEY;
///
/// let found = &ledger.salvage()?[0];
/// assert_eq!((found.id.as_str(), found.cid), (GENESIS_KEY, GENESIS.document.cid));
/// assert!(found.is_certain); // nothing is lost here
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// Its id.
    pub id: String,
    /// Its block.
    pub cid: Cid,
    /// Whether the state of the head says so. Otherwise the shard that would is lost, and this is
    /// the newest event that is left; a lost one may have changed the document since.
    pub is_certain: bool,
}

impl<S: Source, K: Keys> Ledger<S, K> {
    /// All documents that can still be found, ascending by id: those that the remaining shards
    /// name, and below lost shards those that the remaining events name.
    ///
    /// ```
    /// # use firebrick_core::document::GENESIS_KEY;
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::group::Car;
    /// # use firebrick_core::header::CarHeader;
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # let header = CarHeader { head: Some(vec![GENESIS.event.cid]), ..CarHeader::default() };
    /// # let car = Car::commit(&header, [&GENESIS.document, &GENESIS.event]);
    /// # let (cid, data) = (car.cid, format!("data/{}.car", car.cid));
    /// # let source = move |path: &str| -> Result<Option<bytes::Bytes>, SourceError> {
    /// #     Ok((path == data).then(|| car.bytes.clone()))
    /// # };
    /// # let mut ledger = Ledger::open(source, None::<Key>, Part::Data);
    /// # ledger.add_group(&[cid]);
    /// // The shard that names the document is lost, the event that wrote it is not.
    /// assert!(ledger.documents().is_err());
    /// let found = ledger.salvage()?;
    /// assert_eq!(found[0].id, GENESIS_KEY);
    /// assert!(!found[0].is_certain);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ReadError`] if the state of the head cannot even be begun: its events are missing, or it
    /// is a merge of several whose shards are lost.
    pub fn salvage(&self) -> Result<Vec<Salvaged>, ReadError> {
        let mut found = BTreeMap::new();
        let mut lost = Vec::new();
        let tree = self.tree()?;
        // Shards of a merge are in no CAR; they are in the tree only.
        for block in tree.unsaved() {
            self.state.borrow_mut().blocks.insert(&block);
        }
        let mut next = vec![(String::new(), tree.root())];
        let mut seen = HashSet::new();
        while let Some((prefix, cid)) = next.pop() {
            let shard = match self.shard(&cid) {
                Ok(shard) if shard.prefix() == prefix.as_bytes() => shard,
                _ => {
                    lost.push(prefix);
                    continue;
                }
            };
            if !seen.insert(cid) {
                continue;
            }
            for entry in shard.entries() {
                let key = format!("{prefix}{}", String::from_utf8_lossy(entry.key));
                if let Some(child) = entry.child {
                    next.push((key.clone(), child));
                }
                if let Some(value) = entry.value {
                    found.insert(key, (value, true));
                }
            }
        }
        if !lost.is_empty() {
            self.add_from_events(&lost, &mut found);
        }
        let documents = found.into_iter().map(|(id, (cid, is_certain))| Salvaged {
            id,
            cid,
            is_certain,
        });
        Ok(documents.collect())
    }

    /// Adds keys below lost shards from the events that are left, the newest first.
    fn add_from_events(&self, lost: &[String], found: &mut BTreeMap<String, (Cid, bool)>) {
        // Newest first: the walk from the head, then, behind holes, the CARs in the log's order.
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        let mut next: std::collections::VecDeque<Cid> = self.head.iter().copied().collect();
        let cars = self.car_log().iter().flatten();
        let mut behind: Vec<Cid> = cars
            .filter_map(|car| self.car(car))
            .flat_map(|car| car.blocks.into_iter().rev().map(|block| block.cid))
            .collect();
        behind.reverse();
        while let Some(cid) = next.pop_front().or_else(|| behind.pop()) {
            if seen.insert(cid)
                && let Ok(event) = self.event(&cid)
            {
                next.extend(event.parents.iter().copied());
                order.push(event);
            }
        }
        for event in order {
            for (key, value) in event.puts().rev() {
                let is_lost = lost.iter().any(|prefix| key.starts_with(prefix.as_str()));
                if is_lost && !found.contains_key(key) {
                    found.insert(key.to_owned(), (value, false));
                }
            }
        }
    }
}
