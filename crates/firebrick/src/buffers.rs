//! Memory for contents on their way, a few megabytes at a time.
//!
//! Allocators give blocks of this size back to the system as soon as they are free. To get them anew,
//! page by page, costs as much as hashing what is in them, so they are used again while anybody moves
//! contents. When nobody does, they are freed.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;

use crate::lock::lock;

/// Smaller ones are the allocator's business.
const SMALLEST: usize = 128 << 10;
/// Larger ones are rare.
const LARGEST: usize = 4 << 20;
/// Buffers that wait for their next use.
const KEPT: usize = 8;

/// Whoever holds this, or a [`Buffer`], lets all others use buffers again.
#[derive(Clone, Default)]
pub(crate) struct Buffers {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Buffers {
    /// Those of this process.
    pub(crate) fn shared() -> Self {
        static SHARED: Mutex<Weak<Mutex<Vec<Vec<u8>>>>> = Mutex::new(Weak::new());
        let mut shared = lock(&SHARED);
        let free = shared.upgrade().unwrap_or_else(|| {
            let free = Arc::default();
            *shared = Arc::downgrade(&free);
            free
        });
        Self { free }
    }

    /// An empty buffer with room for so many bytes.
    pub(crate) fn empty(&self, capacity: usize) -> Buffer {
        let mut buffer = self.any(capacity);
        buffer.clear();
        buffer
    }

    /// A buffer of this length, filled with anything.
    pub(crate) fn filled(&self, len: usize) -> Buffer {
        let mut buffer = self.any(len);
        buffer.resize(len, 0);
        buffer
    }

    fn any(&self, capacity: usize) -> Buffer {
        let mut free = lock(&self.free);
        let fits = |bytes: &Vec<u8>| (capacity..=2 * capacity).contains(&bytes.capacity());
        let found = free.iter().position(fits).map(|at| free.remove(at));
        drop(free);
        Buffer {
            bytes: found.unwrap_or_else(|| Vec::with_capacity(capacity)),
            home: self.clone(),
        }
    }

    fn take_back(&self, bytes: Vec<u8>) {
        if !(SMALLEST..=LARGEST).contains(&bytes.capacity()) {
            return;
        }
        let mut free = lock(&self.free);
        if free.len() == KEPT {
            // The one that nobody has asked for longest.
            free.remove(0);
        }
        free.push(bytes);
    }
}

/// Bytes that are used again when nobody has them any more.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.take_back(std::mem::take(&mut self.bytes));
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Buffer> for Bytes {
    fn from(buffer: Buffer) -> Self {
        Self::from_owner(buffer)
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_used_again() {
        let buffers = Buffers::default();
        let mut first = buffers.filled(SMALLEST);
        first.fill(7);
        let place = first.as_ptr();
        let bytes = Bytes::from(first);
        let (slice, other) = (bytes.slice(5..9), buffers.filled(SMALLEST));
        drop(bytes);
        assert_ne!(other.as_ptr(), place);
        assert_eq!(&slice[..], [7; 4]);
        drop(slice);
        let again = buffers.empty(SMALLEST - 100);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        // Those that are far too large are for others.
        drop(again);
        assert_ne!(buffers.empty(SMALLEST / 4).as_ptr(), place);
    }

    #[test]
    fn few_are_kept_and_none_of_other_sizes() {
        let buffers = Buffers::default();
        let kept = || lock(&buffers.free).len();
        for len in [0, SMALLEST - 1, LARGEST + 1] {
            drop(buffers.empty(len));
            assert_eq!(kept(), 0, "{len}");
        }
        let many: Vec<Buffer> = (0..2 * KEPT).map(|_| buffers.empty(SMALLEST)).collect();
        drop(many);
        assert_eq!(kept(), KEPT);
    }

    #[test]
    fn they_live_as_long_as_somebody_uses_them() {
        let pool = Arc::downgrade(&Buffers::shared().free);
        if let Some(other) = pool.upgrade() {
            // Another test has them.
            assert!(Arc::ptr_eq(&other, &Buffers::shared().free));
        }
        let here = Buffers::shared();
        assert!(Arc::ptr_eq(&here.free, &Buffers::shared().free));
    }
}
