//! The list of live CAR groups (format §7.4).

use crate::cid::Cid;
use crate::header::CarHeader;

/// Live groups, newest first, and those that compactions replaced.
#[derive(Clone, Debug, Default)]
pub(super) struct CarLog {
    groups: Vec<Vec<Cid>>,
    replaced: Vec<Vec<Cid>>,
}

impl CarLog {
    pub(super) fn groups(&self) -> &[Vec<Cid>] {
        &self.groups
    }

    /// A group with this header became known.
    pub(super) fn add(&mut self, group: &[Cid], header: &CarHeader) {
        self.replaced.extend_from_slice(&header.compact);
        let newest = std::iter::once(group.to_vec());
        let known = std::mem::take(&mut self.groups);
        let mut seen = hashbrown::HashSet::new();
        let replaced: hashbrown::HashSet<&Vec<Cid>> = self.replaced.iter().collect();
        self.groups = newest
            .chain(known)
            .chain(header.cars.iter().cloned())
            .filter(|group| !replaced.contains(group) && seen.insert(group.clone()))
            .collect();
    }
}
