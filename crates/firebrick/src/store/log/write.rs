//! Appending to the log, and syncing it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::descriptor::Descriptor;
use super::super::disk::{Disk, DiskFile};
use super::super::error::is_full;
use super::super::frame::{
    self, FRAME_HEADER_BYTES, MAX_FRAME_BYTES, Position, SEGMENT_HEADER_BYTES, Slot,
};
use super::super::index;
use super::super::memory::apply_kv;
use super::super::recover::Recovered;
use super::super::replay::segment_name;
use super::super::run::Place;
use super::super::vault::Name;
use super::super::{Commit, StoreError};
use super::{LogStore, lock};

/// Zeros written ahead of the log at a time. Syncing bytes that lie inside the file is half again as
/// fast as syncing a file that grows; larger steps cost more than they save.
const AHEAD_BYTES: u64 = if cfg!(test) { 4 << 10 } else { 256 << 10 };

/// Frames from this size on are appended without writing zeros first.
const LARGE_FRAME_BYTES: usize = 64 << 10;

/// A buffer larger than this is given back after use.
const BUFFER_BYTES: usize = 4 << 20;

/// Blocks from this size on are looked up in the index before they are stored again. For smaller ones
/// the look-up costs more than the space.
const LOOKUP_BYTES: usize = 4 << 10;

/// The end of the log.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` in a store that is read-only or closed.
    file: Option<Arc<dyn DiskFile>>,
    pub(super) at: Position,
    pub(super) next_sequence: u64,
    /// The file has this length at least.
    allocated: u64,
    frame: Vec<u8>,
    placed: Vec<(Name, Place)>,
    chosen: Vec<(Name, u32)>,
}

/// What the next sync has to cover. Apart from the writer, so that syncing and committing overlap.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    file: Option<Arc<dyn DiskFile>>,
    sequence: u64,
}

impl Tail {
    pub(super) fn of(writer: &Writer) -> Self {
        Self {
            file: writer.file.clone(),
            sequence: writer.next_sequence - 1,
        }
    }
}

impl Writer {
    /// The end of a log that is only read.
    pub(super) fn none(recovered: &Recovered) -> Self {
        Self {
            file: None,
            at: recovered.position,
            next_sequence: recovered.next_sequence,
            allocated: 0,
            frame: Vec::new(),
            placed: Vec::new(),
            chosen: Vec::new(),
        }
    }

    /// Makes the end of the log fit for appending: what a crash left is cut off, and what it may not
    /// have brought to the disk is written once more.
    pub(super) fn start(
        disk: &dyn Disk,
        descriptor: &Descriptor,
        recovered: &mut Recovered,
    ) -> io::Result<Self> {
        let at = recovered.position;
        // They hold nothing but frames that do not count.
        for segment in &recovered.surplus {
            disk.remove(&segment_name(*segment))?;
        }
        rewrite_unsynced(disk, recovered)?;
        // A segment without frames may not have been made in full.
        let existing = match at.offset > SEGMENT_HEADER_BYTES as u64 {
            true => disk.open(&segment_name(at.segment), true)?,
            false => None,
        };
        let file = match existing {
            Some(file) => {
                if recovered.dirty {
                    file.set_len(at.offset)?;
                    file.sync()?;
                }
                file
            }
            None => create_segment(disk, descriptor, at.segment, recovered.next_sequence)?,
        };
        let mut writer = Self::none(recovered);
        writer.allocated = file.len()?.max(at.offset);
        writer.file = Some(file);
        Ok(writer)
    }

    /// Writes the frame at the end.
    fn write(&mut self, file: &dyn DiskFile) -> io::Result<()> {
        let end = self.at.offset + self.frame.len() as u64;
        if end > self.allocated && self.frame.len() < LARGE_FRAME_BYTES {
            let ahead = (end + AHEAD_BYTES).next_multiple_of(4096);
            let zeros = vec![0; (ahead - self.allocated) as usize];
            match file.write_at(&zeros, self.allocated) {
                Ok(()) => self.allocated = ahead,
                // There may be room for the frame nevertheless.
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(error),
            }
        }
        file.write_at(&self.frame, self.at.offset)?;
        self.allocated = self.allocated.max(end);
        Ok(())
    }

    /// Cuts off what a failed write left.
    fn undo(&mut self, file: &dyn DiskFile) -> io::Result<()> {
        file.set_len(self.at.offset)?;
        self.allocated = self.at.offset;
        Ok(())
    }

    /// Gives back the space ahead of the log.
    pub(super) fn finish(&mut self) {
        if let Some(file) = self.file.take() {
            // Only a matter of tidiness: zeros at the end are no harm.
            let _ = file.set_len(self.at.offset);
        }
    }
}

/// After a failed sync the system may believe that pages are on the disk which are not. Frames that
/// were found but may not have been synced are therefore written again before they are relied on.
fn rewrite_unsynced(disk: &dyn Disk, recovered: &mut Recovered) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut open: Option<(u32, Arc<dyn DiskFile>)> = None;
    for (_, at, length) in &recovered.unsynced {
        let file = match &open {
            Some((segment, file)) if *segment == at.segment => file.clone(),
            _ => {
                if let Some((_, done)) = &open {
                    done.sync()?;
                }
                disk.open(&segment_name(at.segment), true)?
                    .ok_or(io::ErrorKind::NotFound)?
            }
        };
        bytes.resize(*length, 0);
        if file.read_at(&mut bytes, at.offset)? != *length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_at(&bytes, at.offset)?;
        open = Some((at.segment, file));
    }
    if let Some((_, file)) = open {
        file.sync()?;
    }
    recovered.unsynced.clear();
    recovered.synced = recovered.next_sequence - 1;
    Ok(())
}

fn create_segment(
    disk: &dyn Disk,
    descriptor: &Descriptor,
    segment: u32,
    first_sequence: u64,
) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(&segment_name(segment))?;
    file.write_at(
        &frame::segment_header(descriptor, segment, first_sequence),
        0,
    )?;
    file.sync()?;
    disk.sync_directory("log")?;
    Ok(file)
}

impl LogStore {
    /// Appends a commit and makes it visible. Answers whether maintenance is overdue.
    pub(super) fn append(&self, commit: &Commit<'_>) -> Result<bool, StoreError> {
        let mut writer = lock(&self.writer);
        let writer = &mut *writer;
        self.usable()?;
        self.choose(commit, &mut writer.chosen);
        if writer.chosen.is_empty() && commit.head.is_none() && commit.kv.is_empty() {
            return Ok(false);
        }
        self.check_size(commit, &writer.chosen)?;
        if writer.at.offset >= self.segment_bytes {
            self.next_segment(writer)?;
        }
        self.append_frame(writer, commit, false, None)?;
        let overdue = self.publish(commit, writer);
        if writer.frame.capacity() > BUFFER_BYTES {
            writer.frame = Vec::new();
        }
        Ok(overdue)
    }

    /// Appends the whole state, for a log that cannot tell it any more, and syncs it. After a
    /// compaction it also says which segments count.
    pub(super) fn append_state(&self, compacted: Option<u32>) -> Result<(), StoreError> {
        let mut writer = lock(&self.writer);
        self.usable()?;
        let (head, kv): (_, Vec<_>) = {
            let state = self.state();
            let kv = state.kv.iter();
            let kv = kv.map(|(key, value)| (key.clone(), Some(value.clone())));
            (state.head.clone(), kv.collect())
        };
        let commit = Commit {
            blocks: &[],
            head: Some(&head),
            kv: &kv,
        };
        writer.chosen.clear();
        self.append_frame(&mut writer, &commit, true, compacted)?;
        self.publish(&commit, &mut writer);
        self.sync_log()
    }

    fn append_frame(
        &self,
        writer: &mut Writer,
        commit: &Commit<'_>,
        resets: bool,
        compacted: Option<u32>,
    ) -> Result<(), StoreError> {
        let Some(file) = writer.file.clone() else {
            return Err(StoreError::Closed);
        };
        let slot = Slot {
            at: writer.at,
            sequence: writer.next_sequence,
            synced: self.synced.load(Ordering::Acquire),
            resets,
            compacted,
        };
        frame::encode(
            &self.vault,
            self.seed,
            slot,
            commit,
            &writer.chosen,
            &mut writer.frame,
            &mut writer.placed,
        );
        if let Err(error) = writer.write(&*file) {
            return Err(self.failed_write(writer, &*file, error));
        }
        writer.at.offset += writer.frame.len() as u64;
        writer.next_sequence += 1;
        *lock(&self.tail) = Tail::of(writer);
        Ok(())
    }

    /// Chooses the blocks that have to be stored.
    fn choose(&self, commit: &Commit<'_>, chosen: &mut Vec<(Name, u32)>) {
        chosen.clear();
        let cids = commit.blocks.iter().map(|stored| &stored.block.cid);
        let names = self.vault.names(cids);
        let state = self.state();
        for ((at, stored), name) in commit.blocks.iter().enumerate().zip(names) {
            let mut known = None;
            let mut see = |place: Place| {
                // What a compaction is about to remove does not count.
                if place.segment >= state.compacting {
                    known = known.max(Some(place.generation));
                }
                false
            };
            let mut recent = state.recent(name).into_iter().flatten().peekable();
            let is_new = recent.peek().is_none();
            recent.for_each(|place| {
                see(place);
            });
            if is_new && stored.block.bytes.len() >= LOOKUP_BYTES {
                // If the index cannot be read, the block is stored again. That is always right.
                let _ = state.index.find(name, see);
            }
            let is_bad = !state.bad.is_empty() && state.bad.contains(&name);
            if is_bad || known.is_none_or(|generation| generation < stored.generation) {
                chosen.push((name, at as u32));
            }
        }
    }

    fn check_size(&self, commit: &Commit<'_>, chosen: &[(Name, u32)]) -> Result<(), StoreError> {
        // Rounded up; a commit anywhere near the limit is a mistake of the caller.
        let per_block = 64 + self.vault.overhead();
        let blocks = chosen
            .iter()
            .map(|(_, at)| commit.blocks[*at as usize].block.bytes.len() + per_block);
        let kv = commit
            .kv
            .iter()
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, bytes::Bytes::len) + 16);
        let head = commit.head.map_or(0, <[_]>::len) * 64;
        let bytes =
            (blocks.sum::<usize>() + kv.sum::<usize>() + head + FRAME_HEADER_BYTES + 64) as u64;
        if bytes > MAX_FRAME_BYTES {
            return Err(StoreError::TooLarge {
                bytes,
                limit: MAX_FRAME_BYTES,
            });
        }
        Ok(())
    }

    /// Shows a commit to readers.
    fn publish(&self, commit: &Commit<'_>, writer: &mut Writer) -> bool {
        let mut state = self.state_mut();
        for (name, place) in writer.placed.drain(..) {
            index::insert(&mut state.delta, name, place);
            if !state.bad.is_empty() {
                state.bad.remove(&name);
            }
        }
        if let Some(head) = commit.head {
            state.head.clear();
            state.head.extend_from_slice(head);
        }
        apply_kv(&mut state.kv, commit.kv);
        state.sequence = writer.next_sequence - 1;
        state.log_bytes += writer.frame.len() as u64;
        state.delta.len() >= 4 * self.checkpoint_entries
    }

    fn failed_write(
        &self,
        writer: &mut Writer,
        file: &dyn DiskFile,
        error: io::Error,
    ) -> StoreError {
        let undone = writer.undo(file);
        let error = StoreError::io("write to the log", error);
        match (&error, undone) {
            // The log is as it was.
            (StoreError::Full { .. }, Ok(())) => error,
            _ => self.poisoned(error),
        }
    }

    /// Ends the segment and begins another. All that came before is synced then, so only the last
    /// segment ever needs a sync.
    pub(super) fn next_segment(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let Some(file) = writer.file.clone() else {
            return Err(StoreError::Closed);
        };
        if writer.undo(&*file).is_err() {
            tracing::debug!("zeros stay at the end of a segment");
        }
        self.sync_log()?;
        let segment = writer.at.segment + 1;
        let created = create_segment(&*self.disk, &self.descriptor, segment, writer.next_sequence);
        match created.map_err(|e| StoreError::io("begin a new file of the log", e)) {
            Ok(file) => writer.file = Some(file),
            // The log ends where it did; the next commit tries again.
            Err(error @ StoreError::Full { .. }) => return Err(error),
            Err(error) => return Err(self.poisoned(error)),
        }
        writer.at = Position {
            segment,
            offset: SEGMENT_HEADER_BYTES as u64,
        };
        writer.allocated = writer.at.offset;
        *lock(&self.tail) = Tail::of(writer);
        Ok(())
    }

    /// Syncs all commits so far.
    pub(super) fn sync_log(&self) -> Result<(), StoreError> {
        // One at a time, because the system reports a failure to one caller only.
        let _guard = lock(&self.syncing);
        self.usable()?;
        let tail = lock(&self.tail).clone();
        if self.synced.load(Ordering::Acquire) >= tail.sequence {
            return Ok(());
        }
        if let Some(file) = &tail.file {
            file.sync().map_err(|error| {
                // Not `Full`, even for lack of space: what was acknowledged is uncertain now.
                self.poisoned(StoreError::Io {
                    action: "sync the log".to_owned(),
                    source: Arc::new(error),
                })
            })?;
        }
        self.synced.store(tail.sequence, Ordering::Release);
        Ok(())
    }
}
