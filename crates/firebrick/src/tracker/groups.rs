//! Which CAR groups a push merges, so that a remote never holds many.
//!
//! Every header lists all live groups, so their number must stay small whatever the number of
//! pushes: groups are merged in levels, as a log-structured tree does. Eight groups of a level
//! become one of the next in a CAR of its own, which nobody has to read who has its blocks. So
//! 10,000 pushes leave some 30 groups, and each block is written again only a few times.

use firebrick_core::Cid;
use serde::{Deserialize, Serialize};

/// A CAR group at a remote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Group {
    /// Its CARs; one, unless JavaScript wrote it.
    pub(super) cars: Vec<Cid>,
    /// Plain bytes; 0 while they are not known, because the CAR was not needed here.
    pub(super) bytes: u64,
    /// Written by this store.
    pub(super) ours: bool,
}

/// Groups of one level that are merged into the next.
const PER_LEVEL: usize = 8;
/// The size of a level is this many times that of the level below.
const LEVEL_FACTOR: u64 = 8;
/// Groups up to this many bytes are all of the lowest level.
const SMALLEST_LEVEL_BYTES: u64 = 16 << 10;
/// When the limit is near, groups of other writers are merged too, down to this many: few at a
/// time, because other writers see the same crowd and do the same.
const GROUPS_AFTER_MERGE: usize = 36;
/// From this many on, a push merges whatever is small. Writers that see the same crowd at the same
/// time need not all do it, so each has its own threshold between this and a bit more.
const CROWD: usize = 44;
/// No header lists more groups than this.
#[cfg(test)]
const GROUPS_MAX: usize = 64;

fn level(bytes: u64) -> u32 {
    let mut level = 0;
    let mut limit = SMALLEST_LEVEL_BYTES;
    while bytes > limit {
        level += 1;
        limit = limit.saturating_mul(LEVEL_FACTOR);
    }
    level
}

/// The groups, by position, whose blocks go into a new group of `bytes` bytes.
///
/// `reserved` further groups will be listed beside the new one. `patience` (0 to 15) differs
/// between writers.
pub(super) fn to_merge(live: &[Group], bytes: u64, reserved: usize, patience: usize) -> Vec<usize> {
    let mut merged: Vec<usize> = Vec::new();
    let mut total = bytes;
    // Own groups, level by level; what was merged counts as one of the level that it reaches.
    loop {
        let at = level(total);
        let same: Vec<usize> = (0..live.len())
            .filter(|index| {
                live[*index].ours && level(live[*index].bytes) <= at && !merged.contains(index)
            })
            .collect();
        if same.is_empty() || same.len() + usize::from(!merged.is_empty()) < PER_LEVEL {
            break;
        }
        merged.extend(same);
        total = merged.iter().map(|index| live[*index].bytes).sum::<u64>();
    }
    // Whoever wrote them: the smallest first, until there is room again.
    let left = |merged: &Vec<usize>| live.len() - merged.len() + 1 + reserved;
    if left(&merged) > CROWD + patience.min(15) {
        let mut others: Vec<usize> = (0..live.len())
            .filter(|index| !merged.contains(index))
            .collect();
        others.sort_by_key(|index| live[*index].bytes);
        for index in others {
            if left(&merged) <= GROUPS_AFTER_MERGE {
                break;
            }
            merged.push(index);
        }
    }
    merged.sort_unstable();
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use firebrick_core::cid::Codec;

    fn group(n: u64, bytes: u64, ours: bool) -> Group {
        Group {
            cars: vec![Cid::of(Codec::Car, &n.to_le_bytes())],
            bytes,
            ours,
        }
    }

    /// Pushes of `size` bytes, one after the other; returns the groups and the bytes written.
    fn pushes(count: u64, size: u64) -> (Vec<Group>, u64) {
        let (mut live, mut written) = (Vec::new(), 0);
        for n in 0..count {
            let merged = to_merge(&live, size, 0, 0);
            let moved = merged.iter().map(|at| live[*at].bytes).sum::<u64>();
            let mut kept: Vec<Group> = (0..live.len())
                .filter(|at| !merged.contains(at))
                .map(|at| live[at].clone())
                .collect();
            if moved > 0 {
                kept.insert(0, group(2 * n, moved, true));
            }
            kept.insert(0, group(2 * n + 1, size, true));
            live = kept;
            written += size + moved;
            assert!(live.len() <= GROUPS_MAX);
        }
        (live, written)
    }

    #[test]
    fn ten_thousand_pushes_leave_few_groups_and_write_each_block_a_few_times() {
        for size in [800, 4000, 60_000] {
            let (live, written) = pushes(10_000, size);
            assert!(live.len() <= 45, "{} groups", live.len());
            assert!(
                written < 10 * 10_000 * size,
                "{written} bytes for {}",
                10_000 * size
            );
        }
    }

    #[test]
    fn other_writers_groups_are_merged_only_in_a_crowd() {
        let few: Vec<Group> = (0..30).map(|n| group(n, 500, false)).collect();
        assert!(to_merge(&few, 500, 0, 0).is_empty());
        let many: Vec<Group> = (0..63).map(|n| group(n, 500, false)).collect();
        let merged = to_merge(&many, 500, 0, 15);
        assert!(many.len() - merged.len() < GROUPS_AFTER_MERGE);
    }
}
