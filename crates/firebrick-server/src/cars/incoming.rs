//! Files for CARs that are not whole yet.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;

use super::CarStoreError;

/// A directory where CARs arrive. So slow clients cost no memory, and what is stored is whole.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    dir: PathBuf,
}

impl Incoming {
    /// Opens or makes the directory. What a crash left there is removed.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.into() })
    }

    /// The whole body and its length. It may not be on the disk yet.
    pub(super) async fn receive(
        &self,
        mut body: BoxStream<'static, io::Result<Bytes>>,
        limit: u64,
    ) -> Result<(NamedTempFile, u64), CarStoreError> {
        let dir = self.dir.clone();
        let temporary = blocking(move || NamedTempFile::new_in(dir)).await?;
        let mut file = tokio::fs::File::from_std(temporary.reopen()?);
        let mut len = 0;
        while let Some(piece) = next(&mut body, &mut len, limit).await? {
            file.write_all(&piece).await?;
        }
        file.flush().await?;
        Ok((temporary, len))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        std::fs::read_dir(&self.dir).unwrap().next().is_none()
    }
}

/// Reads a body that nobody needs: a client takes an early answer for a failure.
pub(crate) async fn discard(
    mut body: BoxStream<'static, io::Result<Bytes>>,
    limit: u64,
) -> Result<(), CarStoreError> {
    let mut len = 0;
    while next(&mut body, &mut len, limit).await?.is_some() {}
    Ok(())
}

async fn next(
    body: &mut BoxStream<'static, io::Result<Bytes>>,
    len: &mut u64,
    limit: u64,
) -> Result<Option<Bytes>, CarStoreError> {
    let Some(piece) = body.next().await else {
        return Ok(None);
    };
    let piece = piece.map_err(CarStoreError::Body)?;
    *len += piece.len() as u64;
    if *len > limit {
        return Err(CarStoreError::TooLong(limit));
    }
    Ok(Some(piece))
}

/// Runs what waits for the file system.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
