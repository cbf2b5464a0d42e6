//! Where blocks lie: what changed lately in memory, the rest in sorted runs.

use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::sync::Arc;

use hashbrown::HashMap;

use super::disk::Disk;
use super::run::{self, Place, Run, RunError, RunWriter};
use super::vault::Name;

/// Places that are not in a run yet.
pub(crate) type Delta = HashMap<Name, Place, BuildHasherDefault<NameHasher>>;

/// Names are pseudorandom already: any 64 bits of one are a good hash.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, name: u128) {
        self.0 = name as u64;
    }
}

/// Adds a place. The newest place of a block counts, and its greatest generation: 0 means that the
/// generation was not known.
pub(crate) fn insert(delta: &mut Delta, name: Name, mut place: Place) {
    let entry = delta.entry(name).or_insert(place);
    place.generation = place.generation.max(entry.generation);
    *entry = place;
}

/// The runs that make up the index, oldest and largest first.
#[derive(Clone, Default, Debug)]
pub(crate) struct Index {
    runs: Vec<Arc<Run>>,
}

/// A run is merged with newer ones when it is at most this many times larger than all of them
/// together. The sizes of what stays grow at least by this factor: a larger one means fewer runs to
/// look into and more rewriting. With 4, a million blocks are in three runs at most, and an entry is
/// rewritten about five times on the way there.
const MERGE_FACTOR: u64 = 4;

impl Index {
    /// Opens the runs with these numbers.
    pub(crate) fn open(disk: &dyn Disk, numbers: &[u64]) -> Result<Self, RunError> {
        let runs = numbers
            .iter()
            .map(|number| Run::open(disk, *number).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self { runs })
    }

    /// Numbers of the runs, oldest first.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.runs.iter().map(|run| run.number).collect()
    }

    pub(crate) fn runs(&self) -> u64 {
        self.runs.len() as u64
    }

    pub(crate) fn entries(&self) -> u64 {
        self.runs.iter().map(|run| run.entries).sum()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.bytes).sum()
    }

    /// Calls `visit` with each place of a block, in the order in which they are most likely found:
    /// most blocks are in the largest run. Stops when `visit` answers `true`.
    pub(crate) fn find(
        &self,
        name: Name,
        mut visit: impl FnMut(Place) -> bool,
    ) -> Result<(), RunError> {
        for run in &self.runs {
            if let Some(place) = run.get(name)?
                && visit(place)
            {
                break;
            }
        }
        Ok(())
    }

    /// Calls `visit` with every place of many blocks, whose names must ascend, and the number of the
    /// name. Newer places come later.
    pub(crate) fn find_sorted(
        &self,
        names: &(impl Iterator<Item = Name> + Clone),
        mut visit: impl FnMut(usize, Place),
    ) -> Result<(), RunError> {
        for run in &self.runs {
            run.get_sorted(names.clone(), &mut visit)?;
        }
        Ok(())
    }

    /// Writes `delta` into a new run, together with the runs that are due for merging, and answers
    /// the new index. Nothing refers to the new file before the caller makes it so.
    pub(crate) fn with_delta(
        &self,
        disk: &dyn Disk,
        number: u64,
        delta: &Delta,
    ) -> Result<Self, RunError> {
        let mut keep = self.runs.len();
        let mut newer = delta.len() as u64;
        while keep > 0 && self.runs[keep - 1].entries <= newer * MERGE_FACTOR {
            keep -= 1;
            newer += self.runs[keep].entries;
        }
        let (kept, merged) = self.runs.split_at(keep);
        write_run(disk, number, delta, merged, 0)?;
        let mut runs = kept.to_vec();
        runs.push(Arc::new(Run::open(disk, number)?));
        Ok(Self { runs })
    }

    /// Like [`with_delta`](Self::with_delta), but makes one run of everything and leaves out the
    /// places before a segment.
    pub(crate) fn compacted(
        &self,
        disk: &dyn Disk,
        number: u64,
        delta: &Delta,
        first_segment: u32,
    ) -> Result<Self, RunError> {
        write_run(disk, number, delta, &self.runs, first_segment)?;
        let run = Arc::new(Run::open(disk, number)?);
        Ok(Self { runs: vec![run] })
    }
}

/// Merges `delta` and `runs`, oldest first, into one run.
fn write_run(
    disk: &dyn Disk,
    number: u64,
    delta: &Delta,
    runs: &[Arc<Run>],
    first_segment: u32,
) -> Result<(), RunError> {
    let mut fresh: Vec<(Name, Place)> = delta.iter().map(|(n, p)| (*n, *p)).collect();
    fresh.sort_unstable_by_key(|(name, _)| *name);
    let mut fresh = fresh.into_iter();
    let mut scans: Vec<_> = runs.iter().map(|run| run.scan()).collect();

    // Few sources, so the least name is found by looking at all of them. Oldest first: on equal
    // names the last one wins.
    let mut heads: Vec<Option<(Name, Place)>> = Vec::with_capacity(scans.len() + 1);
    for scan in &mut scans {
        heads.push(scan.next()?);
    }
    heads.push(fresh.next());
    let mut out = RunWriter::create(disk, number)?;
    while let Some(least) = heads.iter().flatten().map(|(name, _)| *name).min() {
        let mut merged: Option<Place> = None;
        for (source, head) in heads.iter_mut().enumerate() {
            let Some((_, mut place)) = head.filter(|(name, _)| *name == least) else {
                continue;
            };
            if let Some(older) = merged {
                place.generation = place.generation.max(older.generation);
            }
            merged = Some(place);
            *head = match scans.get_mut(source) {
                Some(scan) => scan.next()?,
                None => fresh.next(),
            };
        }
        if let Some(place) = merged.filter(|place| place.segment >= first_segment) {
            out.push(least, place)?;
        }
    }
    out.finish()?;
    disk.sync_directory("index")?;
    Ok(())
}

/// Removes the runs that nothing refers to.
pub(crate) fn remove_others(disk: &dyn Disk, keep: &[u64]) -> io::Result<()> {
    for name in disk.list("index")? {
        if run::file_number(&name).is_some_and(|number| !keep.contains(&number)) {
            disk.remove(&format!("index/{name}"))?;
        }
    }
    Ok(())
}
