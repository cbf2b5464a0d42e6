//! Giving back the space of blocks that nobody needs any more.

use firebrick_core::{Block, Cid};

use super::super::frame::{Frame, Position, SEGMENT_HEADER_BYTES};
use super::super::replay::{self, LogReader, segment_name};
use super::super::{Commit, Compaction, Fate, Sieve, StoreError, StoredBlock};
use super::{LogStore, lock};

/// Blocks are moved in commits of about this size.
const MOVE_BYTES: usize = 4 << 20;

impl LogStore {
    /// Moves the blocks that `keep` names to the end of the log and removes the files before. What is
    /// committed while this runs is kept. Reading and committing go on.
    ///
    /// A crash at any time leaves a store with at least the blocks to keep. Until the end this needs
    /// as much space again as they take.
    ///
    /// ```
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// use firebrick::{core::Block, store::Commit};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// let blocks = ["needed", "not needed"].map(|text| Block::new(Codec::Raw, text));
    /// let stored = blocks.clone().map(Into::into);
    /// store.commit(&Commit { blocks: &stored, ..Commit::default() })?;
    /// let done = store.compact(&mut |cid| *cid == blocks[0].cid)?;
    /// assert_eq!((done.kept_blocks, done.dropped_blocks), (1, 1));
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// If the disk fails, or if a part of the log is damaged. Nothing is lost then; space that was
    /// used is given back by the next compaction.
    pub fn compact(&self, keep: &mut dyn FnMut(&Cid) -> bool) -> Result<Compaction, StoreError> {
        let done = self.compact_with(&mut |cid: &Cid| keep(cid))?;
        Ok(done.unwrap_or_default())
    }

    pub(super) fn compact_with(
        &self,
        sieve: &mut dyn Sieve,
    ) -> Result<Option<Compaction>, StoreError> {
        let _only_one = lock(&self.compaction);
        self.usable()?;
        let (_, bytes_before) = self.segments.sizes();
        let first_kept = {
            let mut writer = lock(&self.writer);
            self.next_segment(&mut writer)?;
            // While the writer is held: every later commit knows what not to rely on.
            self.state_mut().compacting = writer.at.segment;
            writer.at.segment
        };
        let result = self.move_all(first_kept, sieve);
        self.state_mut().compacting = 0;
        let Some(mut done) = result? else {
            return Ok(None);
        };
        self.remove_before(first_kept)?;
        done.bytes_before = bytes_before;
        done.bytes_after = self.segments.sizes().1;
        Ok(Some(done))
    }

    fn move_all(
        &self,
        first_kept: u32,
        sieve: &mut dyn Sieve,
    ) -> Result<Option<Compaction>, StoreError> {
        if !sieve.begin() {
            return Ok(None);
        }
        let end = Position {
            segment: first_kept,
            offset: 0,
        };
        let mut batch = Batch::default();
        let mut done = Compaction::default();
        let finished = self.each_frame(end, |frame| {
            if !self.sift(frame, first_kept, sieve, Some(&mut batch), &mut done)? {
                return Ok(false);
            }
            if batch.bytes >= MOVE_BYTES {
                self.move_batch(&mut batch)?;
            }
            Ok(true)
        })?;
        if !finished {
            return Ok(None);
        }
        self.move_batch(&mut batch)?;
        self.append_state(Some(first_kept))?;
        self.checkpoint_from(first_kept)?;
        Ok(Some(done))
    }

    /// What a compaction would do.
    pub(super) fn survey(&self, sieve: &mut dyn Sieve) -> Result<Option<Compaction>, StoreError> {
        let _only_one = lock(&self.compaction);
        if !sieve.begin() {
            return Ok(None);
        }
        let end = lock(&self.writer).at;
        let mut done = Compaction::default();
        let finished = self.each_frame(end, |frame| {
            self.sift(frame, end.segment + 1, sieve, None, &mut done)
        })?;
        done.bytes_before = self.segments.sizes().1;
        done.bytes_after = done.bytes_before;
        Ok(finished.then_some(done))
    }

    /// Visits the frames before a position until the visitor answers `false`; whether it never did.
    fn each_frame(
        &self,
        end: Position,
        mut visit: impl FnMut(&Frame) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        let read = |e| StoreError::io("read the log", e);
        let mut segments = replay::segments(&*self.disk).map_err(read)?;
        segments.retain(|segment| (*segment, 0) < (end.segment, end.offset));
        let mut at = Position {
            segment: segments.first().copied().unwrap_or(end.segment),
            offset: SEGMENT_HEADER_BYTES as u64,
        };
        let mut log = LogReader::new(&*self.disk, &self.vault, self.seed, segments);
        let mut next = None;
        while (at.segment, at.offset) < (end.segment, end.offset)
            && let Some(frame) = log.any_frame(at).map_err(read)?
        {
            if (frame.at.segment, frame.at.offset) >= (end.segment, end.offset) {
                break;
            }
            if next.is_some_and(|next| next != frame.sequence) {
                // What stands there may be in the index, but the log cannot tell what it is.
                return Err(StoreError::Damaged {
                    what: format!(
                        "commits before {} byte {} cannot be read, so a compaction would lose them",
                        segment_name(frame.at.segment),
                        frame.at.offset
                    ),
                });
            }
            next = Some(frame.sequence + 1);
            at = frame.end();
            if !visit(&frame)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks the sieve about the blocks of a frame and reads those that have to be moved. Answers
    /// whether to go on.
    fn sift(
        &self,
        frame: &Frame,
        first_kept: u32,
        sieve: &mut dyn Sieve,
        mut batch: Option<&mut Batch>,
        done: &mut Compaction,
    ) -> Result<bool, StoreError> {
        for (cid, place) in &frame.blocks {
            let name = self.vault.name(cid);
            let (mut is_moved, mut newest) = (false, *place);
            let mut generation = place.generation;
            self.find(name, &mut |found| {
                is_moved |= found.segment >= first_kept;
                newest = match (newest.segment, newest.offset) < (found.segment, found.offset) {
                    true => found,
                    false => newest,
                };
                generation = generation.max(found.generation);
                false
            })?;
            // In a survey nothing moves, so a copy is known by a newer one.
            is_moved |=
                batch.is_none() && (newest.segment, newest.offset) != (place.segment, place.offset);
            let fate = match is_moved {
                true => Fate::Drop,
                false => sieve.fate(cid),
            };
            // A damaged copy stays behind. If it is the only one, the block is lost already.
            let read = || {
                let bytes = self.read_place(cid, name, *place);
                bytes.map_err(|failure| {
                    tracing::error!(%cid, ?failure, "a damaged block was not moved");
                })
            };
            let kept = match fate {
                Fate::Stop => return Ok(false),
                Fate::Drop => None,
                Fate::Keep if batch.is_none() => Some(bytes::Bytes::new()),
                Fate::Keep => read().ok(),
                Fate::Look => read().ok().filter(|bytes| sieve.keeps(cid, bytes)),
            };
            let Some(bytes) = kept else {
                done.dropped_blocks += 1;
                done.dropped_bytes += u64::from(place.length);
                continue;
            };
            done.kept_blocks += 1;
            done.kept_bytes += u64::from(place.length);
            if let Some(batch) = &mut batch {
                batch.bytes += bytes.len();
                let block = Block { cid: *cid, bytes };
                batch.blocks.push(StoredBlock { block, generation });
            }
        }
        Ok(true)
    }

    fn move_batch(&self, batch: &mut Batch) -> Result<(), StoreError> {
        let overdue = self.append(&Commit {
            blocks: &batch.blocks,
            ..Commit::default()
        })?;
        *batch = Batch::default();
        if overdue {
            self.checkpoint()?;
        }
        Ok(())
    }

    fn remove_before(&self, first_kept: u32) -> Result<(), StoreError> {
        let remove = || {
            // The oldest first, so that what is left after a crash has no hole.
            for segment in replay::segments(&*self.disk)? {
                if segment < first_kept {
                    self.disk.remove(&segment_name(segment))?;
                }
            }
            self.disk.sync_directory("log")
        };
        let removed = remove();
        self.segments.clear();
        removed.map_err(|e| StoreError::io("remove old files of the log", e))
    }
}

/// Blocks on their way.
#[derive(Default)]
struct Batch {
    blocks: Vec<StoredBlock>,
    bytes: usize,
}
