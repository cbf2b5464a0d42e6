//! Giving back the space of blocks that nobody needs any more.

use firebrick_core::{Block, Cid};

use super::super::frame::{Frame, Position, SEGMENT_HEADER_BYTES};
use super::super::replay::{self, LogReader, segment_name};
use super::super::{Commit, StoreError, StoredBlock};
use super::{LogStore, lock};

/// Blocks are moved in commits of about this size.
const MOVE_BYTES: usize = 4 << 20;

/// What [`LogStore::compact`] did.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Compaction {
    /// Blocks that were moved to the end of the log.
    pub kept_blocks: u64,
    /// Blocks that were left behind, copies of kept ones included.
    pub dropped_blocks: u64,
    /// Bytes of the log before.
    pub bytes_before: u64,
    /// Bytes of the log afterwards.
    pub bytes_after: u64,
}

impl LogStore {
    /// Moves the blocks that `keep` names to the end of the log and removes the files before. What is
    /// committed while this runs is kept. Reading and committing go on.
    ///
    /// A crash at any time leaves a store with at least the blocks to keep. Until the end this needs
    /// as much space again as they take.
    ///
    /// # Errors
    /// If the disk fails, or if a part of the log is damaged. Nothing is lost then; space that was
    /// used is given back by the next compaction.
    pub fn compact(&self, keep: &mut dyn FnMut(&Cid) -> bool) -> Result<Compaction, StoreError> {
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
        let moved = self.move_blocks(first_kept, keep);
        let result = moved.and_then(|done| {
            self.append_state(Some(first_kept))?;
            self.checkpoint_from(first_kept)?;
            Ok(done)
        });
        self.state_mut().compacting = 0;
        let mut done = result?;
        self.remove_before(first_kept)?;
        done.bytes_before = bytes_before;
        done.bytes_after = self.segments.sizes().1;
        Ok(done)
    }

    fn move_blocks(
        &self,
        first_kept: u32,
        keep: &mut dyn FnMut(&Cid) -> bool,
    ) -> Result<Compaction, StoreError> {
        let read = |e| StoreError::io("read the log", e);
        let mut segments = replay::segments(&*self.disk).map_err(read)?;
        segments.retain(|segment| *segment < first_kept);
        let mut at = Position {
            segment: segments.first().copied().unwrap_or(first_kept),
            offset: SEGMENT_HEADER_BYTES as u64,
        };
        let mut log = LogReader::new(&*self.disk, &self.vault, self.seed, segments);
        let mut done = Compaction::default();
        let mut batch = Batch::default();
        let mut next = None;
        while let Some(frame) = log.any_frame(at).map_err(read)? {
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
            self.collect(&frame, first_kept, keep, &mut batch, &mut done)?;
            if batch.bytes >= MOVE_BYTES {
                self.move_batch(&mut batch)?;
            }
        }
        self.move_batch(&mut batch)?;
        Ok(done)
    }

    /// Reads the blocks of a frame that have to be moved.
    fn collect(
        &self,
        frame: &Frame,
        first_kept: u32,
        keep: &mut dyn FnMut(&Cid) -> bool,
        batch: &mut Batch,
        done: &mut Compaction,
    ) -> Result<(), StoreError> {
        for (cid, place) in &frame.blocks {
            let name = self.vault.name(cid);
            let mut is_moved = false;
            let mut generation = place.generation;
            self.find(name, &mut |found| {
                is_moved |= found.segment >= first_kept;
                generation = generation.max(found.generation);
                false
            })?;
            if is_moved || !keep(cid) {
                done.dropped_blocks += 1;
                continue;
            }
            // A damaged copy stays behind. If it is the only one, the block is lost already.
            match self.read_place(cid, name, *place) {
                Ok(bytes) => {
                    done.kept_blocks += 1;
                    batch.bytes += bytes.len();
                    let block = Block { cid: *cid, bytes };
                    batch.blocks.push(StoredBlock { block, generation });
                }
                Err(failure) => {
                    tracing::error!(%cid, ?failure, "a damaged block was not moved");
                    done.dropped_blocks += 1;
                }
            }
        }
        Ok(())
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
