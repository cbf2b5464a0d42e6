//! Where the content of a file comes from.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use crate::buffers::Buffers;
use crate::env::{self, Env};

/// A content to attach: a path, bytes or a reader, with what the document is to say about it.
///
/// ```
/// use firebrick::FileSource;
/// FileSource::path("holiday/photo.jpg");
/// FileSource::bytes("hello").content_type("text/plain");
/// FileSource::reader(std::io::stdin()).last_modified_ms(0);
/// ```
#[must_use = "attach it"]
pub struct FileSource {
    input: Input,
    pub(super) content_type: Option<String>,
    pub(super) last_modified: Option<i64>,
    pub(super) single_block: bool,
}

enum Input {
    Path(PathBuf),
    Bytes(Bytes),
    /// Read where it disturbs no other task; away while it is read.
    Blocking(Option<Box<dyn Read + Send>>),
    Async(Pin<Box<dyn AsyncRead + Send>>),
}

impl FileSource {
    fn new(input: Input) -> Self {
        Self {
            input,
            content_type: None,
            last_modified: None,
            single_block: false,
        }
    }

    /// The file at this path, read when it is attached. Its time of change is kept.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let files = db.files("summer");
    /// # let dir = tempfile::tempdir().unwrap();
    /// let path = dir.path().join("sea.txt");
    /// std::fs::write(&path, "waves").unwrap();
    /// let file = files.put("sea.txt", FileSource::path(&path)).await?;
    /// assert_eq!(file.size, 5);
    /// # Ok(()) }
    /// ```
    pub fn path(path: impl AsRef<Path>) -> Self {
        Self::new(Input::Path(path.as_ref().to_owned()))
    }

    /// Content that is in memory.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let files = db.files("summer");
    /// let file = files.put("sea.txt", FileSource::bytes("waves")).await?;
    /// assert_eq!(file.size, 5);
    /// # Ok(()) }
    /// ```
    pub fn bytes(content: impl Into<Bytes>) -> Self {
        Self::new(Input::Bytes(content.into()))
    }

    /// What a blocking reader gives, to its end.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let files = db.files("summer");
    /// let reader = std::io::Read::take(std::io::repeat(7), 100_000);
    /// let file = files.put("sevens", FileSource::reader(reader)).await?;
    /// assert_eq!(file.size, 100_000);
    /// # Ok(()) }
    /// ```
    pub fn reader(reader: impl Read + Send + 'static) -> Self {
        Self::new(Input::Blocking(Some(Box::new(reader))))
    }

    /// What an async reader gives, to its end.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let files = db.files("summer");
    /// let reader = tokio::io::AsyncReadExt::take(tokio::io::repeat(7), 100_000);
    /// let file = files.put("sevens", FileSource::async_reader(reader)).await?;
    /// assert_eq!(file.size, 100_000);
    /// # Ok(()) }
    /// ```
    pub fn async_reader(reader: impl AsyncRead + Send + 'static) -> Self {
        Self::new(Input::Async(Box::pin(reader)))
    }

    /// The media type. Default: `application/octet-stream`, because an empty one makes
    /// JavaScript refuse to write the document again.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let files = db.files("summer");
    /// let picture = FileSource::bytes(vec![0; 9]).content_type("image/png");
    /// assert_eq!(files.put("dot.png", picture).await?.content_type, "image/png");
    /// # Ok(()) }
    /// ```
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// When the content last changed, in milliseconds of Unix time. Default: that of the path, else
    /// now.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let files = db.files("summer");
    /// let old = FileSource::bytes("waves").last_modified_ms(1_000);
    /// assert_eq!(files.put("sea.txt", old).await?.last_modified_ms, 1_000);
    /// # Ok(()) }
    /// ```
    pub fn last_modified_ms(mut self, milliseconds: i64) -> Self {
        self.last_modified = Some(milliseconds);
        self
    }

    /// Keeps the content in one block whatever its size, so that JavaScript can read it. Whoever
    /// sends or fetches it then needs about three times its size in memory; at most 1000 MiB.
    ///
    /// ```
    /// # use firebrick::{Database, Error, FileSource};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// # let files = db.files("summer");
    /// let long = vec![7; 17 << 20]; // more than 16 MiB is cut into pieces
    /// let source = FileSource::bytes(long).single_block(true);
    /// assert!(files.put("long", source).await?.single_block);
    /// # Ok(()) }
    /// ```
    pub fn single_block(mut self, single_block: bool) -> Self {
        self.single_block = single_block;
        self
    }

    /// Opens a path.
    pub(super) async fn begin(&mut self, env: &dyn Env) -> io::Result<()> {
        let Input::Path(path) = &self.input else {
            return Ok(());
        };
        let path = path.clone();
        let open = move || {
            let file = std::fs::File::open(path)?;
            let about = file.metadata()?;
            if about.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            let changed = about.modified().ok();
            let since = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            Ok((file, since.map(|since| since.as_millis() as i64)))
        };
        let (file, changed) = blocking(env, open).await?;
        self.last_modified = self.last_modified.or(changed);
        self.input = Input::Blocking(Some(Box::new(file)));
        Ok(())
    }

    /// The next bytes: `wanted` of them unless the content ends.
    pub(super) async fn next(&mut self, wanted: usize, env: &dyn Env) -> io::Result<Bytes> {
        match &mut self.input {
            Input::Bytes(bytes) => Ok(bytes.split_to(wanted.min(bytes.len()))),
            Input::Async(reader) => {
                let mut buffer = Buffers::shared().filled(wanted);
                let mut filled = 0;
                while filled < wanted {
                    match read_some(reader.as_mut(), &mut buffer[filled..]).await? {
                        0 => break,
                        read => filled += read,
                    }
                }
                buffer.truncate(filled);
                Ok(buffer.into())
            }
            Input::Blocking(away) => {
                let mut reader = away.take().ok_or(io::ErrorKind::BrokenPipe)?;
                let read = move || {
                    let result = fill(&mut *reader, wanted);
                    (reader, result)
                };
                let (reader, result) = blocking(env, move || Ok(read())).await?;
                *away = Some(reader);
                result
            }
            Input::Path(_) => Err(io::Error::other("the path was not opened")),
        }
    }
}

async fn blocking<T: Send + 'static>(
    env: &dyn Env,
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    env::blocking(env, job).await.map_err(io::Error::other)?
}

/// Reads so many bytes unless the content ends.
fn fill(reader: &mut dyn Read, wanted: usize) -> io::Result<Bytes> {
    let mut buffer = Buffers::shared().filled(wanted);
    let mut filled = 0;
    while filled < wanted {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer.into())
}

async fn read_some(
    mut reader: Pin<&mut (dyn AsyncRead + Send)>,
    buffer: &mut [u8],
) -> io::Result<usize> {
    std::future::poll_fn(|context| {
        let mut buffer = ReadBuf::new(buffer);
        let read = reader.as_mut().poll_read(context, &mut buffer);
        read.map_ok(|()| buffer.filled().len())
    })
    .await
}

impl From<Bytes> for FileSource {
    fn from(content: Bytes) -> Self {
        Self::bytes(content)
    }
}

impl From<Vec<u8>> for FileSource {
    fn from(content: Vec<u8>) -> Self {
        Self::bytes(content)
    }
}

impl From<&Path> for FileSource {
    fn from(path: &Path) -> Self {
        Self::path(path)
    }
}

impl From<PathBuf> for FileSource {
    fn from(path: PathBuf) -> Self {
        Self::path(path)
    }
}

impl fmt::Debug for FileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSource")
            .field("content_type", &self.content_type)
            .finish_non_exhaustive()
    }
}
