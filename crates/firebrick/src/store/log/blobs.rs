//! Large blocks beside the log.

use std::io;

use firebrick_core::Cid;

use super::super::StoreError;
use super::super::blob::{Blob, BlobWriter, StagedBlob};
use super::super::disk::Disk;
use super::{LogStore, fresh_random};

/// Where they lie.
pub(super) const DIRECTORY: &str = "files";

/// Where they lie while they are written. Apart, so that opening need not list all of them.
pub(super) const UNFINISHED: &str = "incoming";

/// Removes what a crash left half written. The directories are made with the first file.
pub(super) fn remove_unfinished(disk: &dyn Disk) -> io::Result<()> {
    for name in disk.list(UNFINISHED)? {
        disk.remove(&format!("{UNFINISHED}/{name}"))?;
    }
    Ok(())
}

impl LogStore {
    fn blob_name(&self, cid: &Cid) -> String {
        format!("{DIRECTORY}/{:032x}", self.vault.name(cid))
    }

    pub(super) fn stage(&self) -> Result<BlobWriter, StoreError> {
        self.usable()?;
        let salt: [u8; 32] = fresh_random()?;
        let number = u128::from_le_bytes(fresh_random()?);
        let name = format!("{UNFINISHED}/{number:032x}");
        self.disk
            .create_directories(&[DIRECTORY, UNFINISHED])
            .and_then(|()| BlobWriter::new(&self.disk, &self.vault, name, salt))
            .map_err(|e| StoreError::io("begin a file", e))
    }

    pub(super) fn show(&self, blobs: Vec<StagedBlob>) -> Result<(), StoreError> {
        self.usable()?;
        for blob in blobs {
            let name = self.blob_name(&blob.cid());
            let named = blob.name(&name);
            named.map_err(|e| StoreError::io("name a file", e))?;
        }
        Ok(())
    }

    pub(super) fn sync_names(&self) -> Result<(), StoreError> {
        self.usable()?;
        for directory in [UNFINISHED, DIRECTORY] {
            match self.disk.sync_directory(directory) {
                // No file was ever here.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                synced => synced.map_err(|e| StoreError::io("name a file", e))?,
            }
        }
        Ok(())
    }

    pub(super) fn open_blob(&self, cid: &Cid) -> Result<Option<Blob>, StoreError> {
        let name = self.blob_name(cid);
        let file = self.disk.open(&name, false);
        match file.map_err(|e| StoreError::io("open a file", e))? {
            Some(file) => Blob::open(file, &self.vault, name, cid).map(Some),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use firebrick_core::cid::Codec;

    use super::*;
    use crate::store::disk_memory::MemoryDisk;
    use crate::store::{LogOptions, Store, StoreKey};

    fn options() -> LogOptions {
        LogOptions::sealed(StoreKey::new([1; 32]))
    }

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n * 7 / 3) as u8).collect()
    }

    fn put(store: &LogStore, content: &[u8]) -> Cid {
        let cid = Cid::of(Codec::Raw, content);
        let mut writer = store.stage_blob().unwrap().unwrap();
        for part in content.chunks(10_007) {
            writer.write(part).unwrap();
        }
        let staged = writer.finish(cid).unwrap().sync().unwrap();
        store.show_blobs(vec![staged]).unwrap();
        store.sync_blobs().unwrap();
        cid
    }

    #[test]
    fn ranges_of_any_length() {
        let segment = 64 << 10;
        let store = LogStore::open_on(Arc::new(MemoryDisk::new()), &options()).unwrap();
        for len in [
            0,
            1,
            segment - 1,
            segment,
            segment + 1,
            3 * segment,
            200_000,
        ] {
            let content = content(len);
            let cid = put(&store, &content);
            let blob = store.blob(&cid).unwrap().unwrap();
            assert_eq!(blob.len(), len as u64);
            for range in [
                0..len,
                0..1,
                len / 2..len,
                len / 3..len / 2,
                segment..segment + 5,
            ] {
                let expected = content.get(range.start..range.end.min(len)).unwrap_or(&[]);
                let read = blob.read(range.start as u64..range.end as u64).unwrap();
                assert_eq!(read, expected, "{range:?} of {len}");
            }
            assert_eq!(blob.read(0..u64::MAX).unwrap(), content);
        }
        let other = Cid::of(Codec::Raw, b"other");
        assert!(store.blob(&other).unwrap().is_none());
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let disk = Arc::new(MemoryDisk::new());
        let store = LogStore::open_on(disk.clone(), &options()).unwrap();
        let files = || {
            [DIRECTORY, UNFINISHED]
                .map(|at| disk.list(at).unwrap())
                .concat()
        };
        let mut writer = store.stage_blob().unwrap().unwrap();
        writer.write(&content(3 << 20)).unwrap();
        assert_eq!(files().len(), 1);
        drop(writer);
        assert_eq!(files(), Vec::<String>::new());
        let mut writer = store.stage_blob().unwrap().unwrap();
        writer.write(b"x").unwrap();
        drop(writer.finish(Cid::of(Codec::Raw, b"x")).unwrap());
        assert_eq!(files(), Vec::<String>::new());
        // As a crash leaves it.
        std::mem::forget(store.stage_blob().unwrap().unwrap());
        assert_eq!(files().len(), 1);
        store.close().unwrap();
        drop(LogStore::open_on(disk.clone(), &options()).unwrap());
        assert_eq!(files(), Vec::<String>::new());
    }

    #[test]
    fn damage_is_found_and_healed() {
        let disk = Arc::new(MemoryDisk::new());
        let store = LogStore::open_on(disk.clone(), &options()).unwrap();
        let plain = content(150_000);
        let cid = put(&store, &plain);
        let name = format!("{DIRECTORY}/{}", disk.list(DIRECTORY).unwrap()[0]);
        let file = disk.open(&name, true).unwrap().unwrap();
        let len = file.len().unwrap();
        for at in [0, 8, 40, 90, 100, 66_000, len - 1] {
            let mut byte = [0];
            file.read_at(&mut byte, at).unwrap();
            file.write_at(&[byte[0] ^ 1], at).unwrap();
            let read = store
                .blob(&cid)
                .and_then(|blob| blob.unwrap().read(0..u64::MAX));
            assert!(matches!(read, Err(StoreError::Corrupt { .. })), "byte {at}");
            file.write_at(&byte, at).unwrap();
        }
        file.set_len(len - 1).unwrap();
        let read = |store: &LogStore| store.blob(&cid).unwrap().unwrap().read(0..u64::MAX);
        assert!(matches!(read(&store), Err(StoreError::Corrupt { .. })));
        assert_eq!(put(&store, &plain), cid);
        assert_eq!(read(&store).unwrap(), Bytes::from(plain));
    }

    #[test]
    fn what_is_kept_survives_a_loss_of_power() {
        let disk = Arc::new(MemoryDisk::new());
        let store = LogStore::open_on(disk.clone(), &options()).unwrap();
        let plain = content(150_000);
        let cid = put(&store, &plain);
        let after = disk.crash(crate::store::disk_memory::Crash::Power(1));
        let store = LogStore::open_on(Arc::new(after), &options()).unwrap();
        let read = store.blob(&cid).unwrap().unwrap().read(0..u64::MAX);
        assert_eq!(read.unwrap(), plain);
    }
}
