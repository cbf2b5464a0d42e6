//! CARs as files.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tempfile::NamedTempFile;
use tokio_util::io::ReaderStream;

use super::incoming::{Incoming, blocking};
use super::{CarStore, CarStoreError, CarUsage, Object};
use crate::ids::{LedgerId, Name, ObjectId};
use crate::lock::lock;

/// Capital letters are written as numbers, for file systems that do not tell them from small ones. So is
/// the dot, that no name ends with one.
const KEPT: AsciiSet = {
    let mut kept = NON_ALPHANUMERIC.remove(b'-').remove(b'_');
    let mut capital = b'A';
    while capital <= b'Z' {
        kept = kept.add(capital);
        capital += 1;
    }
    kept
};

/// CARs in a directory: `tenant/ledger/store/xy/CID`, with the last two letters of the CID as `xy`.
#[derive(Clone, Debug)]
pub struct Disk {
    root: PathBuf,
    incoming: Incoming,
    names: Arc<Names>,
}

impl Disk {
    /// Opens or makes the directory. What a crash left half-written is removed.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(Self {
            root: root.into(),
            incoming: Incoming::open(&root.join(".incoming"))?,
            names: Arc::default(),
        })
    }

    fn path(&self, object: &ObjectId) -> PathBuf {
        let part = |name: &Name| utf8_percent_encode(name.as_str(), &KEPT).to_string();
        let cid = object.cid.to_string();
        let mut path = self.root.join(part(&object.ledger.tenant));
        path.push(part(&object.ledger.ledger));
        path.push(part(&object.store));
        path.push(&cid[cid.len() - 2..]);
        path.push(cid);
        path
    }

    async fn receive(
        &self,
        object: ObjectId,
        body: BoxStream<'static, io::Result<Bytes>>,
        limit: u64,
    ) -> Result<(), CarStoreError> {
        let path = self.path(&object);
        let (temporary, _) = self.incoming.receive(body, limit).await?;
        let (root, names) = (self.root.clone(), self.names.clone());
        blocking(move || settle(temporary, &path, &root, &names)).await?;
        Ok(())
    }
}

/// Gives a whole file its name, unless another has it already.
fn settle(temporary: NamedTempFile, path: &Path, root: &Path, names: &Names) -> io::Result<()> {
    temporary.as_file().sync_all()?;
    let parent = path.parent().unwrap_or(root);
    std::fs::create_dir_all(parent)?;
    match temporary.persist_noclobber(path) {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error.error),
    }
    names.settle(parent, root)
}

/// Directories whose names are on the disk, so that only new ones have to be brought there.
#[derive(Debug, Default)]
struct Names(Mutex<HashSet<PathBuf>>);

impl Names {
    /// Then they are forgotten, and brought there once more.
    const MOST: usize = 1 << 16;

    /// Brings what was added to a directory to the disk, and the names of those that it is in.
    fn settle(&self, directory: &Path, root: &Path) -> io::Result<()> {
        let unsettled = self.unsettled(directory, root);
        for directory in &unsettled {
            File::open(directory)?.sync_all()?;
        }
        let mut settled = lock(&self.0);
        if settled.len() >= Self::MOST {
            settled.clear();
        }
        // The last one's own name is not in any of them.
        let named = unsettled.split_last().map_or(&[][..], |(_, named)| named);
        settled.extend(named.iter().map(|directory| directory.to_path_buf()));
        Ok(())
    }

    /// A directory, and those around it as long as they may lack a name.
    fn unsettled<'a>(&self, directory: &'a Path, root: &Path) -> Vec<&'a Path> {
        let settled = lock(&self.0);
        let mut unsettled = Vec::new();
        for directory in directory.ancestors() {
            unsettled.push(directory);
            if directory == root || settled.contains(directory) {
                break;
            }
        }
        unsettled
    }
}

/// What is in each directory of a ledger.
fn walk(root: &Path) -> io::Result<HashMap<LedgerId, CarUsage>> {
    let mut ledgers = HashMap::new();
    for (tenant, path) in directories(root)? {
        for (ledger, path) in directories(&path)? {
            // What does not have a name of ours is nobody's.
            let Ok(id) = LedgerId::new(&decoded(&tenant), &decoded(&ledger)) else {
                continue;
            };
            let mut usage = CarUsage::default();
            for (_, store) in directories(&path)? {
                for (_, part) in directories(&store)? {
                    add_files(&part, &mut usage)?;
                }
            }
            ledgers.insert(id, usage);
        }
    }
    Ok(ledgers)
}

fn decoded(name: &str) -> Cow<'_, str> {
    percent_decode_str(name).decode_utf8_lossy()
}

fn directories(path: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
            && entry.file_type()?.is_dir()
        {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

fn add_files(path: &Path, usage: &mut CarUsage) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        match entry?.metadata() {
            Ok(metadata) if metadata.is_file() => {
                usage.cars += 1;
                usage.bytes += metadata.len();
            }
            Ok(_) => {}
            // Deleted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn unless_missing<T>(result: io::Result<T>) -> Result<Option<T>, CarStoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl CarStore for Disk {
    fn put(
        &self,
        object: ObjectId,
        body: BoxStream<'static, io::Result<Bytes>>,
        limit: u64,
    ) -> BoxFuture<'_, Result<(), CarStoreError>> {
        self.receive(object, body, limit).boxed()
    }

    fn get(&self, object: ObjectId) -> BoxFuture<'_, Result<Option<Object>, CarStoreError>> {
        async move {
            let opened = tokio::fs::File::open(self.path(&object)).await;
            let Some(file) = unless_missing(opened)? else {
                return Ok(None);
            };
            let len = file.metadata().await?.len();
            let body = ReaderStream::with_capacity(file, 64 * 1024).boxed();
            Ok(Some(Object { len, body }))
        }
        .boxed()
    }

    fn contains(&self, object: ObjectId) -> BoxFuture<'_, Result<bool, CarStoreError>> {
        async move { Ok(tokio::fs::try_exists(self.path(&object)).await?) }.boxed()
    }

    fn usage(&self) -> BoxFuture<'_, Result<HashMap<LedgerId, CarUsage>, CarStoreError>> {
        let root = self.root.clone();
        async move { Ok(blocking(move || walk(&root)).await?) }.boxed()
    }

    fn delete(&self, object: ObjectId) -> BoxFuture<'_, Result<(), CarStoreError>> {
        async move {
            unless_missing(tokio::fs::remove_file(self.path(&object)).await)?;
            Ok(())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LedgerId;
    use firebrick_core::Cid;
    use firebrick_core::cid::Codec;

    fn object(ledger: &str) -> ObjectId {
        let ledger = LedgerId::new("Tenant", ledger).unwrap();
        let cid = Cid::of(Codec::Car, b"x").to_string();
        ObjectId::new(ledger, "car", &cid).unwrap()
    }

    fn body(pieces: &[&'static str]) -> BoxStream<'static, io::Result<Bytes>> {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|p| Ok(Bytes::from_static(p.as_bytes())))
            .collect();
        futures_util::stream::iter(pieces).boxed()
    }

    async fn read(disk: &Disk, object: ObjectId) -> Option<Vec<u8>> {
        let mut found = disk.get(object).await.unwrap()?;
        let mut bytes = Vec::new();
        while let Some(piece) = found.body.next().await {
            bytes.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(bytes.len() as u64, found.len);
        Some(bytes)
    }

    #[tokio::test]
    async fn the_first_copy_stays() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(&dir.path().join("objects")).unwrap();
        assert_eq!(read(&disk, object("l")).await, None);
        disk.put(object("l"), body(&["ab", "c"]), 3).await.unwrap();
        disk.put(object("l"), body(&["other"]), 9).await.unwrap();
        assert_eq!(read(&disk, object("l")).await.as_deref(), Some(&b"abc"[..]));
        // Ledgers that differ in capitals only are different ones everywhere.
        assert!(!disk.contains(object("L")).await.unwrap());
        let path = disk.path(&object("L.."));
        assert!(path.to_string_lossy().contains("/%54enant/%4C%2E%2E/car/"));
        disk.delete(object("l")).await.unwrap();
        disk.delete(object("l")).await.unwrap();
        assert!(!disk.contains(object("l")).await.unwrap());
    }

    #[tokio::test]
    async fn only_new_directories_are_synced() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        let path = disk.path(&object("l"));
        let parent = path.parent().unwrap();
        let above: Vec<_> = parent.ancestors().take(5).collect();
        assert_eq!(above[4], dir.path());
        assert_eq!(disk.names.unsettled(parent, &disk.root), above);
        disk.put(object("l"), body(&["a"]), 3).await.unwrap();
        assert_eq!(disk.names.unsettled(parent, &disk.root), [parent]);
        // One beside it is new; all around it is known.
        let other = above[1].join("zz");
        let beside = [other.as_path(), above[1]];
        assert_eq!(disk.names.unsettled(&other, &disk.root), beside);
        let ledger = disk.path(&object("m"));
        let unsettled = disk.names.unsettled(ledger.parent().unwrap(), &disk.root);
        assert_eq!((unsettled.len(), unsettled[3]), (4, above[3]));
    }

    #[tokio::test]
    async fn what_is_there_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(&dir.path().join("objects")).unwrap();
        assert!(disk.usage().await.unwrap().is_empty());
        disk.put(object("L é."), body(&["abc"]), 9).await.unwrap();
        disk.put(object("two"), body(&["ab", "c", "d"]), 9)
            .await
            .unwrap();
        let file = ObjectId::new(
            object("two").ledger,
            "file-index",
            &object("two").cid.to_string(),
        );
        disk.put(file.unwrap(), body(&["x"]), 9).await.unwrap();
        std::fs::write(dir.path().join("objects/stray"), "x").unwrap();
        let usage = disk.usage().await.unwrap();
        let expected = |cars, bytes| Some(CarUsage { cars, bytes });
        assert_eq!(usage.get(&object("L é.").ledger).copied(), expected(1, 3));
        assert_eq!(usage.get(&object("two").ledger).copied(), expected(2, 5));
        assert_eq!(usage.len(), 2);
    }

    #[tokio::test]
    async fn what_is_not_whole_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        let long = disk.put(object("l"), body(&["abcd"]), 3).await;
        assert!(matches!(long, Err(CarStoreError::TooLong(3))));
        let broken = futures_util::stream::iter([
            Ok(Bytes::from_static(b"ab")),
            Err(io::Error::from(io::ErrorKind::ConnectionReset)),
        ]);
        let broken = disk.put(object("l"), broken.boxed(), 9).await;
        assert!(matches!(broken, Err(CarStoreError::Body(_))));
        assert!(!disk.contains(object("l")).await.unwrap());
        assert!(disk.incoming.is_empty());
    }
}
