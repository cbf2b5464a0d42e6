//! Finding and reading blocks.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use firebrick_core::Cid;
use hashbrown::HashMap;

use super::super::StoreError;
use super::super::disk::{Disk, DiskFile};
use super::super::replay::{self, segment_name};
use super::super::run::{Place, RunError};
use super::super::vault::Name;
use super::{LogStore, State, lock};

/// Blocks that lie this close together are read by one call.
const GAP_BYTES: u64 = 4 << 10;

/// The most that one call reads to get several blocks: what a core's cache holds until they are opened.
const SPAN_BYTES: u64 = 256 << 10;

/// Files kept open for reading.
const OPEN_FILES: usize = 64;

/// The files of the log, opened when they are needed.
#[derive(Debug)]
pub(super) struct Segments {
    disk: Arc<dyn Disk>,
    open: Mutex<HashMap<u32, Arc<dyn DiskFile>>>,
}

impl Segments {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            open: Mutex::default(),
        }
    }

    fn get(&self, segment: u32) -> io::Result<Arc<dyn DiskFile>> {
        let mut open = lock(&self.open);
        if let Some(file) = open.get(&segment) {
            return Ok(file.clone());
        }
        let file = self
            .disk
            .open(&segment_name(segment), false)?
            .ok_or(io::ErrorKind::NotFound)?;
        if open.len() >= OPEN_FILES {
            open.clear();
        }
        open.insert(segment, file.clone());
        Ok(file)
    }

    /// How many files there are, and their bytes.
    pub(super) fn sizes(&self) -> (u64, u64) {
        let segments = replay::segments(&*self.disk).unwrap_or_default();
        let len = |segment: &u32| self.get(*segment).and_then(|file| file.len()).unwrap_or(0);
        (segments.len() as u64, segments.iter().map(len).sum())
    }

    /// Forgets files that were removed or replaced.
    pub(super) fn clear(&self) {
        lock(&self.open).clear();
    }
}

impl State {
    /// Where a block lies if that is not in the index yet.
    pub(super) fn recent(&self, name: Name) -> [Option<Place>; 2] {
        let frozen = self.frozen.as_ref().and_then(|frozen| frozen.get(&name));
        [self.delta.get(&name).copied(), frozen.copied()]
    }
}

impl LogStore {
    /// Calls `visit` with each place of a block until it answers `true`.
    pub(super) fn find(
        &self,
        name: Name,
        visit: &mut dyn FnMut(Place) -> bool,
    ) -> Result<(), StoreError> {
        let mut rebuilt = false;
        loop {
            let (recent, index) = {
                let state = self.state();
                (state.recent(name), state.index.clone())
            };
            if recent.into_iter().flatten().any(&mut *visit) {
                return Ok(());
            }
            match index.find(name, &mut *visit) {
                Ok(()) => return Ok(()),
                Err(error) => self.on_index_error(error, &index, &mut rebuilt)?,
            }
        }
    }

    /// Makes a damaged index again, once.
    fn on_index_error(
        &self,
        error: RunError,
        index: &Arc<super::Index>,
        rebuilt: &mut bool,
    ) -> Result<(), StoreError> {
        match error {
            RunError::Io(error) => Err(StoreError::io("read the block index", error)),
            RunError::Damaged { .. } if !*rebuilt => {
                *rebuilt = true;
                self.rebuild_index(index)
            }
            RunError::Damaged { .. } => Err(StoreError::Damaged {
                what: error.to_string(),
            }),
        }
    }

    pub(super) fn find_generation(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        let mut best = None;
        self.find(self.vault.name(cid), &mut |place| {
            best = best.max(Some(place.generation));
            // 0 may mean that it was not known at that time.
            place.generation > 0
        })?;
        Ok(best)
    }

    pub(super) fn is_here(&self, cid: &Cid) -> Result<bool, StoreError> {
        let name = self.vault.name(cid);
        if self.is_bad(name) {
            return Ok(false);
        }
        let mut found = false;
        self.find(name, &mut |_| {
            found = true;
            true
        })?;
        Ok(found)
    }

    fn is_bad(&self, name: Name) -> bool {
        let state = self.state();
        !state.bad.is_empty() && state.bad.contains(&name)
    }

    pub(super) fn read_one(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        match self.try_read(cid)? {
            Ok(found) => Ok(found),
            // A compaction may have moved the block between looking up its place and reading it.
            Err(Failure::Missing(_)) => {
                self.refresh()?;
                match self.try_read(cid)? {
                    Ok(found) => Ok(found),
                    Err(failure) => Err(self.unreadable(cid, failure)),
                }
            }
            Err(failure) => Err(self.unreadable(cid, failure)),
        }
    }

    /// Tries all places of a block.
    fn try_read(&self, cid: &Cid) -> Result<Result<Option<Bytes>, Failure>, StoreError> {
        let name = self.vault.name(cid);
        let mut result = Ok(None);
        self.find(name, &mut |place| {
            result = self.read_place(cid, name, place).map(Some);
            result.is_ok()
        })?;
        Ok(result)
    }

    fn unreadable(&self, cid: &Cid, failure: Failure) -> StoreError {
        let place = match failure {
            Failure::System(error) => return StoreError::io("open the log", error),
            Failure::Missing(place) | Failure::Damaged(place) => place,
        };
        let error = StoreError::Corrupt { cid: *cid, place };
        let mut state = self.state_mut();
        if state.bad.insert(self.vault.name(cid)) {
            tracing::error!("{error}");
            state.block_damage.push(error.to_string());
        }
        error
    }

    pub(super) fn read_place(&self, cid: &Cid, name: Name, place: Place) -> Result<Bytes, Failure> {
        let file = self.segments.get(place.segment);
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::Missing(place.describe("the file is missing")),
            _ => Failure::System(error),
        })?;
        let mut sealed = vec![0; place.length as usize + self.vault.overhead()];
        let damaged = |what: &str| Failure::Damaged(place.describe(what));
        match file.read_at(&mut sealed, u64::from(place.offset)) {
            Ok(read) if read == sealed.len() => self
                .vault
                .open_block(cid, name, sealed)
                .ok_or_else(|| damaged("it is not authentic")),
            Ok(_) => Err(damaged("the file ends before it")),
            Err(error) => Err(damaged(&error.to_string())),
        }
    }

    pub(super) fn read_many(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let names = self.vault.names(cids.iter());
        let mut wanted: Vec<(Name, usize)> = names.into_iter().zip(0..).collect();
        wanted.sort_unstable();
        let mut places = self.find_many(&wanted)?;
        places.sort_unstable_by_key(|(place, ..)| (place.segment, place.offset));

        let mut out = vec![None; cids.len()];
        let mut rest = &places[..];
        while !rest.is_empty() {
            let (span, later) = rest.split_at(self.span(rest));
            rest = later;
            self.read_span(cids, span, &mut out)?;
        }
        Ok(out)
    }

    /// Where blocks lie, given by ascending names.
    fn find_many(&self, wanted: &[(Name, usize)]) -> Result<Vec<(Place, Name, usize)>, StoreError> {
        let mut rebuilt = false;
        loop {
            let mut places = Vec::with_capacity(wanted.len());
            let mut older = Vec::with_capacity(wanted.len());
            let index = {
                let state = self.state();
                for (name, at) in wanted {
                    match state.recent(*name).into_iter().flatten().next() {
                        Some(place) => places.push((place, *name, *at)),
                        None => older.push((*name, *at)),
                    }
                }
                state.index.clone()
            };
            let mut found = vec![None; older.len()];
            let names = older.iter().map(|(name, _)| *name);
            if let Err(error) = index.find_sorted(&names, |at, place| found[at] = Some(place)) {
                self.on_index_error(error, &index, &mut rebuilt)?;
                continue;
            }
            let found = older.into_iter().zip(found);
            places.extend(found.filter_map(|((name, at), place)| Some((place?, name, at))));
            return Ok(places);
        }
    }

    fn end(&self, place: Place) -> u64 {
        u64::from(place.offset) + u64::from(place.length) + self.vault.overhead() as u64
    }

    /// How many of the first places are worth one read.
    fn span(&self, places: &[(Place, Name, usize)]) -> usize {
        let first = places[0].0;
        let mut end = self.end(first);
        let mut count = 1;
        for (place, ..) in &places[1..] {
            let close = place.segment == first.segment
                && u64::from(place.offset) <= end + GAP_BYTES
                && self.end(*place) - u64::from(first.offset) <= SPAN_BYTES;
            if !close {
                break;
            }
            end = end.max(self.end(*place));
            count += 1;
        }
        count
    }

    /// Reads neighbours at once. They are opened where they are and share one piece of memory.
    fn read_span(
        &self,
        cids: &[Cid],
        span: &[(Place, Name, usize)],
        out: &mut [Option<Bytes>],
    ) -> Result<(), StoreError> {
        let first = span[0].0;
        let start = u64::from(first.offset);
        let end = span.iter().map(|(place, ..)| self.end(*place)).max();
        let mut buffer = vec![0; (end.unwrap_or(start) - start) as usize];
        let read = match self.segments.get(first.segment) {
            Ok(file) => file.read_at(&mut buffer, start).unwrap_or(0),
            Err(_) => 0,
        };
        buffer.truncate(read);
        let mut opened: Vec<Option<std::ops::Range<usize>>> = Vec::with_capacity(span.len());
        for (number, (place, name, at)) in span.iter().enumerate() {
            // Asked for twice, and open already.
            let again = number > 0 && span[number - 1].0 == *place;
            opened.push(match opened.last() {
                Some(last) if again => last.clone(),
                _ => {
                    let from = (u64::from(place.offset) - start) as usize;
                    let to = (self.end(*place) - start) as usize;
                    let sealed = buffer.get_mut(from..to);
                    let stored = sealed.and_then(|sealed| {
                        self.vault.open_block_in_place(&cids[*at], *name, sealed)
                    });
                    stored.map(|stored| from..from + stored)
                }
            });
        }
        let buffer = Bytes::from(buffer);
        for ((.., at), range) in span.iter().zip(opened) {
            let stored = range.map(|range| buffer.slice(range));
            let block = stored.and_then(|stored| self.vault.unpack_block(&cids[*at], stored));
            out[*at] = match block {
                Some(block) => Some(block),
                // Alone it may be found elsewhere, or it gets its own error.
                None => self.read_one(&cids[*at])?,
            };
        }
        Ok(())
    }
}

/// Why a place could not be read.
#[derive(Debug)]
pub(super) enum Failure {
    /// The file is not there.
    Missing(String),
    /// The bytes are not the right ones.
    Damaged(String),
    /// The system is short of something; that says nothing about the block.
    System(io::Error),
}

impl Place {
    fn describe(&self, what: &str) -> String {
        let segment = segment_name(self.segment);
        format!("{segment} byte {}: {what}", self.offset)
    }
}
