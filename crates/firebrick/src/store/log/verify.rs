//! Checking everything that a store has.

use firebrick_core::Cid;

use super::super::StoreError;
use super::super::frame::{Frame, Position, SEGMENT_HEADER_BYTES};
use super::super::replay::{self, LogReader, segment_name};
use super::LogStore;

/// What [`LogStore::verify`] found.
///
/// ```
/// # use firebrick::core::cid::Codec;
/// # use firebrick::store::{LogOptions, LogStore, Store};
/// use firebrick::{core::Block, store::Commit};
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
/// let blocks = [Block::new(Codec::Raw, "hello").into()];
/// store.commit(&Commit { blocks: &blocks, ..Commit::default() })?;
/// let found = store.verify()?;
/// assert_eq!((found.commits, found.blocks, found.bytes), (1, 1, 5));
/// # Ok::<(), firebrick::store::StoreError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Verification {
    /// Commits that were read, in parts at least.
    pub commits: u64,
    /// Blocks that were read, copies included.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks of which no good copy is left.
    pub damaged: Vec<Cid>,
    /// Other damage, each with its place.
    pub damage: Vec<String>,
}

impl Verification {
    /// Whether nothing is damaged.
    ///
    /// ```
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// assert!(store.verify()?.is_good());
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.damaged.is_empty() && self.damage.is_empty()
    }
}

impl LogStore {
    /// Reads the whole log and checks every commit, every block against its CID, and that the index
    /// finds it. Reading and committing go on; what is committed meanwhile is not checked.
    ///
    /// ```
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// let found = store.verify()?;
    /// assert!(found.damaged.is_empty() && found.damage.is_empty());
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// If the system fails. Damage is not an error but the result.
    pub fn verify(&self) -> Result<Verification, StoreError> {
        let read = |e| StoreError::io("read the log", e);
        let last = self.state().sequence;
        let segments = replay::segments(&*self.disk).map_err(read)?;
        let mut at = Position {
            segment: segments.first().copied().unwrap_or(1),
            offset: SEGMENT_HEADER_BYTES as u64,
        };
        let mut log = LogReader::new(&*self.disk, &self.vault, self.seed, segments);
        let mut found = Verification::default();
        let mut next = None;
        while let Some(frame) = log.any_frame(at).map_err(read)? {
            if frame.sequence > last {
                break;
            }
            if next.is_some_and(|next| next != frame.sequence) {
                found.damage.push(format!(
                    "commits are missing between {} byte {} and {} byte {}",
                    segment_name(at.segment),
                    at.offset,
                    segment_name(frame.at.segment),
                    frame.at.offset
                ));
            }
            if !frame.intact {
                found.damage.push(format!(
                    "damage in the commit at {} byte {}",
                    segment_name(frame.at.segment),
                    frame.at.offset
                ));
            }
            self.verify_frame(&frame, &mut found)?;
            next = Some(frame.sequence + 1);
            at = frame.end();
        }
        if next.unwrap_or(1) != last + 1 {
            found.damage.push(format!(
                "commits are missing after {} byte {}",
                segment_name(at.segment),
                at.offset
            ));
        }
        Ok(found)
    }

    fn verify_frame(&self, frame: &Frame, found: &mut Verification) -> Result<(), StoreError> {
        found.commits += 1;
        for (cid, place) in &frame.blocks {
            found.blocks += 1;
            found.bytes += u64::from(place.length);
            let name = self.vault.name(cid);
            let here = self.read_place(cid, name, *place);
            if !here.is_ok_and(|bytes| cid.matches(&bytes)) && self.read_one(cid).is_err() {
                found.damaged.push(*cid);
            }
            let mut is_indexed = false;
            self.find(name, &mut |_| {
                is_indexed = true;
                true
            })?;
            if !is_indexed {
                found.damage.push(format!("the index lacks block {cid}"));
            }
        }
        Ok(())
    }
}
