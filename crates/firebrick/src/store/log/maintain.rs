//! Checkpoints, refreshing a reader, and making a damaged index again.

use std::sync::Arc;

use super::super::StoreError;
use super::super::checkpoint::Checkpoint;
use super::super::index::{self, Delta, Index};
use super::super::recover::{Recovered, Source};
use super::super::run::RunError;
use super::{LogStore, State, lock};

/// What the next checkpoint needs to know of the last one.
#[derive(Debug)]
pub(super) struct Maintenance {
    number: u64,
    next_run: u64,
}

impl Maintenance {
    pub(super) fn new(recovered: &Recovered) -> Self {
        Self {
            number: recovered.checkpoint,
            next_run: recovered.next_run,
        }
    }
}

enum Failed {
    Store(StoreError),
    Index(RunError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Store(error) => error,
            Failed::Index(RunError::Io(error)) => StoreError::io("write the block index", error),
            Failed::Index(damaged) => StoreError::Damaged {
                what: damaged.to_string(),
            },
        }
    }
}

impl LogStore {
    /// Moves the delta into the index and replaces the checkpoint. Commits and reads go on.
    pub(super) fn checkpoint(&self) -> Result<(), StoreError> {
        if self.read_only {
            return Ok(());
        }
        self.checkpoint_from(0)
    }

    /// Makes a checkpoint whose index leaves out the places before a segment, if that is not 0.
    pub(super) fn checkpoint_from(&self, first_segment: u32) -> Result<(), StoreError> {
        let mut maintenance = lock(&self.maintenance);
        self.usable()?;
        match self.try_checkpoint(&mut maintenance, first_segment) {
            Err(Failed::Index(damaged @ RunError::Damaged { .. })) => {
                tracing::warn!(%damaged, "the block index is made again from the log");
                self.rebuild(&mut maintenance)?;
                Ok(self.try_checkpoint(&mut maintenance, first_segment)?)
            }
            other => Ok(other?),
        }
    }

    fn try_checkpoint(
        &self,
        maintenance: &mut Maintenance,
        first_segment: u32,
    ) -> Result<(), Failed> {
        let Some((frozen, index, mut checkpoint)) = self.freeze(maintenance) else {
            return Ok(());
        };
        let written =
            self.write_checkpoint(maintenance, &frozen, &index, &mut checkpoint, first_segment);
        match written {
            Ok(index) => {
                let mut state = self.state_mut();
                state.index = Arc::new(index);
                state.frozen = None;
                state.checkpointed_bytes = checkpoint.log_bytes;
                drop(state);
                if let Err(error) = index::remove_others(&*self.disk, &checkpoint.runs) {
                    tracing::debug!(%error, "old index runs stay until the next checkpoint");
                }
                Ok(())
            }
            Err(failed) => {
                let mut state = self.state_mut();
                state.thaw();
                Err(failed)
            }
        }
    }

    /// Takes what goes into the checkpoint; readers find it in `frozen` meanwhile. `None` if nothing
    /// happened since the last one.
    fn freeze(&self, maintenance: &Maintenance) -> Option<(Arc<Delta>, Arc<Index>, Checkpoint)> {
        let writer = lock(&self.writer);
        let mut state = self.state_mut();
        if state.delta.is_empty() && state.log_bytes == state.checkpointed_bytes {
            return None;
        }
        let frozen = Arc::new(std::mem::take(&mut state.delta));
        state.frozen = Some(frozen.clone());
        let checkpoint = Checkpoint {
            number: maintenance.number + 1,
            position: writer.at,
            next_sequence: writer.next_sequence,
            log_bytes: state.log_bytes,
            runs: Vec::new(),
            next_run: 0,
            head: state.head.clone(),
            kv: state.kv.clone(),
            damage: state.log_damage.clone(),
        };
        Some((frozen, state.index.clone(), checkpoint))
    }

    fn write_checkpoint(
        &self,
        maintenance: &mut Maintenance,
        frozen: &Delta,
        index: &Index,
        checkpoint: &mut Checkpoint,
        first_segment: u32,
    ) -> Result<Index, Failed> {
        // A checkpoint must not know more than the log that is on the disk.
        self.sync_log()?;
        // Used up even if this fails: the failure may come after the checkpoint was replaced.
        let number = maintenance.next_run;
        maintenance.next_run += 1;
        let index = if first_segment > 0 {
            index.compacted(&*self.disk, number, frozen, first_segment)
        } else if frozen.is_empty() {
            Ok(index.clone())
        } else {
            index.with_delta(&*self.disk, number, frozen)
        };
        let index = index.map_err(Failed::Index)?;
        maintenance.number = checkpoint.number;
        checkpoint.runs = index.numbers();
        checkpoint.next_run = maintenance.next_run;
        checkpoint
            .write(&*self.disk, &self.vault)
            .map_err(|e| StoreError::io("write the checkpoint", e))?;
        Ok(index)
    }

    /// Makes the index again if it is still the one that was found to be damaged.
    pub(super) fn rebuild_index(&self, damaged: &Arc<Index>) -> Result<(), StoreError> {
        let mut maintenance = lock(&self.maintenance);
        if !Arc::ptr_eq(&self.state().index, damaged) {
            return Ok(());
        }
        self.rebuild(&mut maintenance)
    }

    fn rebuild(&self, maintenance: &mut Maintenance) -> Result<(), StoreError> {
        // No commits meanwhile.
        let _writer = lock(&self.writer);
        let changeable = self.usable().is_ok();
        let recovered = self
            .source(changeable)
            .recover_from_log(None)
            .map_err(|e| StoreError::io("read the log", e))?;
        maintenance.next_run = maintenance.next_run.max(recovered.next_run);
        let mut state = self.state_mut();
        state.thaw();
        let recent = std::mem::replace(&mut state.delta, recovered.delta);
        for (name, place) in recent {
            index::insert(&mut state.delta, name, place);
        }
        state.index = Arc::new(recovered.index);
        state.log_damage = recovered.damage;
        // The checkpoint on the disk names the damaged index.
        state.checkpointed_bytes = 0;
        Ok(())
    }

    /// Shows a reader what was committed since it was opened or refreshed, and answers whether that
    /// was anything. A store that is open for writing is always up to date.
    ///
    /// ```
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// use firebrick::store::Commit;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// let path = dir.path().join("store");
    /// let reader = LogStore::open_read_only(&path, &LogOptions::insecure())?;
    /// store.commit(&Commit { kv: &[("a".into(), Some("1".into()))], ..Commit::default() })?;
    /// assert!(reader.refresh()?);
    /// assert!(reader.kv("a").is_some());
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// If the disk fails.
    pub fn refresh(&self) -> Result<bool, StoreError> {
        if !self.read_only {
            return Ok(false);
        }
        let mut maintenance = lock(&self.maintenance);
        let recovered = self
            .source(false)
            .recover()
            .map_err(|e| StoreError::io("read the store", e))?;
        *maintenance = Maintenance::new(&recovered);
        self.segments.clear();
        let mut state = self.state_mut();
        let changed = state.sequence + 1 != recovered.next_sequence;
        *state = State::new(recovered);
        Ok(changed)
    }

    fn source(&self, changeable: bool) -> Source<'_> {
        Source {
            disk: &*self.disk,
            vault: &self.vault,
            seed: self.seed,
            spill: changeable.then_some(self.checkpoint_entries),
        }
    }
}

impl State {
    /// Takes back what a failed checkpoint was to write.
    fn thaw(&mut self) {
        let Some(frozen) = self.frozen.take() else {
            return;
        };
        let frozen = Arc::unwrap_or_clone(frozen);
        let recent = std::mem::replace(&mut self.delta, frozen);
        for (name, place) in recent {
            index::insert(&mut self.delta, name, place);
        }
    }
}
