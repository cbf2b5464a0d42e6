//! Large blocks in files of their own, sealed piece by piece, so that any range can be read
//! without the rest and nothing has to be in memory as a whole.
//!
//! ```text
//! 0..8     "FBFILE1\n"
//! 8..40    salt: random, makes the file's own key
//! 40..100  sealed: length (8 bytes, little endian) and CID of the plain block (36), tag (16)
//! 100..    segments: 64 KiB of the block each, the last one shorter, each with its tag
//! ```
//!
//! The nonce of a segment is its number. The head, which is written last, binds key, length and
//! CID together: segments cannot be exchanged, moved or cut off.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aes_gcm::Aes256Gcm;
use bytes::Bytes;
use firebrick_core::{Cid, cid::BINARY_LEN};

use super::StoreError;
use super::disk::{Disk, DiskFile};
use super::vault::{self, NONCE_BYTES, TAG_BYTES, Vault};
use crate::buffers::{Buffer, Buffers};

const MAGIC: &[u8; 8] = b"FBFILE1\n";
const SALT_BYTES: usize = 32;
const HEAD_AT: u64 = (MAGIC.len() + SALT_BYTES) as u64;
const HEAD_BYTES: usize = 8 + BINARY_LEN + TAG_BYTES;
const DATA_AT: u64 = HEAD_AT + HEAD_BYTES as u64;
/// The head's nonce; segments count from 0 and never get there.
const HEAD_NUMBER: u64 = u64::MAX;
const SEGMENT_BYTES: usize = 64 << 10;
const SEALED_BYTES: u64 = (SEGMENT_BYTES + TAG_BYTES) as u64;
/// Sealed bytes that are written at once; so few that they are still in the processor's cache.
const WRITE_BYTES: usize = 4 * SEALED_BYTES as usize;

fn nonce(number: u64) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    nonce
}

/// A file that is removed unless it gets a name.
struct Unnamed {
    disk: Arc<dyn Disk>,
    name: String,
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        // What stays is removed at the next opening.
        let _ = self.disk.remove(&self.name);
    }
}

/// Writes a block of any length. Dropped before the end, it leaves nothing.
///
/// ```
/// # use firebrick::Cid;
/// # use firebrick::core::cid::Codec;
/// # use firebrick::store::{LogOptions, LogStore, Store};
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
/// let mut writer = store.stage_blob()?.expect("a directory keeps large blocks apart");
/// writer.write(b"half of it")?;
/// drop(writer); // leaves nothing
/// assert!(store.blob(&Cid::of(Codec::Raw, b"half of it"))?.is_none());
/// # Ok::<(), firebrick::store::StoreError>(())
/// ```
pub struct BlobWriter {
    unnamed: Unnamed,
    file: Arc<dyn DiskFile>,
    cipher: Box<Aes256Gcm>,
    /// Plain bytes of a segment that is not full yet.
    open: Vec<u8>,
    sealed: Buffer,
    at: u64,
    segments: u64,
    len: u64,
}

impl BlobWriter {
    pub(super) fn new(
        disk: &Arc<dyn Disk>,
        vault: &Vault,
        name: String,
        salt: [u8; SALT_BYTES],
    ) -> std::io::Result<Self> {
        let file = disk.create(&name)?;
        let unnamed = Unnamed {
            disk: Arc::clone(disk),
            name,
        };
        file.write_at(MAGIC, 0)?;
        file.write_at(&salt, MAGIC.len() as u64)?;
        Ok(Self {
            unnamed,
            file,
            cipher: Box::new(vault.file_cipher(&salt)),
            open: Vec::new(),
            sealed: Buffers::shared().empty(WRITE_BYTES),
            at: DATA_AT,
            segments: 0,
            len: 0,
        })
    }

    /// Appends to the block.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// let mut writer = store.stage_blob()?.expect("a directory keeps large blocks apart");
    /// for piece in [b"waves ".as_slice(), b"and ", b"sand"] {
    ///     writer.write(piece)?;
    /// }
    /// let staged = writer.finish(Cid::of(Codec::Raw, b"waves and sand"))?;
    /// assert_eq!(staged.blob().len(), 14);
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// If the disk fails.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        self.len += bytes.len() as u64;
        if !self.open.is_empty() {
            let missing = SEGMENT_BYTES - self.open.len();
            let (head, rest) = bytes.split_at(missing.min(bytes.len()));
            self.open.extend_from_slice(head);
            bytes = rest;
            if self.open.len() == SEGMENT_BYTES {
                let full = std::mem::take(&mut self.open);
                self.seal(&full)?;
            }
        }
        let mut segments = bytes.chunks_exact(SEGMENT_BYTES);
        for segment in &mut segments {
            self.seal(segment)?;
        }
        self.open.extend_from_slice(segments.remainder());
        Ok(())
    }

    fn seal(&mut self, plain: &[u8]) -> Result<(), StoreError> {
        let start = self.sealed.len();
        self.sealed.extend_from_slice(plain);
        let nonce = nonce(self.segments);
        vault::seal(&self.cipher, &nonce, &[], &mut self.sealed, start);
        self.segments += 1;
        if self.sealed.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let written = self.file.write_at(&self.sealed, self.at);
        written.map_err(|e| StoreError::io("write a file", e))?;
        self.at += self.sealed.len() as u64;
        self.sealed.clear();
        Ok(())
    }

    /// Ends the block, whose CID is this one.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// let cid = Cid::of(Codec::Raw, b"waves");
    /// let mut writer = store.stage_blob()?.expect("a directory keeps large blocks apart");
    /// writer.write(b"waves")?;
    /// store.show_blobs(vec![writer.finish(cid)?.sync()?])?;
    /// assert_eq!(store.blob(&cid)?.unwrap().read(0..5)?, "waves");
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// If the disk fails.
    pub fn finish(mut self, cid: Cid) -> Result<WrittenBlob, StoreError> {
        if !self.open.is_empty() {
            let last = std::mem::take(&mut self.open);
            self.seal(&last)?;
        }
        self.flush()?;
        let mut head = self.len.to_le_bytes().to_vec();
        head.extend_from_slice(&cid.to_bytes());
        vault::seal(&self.cipher, &nonce(HEAD_NUMBER), MAGIC, &mut head, 0);
        let written = self.file.write_at(&head, HEAD_AT);
        written.map_err(|e| StoreError::io("write a file", e))?;
        Ok(WrittenBlob {
            blob: Blob {
                cid,
                len: self.len,
                name: self.unnamed.name.clone(),
                file: self.file,
                cipher: self.cipher,
            },
            unnamed: self.unnamed,
        })
    }
}

/// A block that is written and not synced. Dropped, it leaves nothing.
///
/// ```
/// # use firebrick::Cid;
/// # use firebrick::core::cid::Codec;
/// # use firebrick::store::{LogOptions, LogStore, Store};
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
/// let cid = Cid::of(Codec::Raw, b"waves");
/// let mut writer = store.stage_blob()?.expect("a directory keeps large blocks apart");
/// writer.write(b"waves")?;
/// let written = writer.finish(cid)?;
/// drop(written); // leaves nothing
/// assert!(store.blob(&cid)?.is_none());
/// # Ok::<(), firebrick::store::StoreError>(())
/// ```
pub struct WrittenBlob {
    unnamed: Unnamed,
    blob: Blob,
}

impl WrittenBlob {
    /// The block, to read it.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// let mut writer = store.stage_blob()?.expect("a directory keeps large blocks apart");
    /// writer.write(b"waves")?;
    /// let written = writer.finish(Cid::of(Codec::Raw, b"waves"))?;
    /// assert_eq!(written.blob().read(0..5)?, "waves"); // before it is shown
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    #[must_use]
    pub fn blob(&self) -> &Blob {
        &self.blob
    }

    /// Waits until the block would survive a loss of power. It is visible once it is
    /// [shown](super::Store::show_blobs).
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// let cid = Cid::of(Codec::Raw, b"waves");
    /// let mut writer = store.stage_blob()?.expect("a directory keeps large blocks apart");
    /// writer.write(b"waves")?;
    /// let staged = writer.finish(cid)?.sync()?;
    /// store.show_blobs(vec![staged])?;
    /// assert!(store.blob(&cid)?.is_some());
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// If the disk fails.
    pub fn sync(self) -> Result<StagedBlob, StoreError> {
        let synced = self.blob.file.sync();
        synced.map_err(|e| StoreError::io("write a file", e))?;
        Ok(StagedBlob {
            unnamed: self.unnamed,
            cid: self.blob.cid,
        })
    }
}

/// A block that is on the disk and has no name yet. Dropped, it leaves nothing. It holds no open
/// file: there may be thousands.
///
/// ```
/// # use firebrick::Cid;
/// # use firebrick::core::cid::Codec;
/// # use firebrick::store::{LogOptions, LogStore, Store};
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
/// let cid = Cid::of(Codec::Raw, b"waves");
/// let mut writer = store.stage_blob()?.expect("a directory keeps large blocks apart");
/// writer.write(b"waves")?;
/// let staged = writer.finish(cid)?.sync()?;
/// drop(staged); // leaves nothing
/// assert!(store.blob(&cid)?.is_none());
/// # Ok::<(), firebrick::store::StoreError>(())
/// ```
pub struct StagedBlob {
    unnamed: Unnamed,
    cid: Cid,
}

impl StagedBlob {
    /// Its CID.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// let cid = Cid::of(Codec::Raw, b"waves");
    /// let mut writer = store.stage_blob()?.expect("a directory keeps large blocks apart");
    /// writer.write(b"waves")?;
    /// assert_eq!(writer.finish(cid)?.sync()?.cid(), cid);
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    #[must_use]
    pub fn cid(&self) -> Cid {
        self.cid
    }

    /// Gives it its name.
    pub(super) fn name(self, name: &str) -> std::io::Result<()> {
        self.unnamed.disk.rename(&self.unnamed.name, name)
        // What is removed at the drop has this name no more.
    }
}

/// A block in a file of its own.
///
/// ```
/// # use firebrick::Cid;
/// # use firebrick::core::cid::Codec;
/// # use firebrick::store::{LogOptions, LogStore, Store};
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
/// # let cid = Cid::of(Codec::Raw, b"waves and sand");
/// # let mut writer = store.stage_blob()?.unwrap();
/// # writer.write(b"waves and sand")?;
/// # store.show_blobs(vec![writer.finish(cid)?.sync()?])?;
/// let blob = store.blob(&cid)?.expect("it was kept");
/// assert_eq!((blob.cid(), blob.len()), (cid, 14));
/// # Ok::<(), firebrick::store::StoreError>(())
/// ```
pub struct Blob {
    cid: Cid,
    len: u64,
    name: String,
    file: Arc<dyn DiskFile>,
    cipher: Box<Aes256Gcm>,
}

impl Blob {
    /// Reads the head and checks that it is the block asked for.
    pub(super) fn open(
        file: Arc<dyn DiskFile>,
        vault: &Vault,
        name: String,
        cid: &Cid,
    ) -> Result<Self, StoreError> {
        let mut start = [0; DATA_AT as usize];
        let read = file.read_at(&mut start, 0);
        read.map_err(|e| StoreError::io("read a file", e))?;
        let head = || {
            let (magic, rest) = start.split_first_chunk::<8>()?;
            let (salt, head) = rest.split_first_chunk::<SALT_BYTES>()?;
            let cipher = Box::new(vault.file_cipher(salt));
            let mut head = head.to_vec();
            let head = vault::open(&cipher, &nonce(HEAD_NUMBER), magic, &mut head)?;
            let (len, of) = head.split_first_chunk::<8>()?;
            (magic == MAGIC && *of == cid.to_bytes()).then_some((cipher, u64::from_le_bytes(*len)))
        };
        let Some((cipher, len)) = head() else {
            return Err(StoreError::Corrupt {
                cid: *cid,
                place: format!("{name}: it is not authentic"),
            });
        };
        Ok(Self {
            cid: *cid,
            len,
            name,
            file,
            cipher,
        })
    }

    /// Its CID.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// # let cid = Cid::of(Codec::Raw, b"waves and sand");
    /// # let mut writer = store.stage_blob()?.unwrap();
    /// # writer.write(b"waves and sand")?;
    /// # store.show_blobs(vec![writer.finish(cid)?.sync()?])?;
    /// assert_eq!(store.blob(&cid)?.unwrap().cid(), cid);
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    #[must_use]
    pub fn cid(&self) -> Cid {
        self.cid
    }

    /// Length in bytes.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// # let cid = Cid::of(Codec::Raw, b"waves and sand");
    /// # let mut writer = store.stage_blob()?.unwrap();
    /// # writer.write(b"waves and sand")?;
    /// # store.show_blobs(vec![writer.finish(cid)?.sync()?])?;
    /// let blob = store.blob(&cid)?.unwrap();
    /// assert_eq!(blob.len(), "waves and sand".len() as u64);
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a blob is no collection")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// A part of the block, as far as it reaches. Memory: twice the range.
    ///
    /// ```
    /// # use firebrick::Cid;
    /// # use firebrick::core::cid::Codec;
    /// # use firebrick::store::{LogOptions, LogStore, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = LogStore::open(dir.path().join("store"), &LogOptions::insecure())?;
    /// # let cid = Cid::of(Codec::Raw, b"waves and sand");
    /// # let mut writer = store.stage_blob()?.unwrap();
    /// # writer.write(b"waves and sand")?;
    /// # store.show_blobs(vec![writer.finish(cid)?.sync()?])?;
    /// let blob = store.blob(&cid)?.unwrap();
    /// assert_eq!(blob.read(0..5)?, "waves");
    /// assert_eq!(blob.read(10..99)?, "sand"); // no more than there is
    /// # Ok::<(), firebrick::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is damaged.
    pub fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let end = range.end.min(self.len);
        if range.start >= end {
            return Ok(Bytes::new());
        }
        let corrupt = |number: u64, what: &str| StoreError::Corrupt {
            cid: self.cid,
            place: format!("{} segment {number}: {what}", self.name),
        };
        let segment = SEGMENT_BYTES as u64;
        let (first, last) = (range.start / segment, (end - 1) / segment);
        let plain_end = ((last + 1) * segment).min(self.len);
        let plain = plain_end - first * segment;
        let count = last - first + 1;
        let mut sealed = Buffers::shared().filled((plain + count * TAG_BYTES as u64) as usize);
        let read = self
            .file
            .read_at(&mut sealed, DATA_AT + first * SEALED_BYTES);
        match read {
            Ok(read) if read == sealed.len() => {}
            Ok(_) => return Err(corrupt(last, "the file ends before it")),
            Err(error) => return Err(StoreError::io("read a file", error)),
        }
        // Each segment is opened in place and moved over the tags before it.
        let (mut from, mut to) = (0, 0);
        for number in first..=last {
            let until = (from + SEALED_BYTES as usize).min(sealed.len());
            let text = &mut sealed[from..until];
            let len = vault::open(&self.cipher, &nonce(number), &[], text)
                .ok_or_else(|| corrupt(number, "it is not authentic"))?
                .len();
            sealed.copy_within(from..from + len, to);
            (from, to) = (until, to + len);
        }
        sealed.truncate(to);
        let skip = (range.start - first * segment) as usize;
        let take = (end - range.start) as usize;
        Ok(Bytes::from(sealed).slice(skip..skip + take))
    }
}

impl fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobWriter")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StagedBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagedBlob")
            .field("cid", &self.cid)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WrittenBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WrittenBlob").field(&self.blob).finish()
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blob")
            .field("cid", &self.cid)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
