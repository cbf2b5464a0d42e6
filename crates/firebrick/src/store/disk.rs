//! The few file operations that a store on disk is made of.
//!
//! [`FileDisk`] does them in a directory. [`MemoryDisk`](super::disk_memory::MemoryDisk) does them
//! in memory, can fail at each of them, and knows which bytes a loss of power would leave.

use std::any::Any;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory of files. Names are relative and use `/`.
pub(crate) trait Disk: Send + Sync + fmt::Debug {
    /// The directory, for messages.
    fn path(&self) -> &Path;

    /// Makes the directory of the store and those that files will lie in.
    fn create_directories(&self, names: &[&str]) -> io::Result<()>;

    /// Opens a file, or answers `None` if it is missing.
    fn open(&self, name: &str, write: bool) -> io::Result<Option<Arc<dyn DiskFile>>>;

    /// Makes an empty file; one of this name that exists loses its content.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// The names in a directory, sorted; empty if it is missing.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;

    /// Renames a file, replacing another.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Fine if it is missing.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Removes an empty directory. Fine if it is missing or not empty.
    fn remove_directory(&self, name: &str) -> io::Result<()>;

    /// Waits until the names in a directory would survive a loss of power.
    fn sync_directory(&self, name: &str) -> io::Result<()>;

    /// Takes the lock of the store, or answers who holds it.
    fn lock(&self) -> io::Result<Result<Lock, String>>;
}

/// Held while a store is open for writing; dropping it releases the store.
pub(crate) type Lock = Box<dyn Any + Send + Sync>;

/// An open file.
pub(crate) trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads until `buffer` is full or the file ends; answers how much was read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `data`.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Cuts the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Waits until the content would survive a loss of power.
    fn sync(&self) -> io::Result<()>;
}

/// The whole content of a file, or `None` if it is missing.
pub(crate) fn read_file(disk: &dyn Disk, name: &str) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = disk.open(name, false)? else {
        return Ok(None);
    };
    let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut content = vec![0; len];
    let read = file.read_at(&mut content, 0)?;
    content.truncate(read);
    Ok(Some(content))
}

/// Replaces a file of the top directory so that after a crash either the old or the new content is
/// there.
pub(crate) fn replace_file(disk: &dyn Disk, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    let file = disk.create(&temporary)?;
    file.write_at(content, 0)?;
    file.sync()?;
    drop(file);
    disk.rename(&temporary, name)?;
    disk.sync_directory("")
}

/// Name of the lock file.
pub(crate) const LOCK_FILE: &str = "LOCK";

/// A directory of the file system.
#[derive(Debug)]
pub(crate) struct FileDisk {
    root: PathBuf,
}

impl FileDisk {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn at(&self, name: &str) -> PathBuf {
        if name.is_empty() {
            self.root.clone()
        } else {
            self.root.join(name)
        }
    }
}

/// `Ok(None)` instead of "not found".
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Disk for FileDisk {
    fn path(&self) -> &Path {
        &self.root
    }

    fn create_directories(&self, names: &[&str]) -> io::Result<()> {
        if !self.root.is_dir() {
            fs::create_dir_all(&self.root)?;
            if let Some(parent) = self.root.parent() {
                sync_directory(parent)?;
            }
        }
        let missing: Vec<_> = names
            .iter()
            .filter(|name| !self.at(name).is_dir())
            .collect();
        for name in &missing {
            fs::create_dir_all(self.at(name))?;
        }
        if !missing.is_empty() {
            sync_directory(&self.root)?;
        }
        Ok(())
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let file = OpenOptions::new()
            .read(true)
            .write(write)
            .open(self.at(name));
        Ok(found(file)?.map(|file| Arc::new(file) as Arc<dyn DiskFile>))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.at(name))?;
        Ok(Arc::new(file))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let Some(entries) = found(fs::read_dir(self.at(directory)))? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        found(fs::remove_file(self.at(name))).map(|_| ())
    }

    fn remove_directory(&self, name: &str) -> io::Result<()> {
        match found(fs::remove_dir(self.at(name))) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn sync_directory(&self, name: &str) -> io::Result<()> {
        sync_directory(&self.at(name))
    }

    fn lock(&self) -> io::Result<Result<Lock, String>> {
        let path = self.at(LOCK_FILE);
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    // Some systems refuse to read a locked file.
                    let known = file.read_to_string(&mut holder).is_ok();
                    let holder = holder.trim();
                    return Ok(Err(if known && !holder.is_empty() {
                        holder.to_owned()
                    } else {
                        "another process".to_owned()
                    }));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Whoever destroys a store removes this file, perhaps between the two calls above.
            if !is_at(&file, &path)? {
                continue;
            }
            // Cut after writing, not before: a file that was cut to nothing is flushed when it is
            // closed on some systems, which costs more than all the rest of opening a store.
            let holder = super::holder::describe();
            file.rewind()?;
            file.write_all(holder.as_bytes())?;
            file.set_len(holder.len() as u64)?;
            return Ok(Ok(Box::new(file)));
        }
    }
}

/// Whether the file is the one that now has this path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let (held, named) = (file.metadata()?, found(fs::metadata(path))?);
    Ok(named.is_some_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())))
}

/// Elsewhere a file that is open cannot be removed.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> io::Result<bool> {
    Ok(true)
}

/// Makes the names in a directory durable.
#[cfg(unix)]
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    // The parent of a relative path of one part is the empty path.
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    File::open(path)?.sync_all()
}

/// Elsewhere a directory cannot be opened as a file, and renames are durable by themselves.
#[cfg(not(unix))]
pub(crate) fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match read_some(self, &mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < data.len() {
            match write_some(self, &data[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => done += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync: the content and the length, not the times.
        self.sync_data()
    }
}

#[cfg(unix)]
fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(unix)]
fn write_some(file: &File, data: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, data, offset)
}

#[cfg(windows)]
fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(windows)]
fn write_some(file: &File, data: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, data, offset)
}
