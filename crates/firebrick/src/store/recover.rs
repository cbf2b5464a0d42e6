//! What a store holds, from its checkpoint and the frames after it, or from the log alone.
//!
//! **Torn or damaged.** The log ends at the first frame that is not whole, if that may be the trace
//! of a crash. Commits that were not synced can be lost in any combination, so whole frames after a
//! torn one are dropped too: what remains is a prefix. But each frame says which ones were known to be
//! synced when it was written. If a later frame says so of the bad one, the bad one was whole once:
//! that is damage of the disk. It is reported, and everything else is kept.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use bytes::Bytes;
use firebrick_core::Cid;

use super::checkpoint::Checkpoint;
use super::disk::Disk;
use super::frame::{Frame, Position, SEGMENT_HEADER_BYTES, Seed};
use super::index::{self, Delta, Index};
use super::memory;
use super::replay::{self, LogReader};
use super::run::{self, RunError};
use super::vault::Vault;

/// The content of a store and the end of its log.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) head: Vec<Cid>,
    pub(crate) kv: BTreeMap<String, Bytes>,
    pub(crate) delta: Delta,
    pub(crate) index: Index,
    pub(crate) next_run: u64,
    /// Number of the checkpoint this began from; 0 if there was none.
    pub(crate) checkpoint: u64,
    /// Bytes of the log that the checkpoint covers.
    pub(crate) checkpoint_bytes: u64,
    /// Where the next frame goes.
    pub(crate) position: Position,
    pub(crate) next_sequence: u64,
    pub(crate) log_bytes: u64,
    /// The last sequence number that is known to be synced.
    pub(crate) synced: u64,
    /// Frames that may not be on the disk yet, with their lengths.
    pub(crate) unsynced: VecDeque<(u64, Position, usize)>,
    /// Whether bytes follow the end of the log that have to be cut off.
    pub(crate) dirty: bool,
    /// Whether the log lost something that the checkpoint has, so that only the latter knows the
    /// state.
    pub(crate) log_is_behind: bool,
    /// Whether everything was taken from the log.
    pub(crate) rebuilt: bool,
    /// The first segment, if commits before it are missing.
    begins_with: Option<u32>,
    /// Segments after the last one that counts.
    pub(crate) surplus: Vec<u32>,
    pub(crate) damage: Vec<String>,
}

/// What recovery works with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) vault: &'a Vault,
    pub(crate) seed: Seed,
    /// Entries of the delta after which it is moved into a run, to bound memory. `None` in a store
    /// that must not be changed.
    pub(crate) spill: Option<usize>,
}

impl Source<'_> {
    /// Opens what the checkpoint names and takes in the frames after it. Without a good checkpoint or
    /// index, everything comes from the log.
    pub(crate) fn recover(self) -> io::Result<Recovered> {
        // Beside a writer, files that a checkpoint names may be gone when they are opened. What looks
        // damaged counts only if the checkpoint is still the same.
        let mut suspected = None;
        while let Some(checkpoint) = Checkpoint::read(self.disk, self.vault)? {
            let is_sure = suspected == Some(checkpoint.number);
            suspected = Some(checkpoint.number);
            let known_damage = checkpoint.damage.len();
            match Index::open(self.disk, &checkpoint.runs) {
                Ok(index) => {
                    let mut state = Recovered::empty(1);
                    state.index = index;
                    state.checkpoint_bytes = checkpoint.log_bytes;
                    state.position = checkpoint.position;
                    state.take_state_of(checkpoint);
                    let state = self.replay(state, None)?;
                    if state.damage.len() == known_damage || is_sure {
                        return Ok(state);
                    }
                }
                Err(RunError::Io(error)) => return Err(error),
                Err(damaged) if is_sure => {
                    tracing::warn!(%damaged, "the block index is made again from the log");
                    return self.recover_from_log(Some(checkpoint));
                }
                Err(_) => {}
            }
        }
        self.recover_from_log(None)
    }

    /// Takes in the whole log. A checkpoint whose index is of no use still says what the head and the
    /// private state were at its position.
    pub(crate) fn recover_from_log(self, checkpoint: Option<Checkpoint>) -> io::Result<Recovered> {
        // Numbers of runs are not used twice: a reader may have the old ones open, and the checkpoint
        // names some.
        let runs = self.disk.list("index")?;
        let last = runs.iter().filter_map(|name| run::file_number(name)).max();
        let next = checkpoint
            .as_ref()
            .map_or(1, |checkpoint| checkpoint.next_run);
        let mut state = Recovered::empty(next.max(last.unwrap_or(0) + 1));
        state.rebuilt = true;
        self.replay(state, checkpoint)
    }

    /// Takes in the frames from the position of `state` on.
    fn replay(
        self,
        mut state: Recovered,
        mut checkpoint: Option<Checkpoint>,
    ) -> io::Result<Recovered> {
        let segments = replay::segments(self.disk)?;
        if state.next_sequence == 1 {
            state.position.segment = segments.first().copied().unwrap_or(1);
        }
        let mut log = LogReader::new(self.disk, self.vault, self.seed, segments.clone());
        let len = log.segment_len(state.position.segment)?;
        if len < state.position.offset && state.next_sequence > 1 {
            let name = replay::segment_name(state.position.segment);
            let next = state.position.segment + 1;
            state.log_is_behind(next, &format!("{name} ends at {len}"));
        }
        while let Some(frame) = self.next_frame(&mut state, &mut log)? {
            if checkpoint
                .as_ref()
                .is_some_and(|checkpoint| frame.sequence >= checkpoint.next_sequence)
                && let Some(checkpoint) = checkpoint.take()
            {
                state.take_state_of(checkpoint);
            }
            state.apply(self.vault, frame);
            self.spill(&mut state);
        }
        if let Some(checkpoint) = checkpoint {
            let end = state.next_sequence;
            let behind = end < checkpoint.next_sequence;
            state.take_state_of(checkpoint);
            if behind {
                let last = segments.last().copied().unwrap_or(0);
                let next = last.max(state.position.segment) + 1;
                state.log_is_behind(next, &format!("the log ends before commit {end}"));
            }
        }
        if let Some(first) = state.begins_with {
            let damage = format!("the log before {} is missing", replay::segment_name(first));
            tracing::error!("{damage}");
            state.damage.push(damage);
        }
        state.dirty = log.is_dirty(state.position)?;
        state.surplus = segments
            .into_iter()
            .filter(|segment| *segment > state.position.segment)
            .collect();
        Ok(state)
    }

    /// Moves the delta into a run when it has become large.
    fn spill(self, state: &mut Recovered) {
        if self.spill.is_none_or(|limit| state.delta.len() < limit) {
            return;
        }
        let number = state.next_run;
        state.next_run += 1;
        match state.index.with_delta(self.disk, number, &state.delta) {
            Ok(index) => {
                state.index = index;
                state.delta.clear();
            }
            // It stays in memory then; the next checkpoint will say what is wrong.
            Err(error) => tracing::warn!(%error, "could not write the block index"),
        }
    }

    /// The next frame that counts; `None` at the end of the log.
    fn next_frame(
        self,
        state: &mut Recovered,
        log: &mut LogReader<'_>,
    ) -> io::Result<Option<Frame>> {
        match log.frame(state.position)? {
            Some(frame) if frame.sequence == state.next_sequence => Ok(Some(frame)),
            _ => self.after_gap(state, log),
        }
    }

    /// The frame to go on with where the expected one does not stand; `None` at the end of the log.
    fn after_gap(
        self,
        state: &mut Recovered,
        log: &mut LogReader<'_>,
    ) -> io::Result<Option<Frame>> {
        let Some(next) = log.next_frame(state.position, state.next_sequence)? else {
            return Ok(None);
        };
        let expected = state.next_sequence;
        if expected == 1 && next.sequence > 1 && next.at == state.position {
            // Fine if the log was compacted, which a later frame will tell.
            state.begins_with = Some(next.at.segment);
            return Ok(Some(next));
        }
        if next.sequence == expected && next.at.offset == SEGMENT_HEADER_BYTES as u64 {
            return Ok(Some(next));
        }
        if next.sequence > expected {
            let mut synced = next.synced;
            let mut at = next.end();
            while let Some(frame) = log.next_frame(at, next.sequence)? {
                synced = synced.max(frame.synced);
                at = frame.end();
            }
            if synced < next.sequence - 1 {
                return Ok(None);
            }
        }
        // If only blocks are damaged, all the rest of the commit counts.
        let partial = log
            .damaged_frame(state.position)?
            .filter(|frame| frame.sequence == expected && frame.end() <= next.at);
        let damage = format!(
            "damage in the log from {} byte {} to {} byte {}; lost commits: {}",
            replay::segment_name(state.position.segment),
            state.position.offset,
            replay::segment_name(next.at.segment),
            next.at.offset,
            next.sequence - expected - u64::from(partial.is_some())
        );
        tracing::error!("{damage}");
        state.damage.push(damage);
        Ok(Some(partial.unwrap_or(next)))
    }
}

impl Recovered {
    fn empty(next_run: u64) -> Self {
        Self {
            head: Vec::new(),
            kv: BTreeMap::new(),
            delta: Delta::default(),
            index: Index::default(),
            next_run,
            checkpoint: 0,
            checkpoint_bytes: 0,
            position: Position {
                segment: 1,
                offset: SEGMENT_HEADER_BYTES as u64,
            },
            next_sequence: 1,
            log_bytes: 0,
            synced: 0,
            unsynced: VecDeque::new(),
            dirty: false,
            log_is_behind: false,
            rebuilt: false,
            begins_with: None,
            surplus: Vec::new(),
            damage: Vec::new(),
        }
    }

    fn take_state_of(&mut self, checkpoint: Checkpoint) {
        self.head = checkpoint.head;
        self.kv = checkpoint.kv;
        self.checkpoint = checkpoint.number;
        self.next_sequence = checkpoint.next_sequence;
        self.log_bytes = checkpoint.log_bytes;
        self.synced = self.synced.max(checkpoint.next_sequence - 1);
        self.next_run = self.next_run.max(checkpoint.next_run);
        for damage in checkpoint.damage {
            if !self.damage.contains(&damage) {
                self.damage.push(damage);
            }
        }
    }

    /// The log lost what the checkpoint has. It goes on in another segment, because the lost bytes may
    /// be replaced by zeros only, and the checkpoint names a place among them.
    fn log_is_behind(&mut self, next_segment: u32, what: &str) {
        let damage = format!("{what}, but the checkpoint knows more");
        tracing::error!("{damage}");
        self.damage.push(damage);
        self.log_is_behind = true;
        self.position = Position {
            segment: next_segment,
            offset: SEGMENT_HEADER_BYTES as u64,
        };
    }

    fn apply(&mut self, vault: &Vault, frame: Frame) {
        self.position = frame.end();
        self.next_sequence = frame.sequence + 1;
        self.log_bytes += frame.length as u64;
        self.synced = self.synced.max(frame.synced);
        self.unsynced
            .push_back((frame.sequence, frame.at, frame.length));
        while let Some((first, ..)) = self.unsynced.front()
            && *first <= self.synced
        {
            self.unsynced.pop_front();
        }
        if let Some(first_needed) = frame.compacted
            && self.begins_with.is_some_and(|first| first <= first_needed)
        {
            self.begins_with = None;
        }
        if frame.resets {
            self.head.clear();
            self.kv.clear();
        }
        for (cid, place) in frame.blocks {
            index::insert(&mut self.delta, vault.name(&cid), place);
        }
        if let Some(head) = frame.head {
            self.head = head;
        }
        memory::apply_kv(&mut self.kv, &frame.kv);
    }
}
