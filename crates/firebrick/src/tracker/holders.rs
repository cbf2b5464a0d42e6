//! What is known here of the remotes, without asking them: who has which block, and who lacks what.

use std::collections::BTreeSet;
use std::sync::Arc;

use firebrick_core::Cid;
use firebrick_core::clock::{self, EventSource as _};
use hashbrown::HashMap;

use super::Trackers;
use super::record::{CarRecord, Record, car_prefix, decode_list, record_key};
use crate::error::Result;
use crate::ledger::Source;
use crate::stats::RemoteLag;
use crate::verify::Finding;

impl Trackers {
    /// Attached and remembered remotes.
    fn names(&self) -> BTreeSet<String> {
        let attached = self.all();
        let attached = attached
            .iter()
            .map(|attachment| attachment.name().to_owned());
        let remembered = self.remembered().into_iter().map(|(name, _)| name);
        attached.chain(remembered).collect()
    }

    fn record_of(&self, name: &str) -> Option<Record> {
        let known = self.ledger.store().kv(&record_key(name))?;
        Record::decode(&known).ok()
    }

    /// Writes the names of the attached and remembered remotes that hold a block, as far as their
    /// CARs are known here. A content of a file is said to be where its document was sent with it.
    pub(crate) fn name_holders(&self, findings: &mut [Finding]) -> Result<()> {
        if findings.is_empty() {
            return Ok(());
        }
        let wanted: HashMap<Cid, usize> = findings
            .iter()
            .enumerate()
            .map(|(at, finding)| (finding.cid, at))
            .collect();
        let store = Arc::clone(self.ledger.store());
        for name in self.names() {
            let mut held = BTreeSet::new();
            for (_, car) in store.kv_prefix(&car_prefix(&name)) {
                // A CAR that a merged one replaced may be gone; the merged one has its blocks.
                let Some(car) = CarRecord::decode(&car).ok().filter(|car| !car.replaced) else {
                    continue;
                };
                // Reading the CAR again gives its list too.
                held.extend(wanted.get(&car.list));
                if let Ok(Some(list)) = store.block(&car.list) {
                    let blocks = decode_list(&list);
                    held.extend(blocks.iter().filter_map(|cid| wanted.get(cid)));
                }
            }
            if let Some(known) = self.record_of(&name) {
                let contents = findings.iter().enumerate();
                held.extend(contents.filter_map(|(at, finding)| {
                    let content = finding.wanted.as_ref()?;
                    let owed = known.owed.iter();
                    let mut owed = owed.filter(|owed| owed.is_of(&content.id, &content.name));
                    owed.next().is_none().then_some(at)
                }));
            }
            for at in held {
                findings[at].remotes.push(name.clone());
            }
        }
        Ok(())
    }

    /// How far each remote and this database are apart, as of the last contact.
    pub(crate) fn lags(&self) -> Result<Vec<RemoteLag>> {
        let (source, head) = (&self.ledger.source, self.ledger.snapshot().head.clone());
        let attached = self.all();
        let mut lags = Vec::new();
        for remote in self.names() {
            let acked = self.record_of(&remote).unwrap_or_default().acked;
            let lacks = match lacks(source, &head, &acked) {
                Ok(lacks) => Some(lacks),
                Err(error) if error.unreadable().is_some() => None,
                Err(error) => return Err(error),
            };
            let status = attached.iter().find(|attached| attached.name() == remote);
            let status = status.map(super::Attachment::status);
            lags.push(RemoteLag {
                attached: status.is_some(),
                events_to_push: lacks.map(|(events, _)| events),
                documents_to_push: lacks.map(|(_, documents)| documents),
                heads_to_pull: status
                    .as_ref()
                    .map_or(0, |status| status.pending.len() as u64),
                documents_to_pull: status
                    .as_ref()
                    .map_or(0, |status| status.missing_documents.len() as u64),
                remote,
            });
        }
        Ok(lags)
    }
}

/// How many events a remote with these heads lacks, and how many documents they wrote.
fn lacks(source: &Source, head: &[Cid], acked: &[Cid]) -> Result<(u64, u64)> {
    let events = clock::difference(source, head, acked)?;
    let mut documents = 0;
    for event in &events {
        documents += source.event(event)?.puts().count() as u64;
    }
    Ok((events.len() as u64, documents))
}
