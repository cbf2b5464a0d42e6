//! Files of documents.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant, UNIX_EPOCH};

use firebrick::{FileInfo, FileSource};
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;

use super::super::protocol::Reply;
use super::{Asker, Service};
use crate::failure::{Exit, Failure, Result};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// A content to attach.
pub(super) struct NewFile {
    pub(super) name: String,
    /// Without one it is read from stdin.
    pub(super) path: Option<PathBuf>,
    pub(super) content_type: String,
    pub(super) single_block: bool,
}

/// Tells how much was read.
struct Counted<R> {
    inner: R,
    read: u64,
    told: Instant,
    replies: Sender<Reply>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            // Only a picture of how far it is; who does not look at it misses nothing.
            let _ = self
                .replies
                .try_send(Reply::FileProgress { bytes: self.read });
        }
        Ok(read)
    }
}

impl Service {
    pub(super) async fn files_put(&self, id: &str, file: NewFile, asker: &Asker) -> Result<()> {
        let counted = |inner: Box<dyn Read + Send>| {
            FileSource::reader(Counted {
                inner,
                read: 0,
                told: Instant::now(),
                replies: asker.0.clone(),
            })
        };
        let source = match &file.path {
            None => counted(Box::new(io::stdin())),
            Some(path) => {
                let cannot = |error: io::Error| {
                    let message = format!("cannot read {}: {error}", path.display());
                    Failure::new(Exit::BadInput, "bad_file", message)
                };
                let open = File::open(path).map_err(cannot)?;
                let about = open.metadata().map_err(cannot)?;
                if about.is_dir() {
                    return Err(cannot(io::ErrorKind::IsADirectory.into()));
                }
                let changed = about.modified().ok();
                let since = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                let source = counted(Box::new(open));
                match since {
                    Some(since) => source.last_modified_ms(since.as_millis() as i64),
                    None => source,
                }
            }
        };
        let source = source
            .content_type(file.content_type)
            .single_block(file.single_block);
        let info = self.database().files(id).put(&file.name, source).await?;
        asker.reply(Reply::File { file: shown(&info) }).await
    }

    pub(super) async fn files_get(
        &self,
        id: &str,
        name: &str,
        range: std::ops::Range<u64>,
        asker: &Asker,
    ) -> Result<()> {
        let file = self.database().files(id).get(name).await?;
        let file = file.ok_or_else(|| no_file(id, name))?;
        let about = shown(file.info());
        asker.reply(Reply::File { file: about }).await?;
        let mut file = file.range(range);
        while let Some(bytes) = file.chunk().await? {
            asker.reply(Reply::FilePart { bytes }).await?;
        }
        Ok(())
    }

    pub(super) async fn files_list(&self, id: &str, asker: &Asker) -> Result<()> {
        let files = self.database().files(id);
        let mut listed = Vec::new();
        for info in files.list().await? {
            let mut file = shown(&info);
            file["local_bytes"] = json!(files.local_bytes(&info.name).await?);
            listed.push(file);
        }
        asker.reply(Reply::Files { files: listed }).await
    }

    pub(super) async fn files_remove(&self, id: &str, name: &str, asker: &Asker) -> Result<()> {
        if !self.database().files(id).remove(name).await? {
            return Err(no_file(id, name));
        }
        let file = json!({ "name": name });
        asker.reply(Reply::File { file }).await
    }
}

fn shown(info: &FileInfo) -> Value {
    json!(info)
}

fn no_file(id: &str, name: &str) -> Failure {
    Failure::not_found(format!("document {id:?} has no file {name:?}"))
        .hint("`firebrick files list` shows those that it has")
}
