//! The keybag: key files in a directory.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use firebrick_core::keys::{KeySet, file_name};
use zeroize::Zeroizing;

use super::store::{self, KeyStore};
use crate::error::{Error, Result};

/// A directory of key files in the format's JSON (format §9), one file per key name, readable only
/// by the owner. The JavaScript implementation reads and writes the same files.
///
/// ```
/// # use firebrick::{Database, Error, Keybag};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let open = |name: &str| Database::builder().path(dir.path().join(name)).keybag(dir.path().join("keys"));
/// let db = open("notes").open().await?;
/// let keybag = Keybag::open(dir.path().join("keys"));
/// let keys = keybag.key_set("@notes-data@")?.expect("it was made with the database");
/// assert_eq!(Some(keys.default_key().fingerprint()), db.keys().fingerprint());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Keybag {
    directory: PathBuf,
}

impl Keybag {
    /// The keybag in this directory; it is created with the first key.
    ///
    /// ```
    /// # use firebrick::{Error, KeyStore, Keybag};
    /// # let dir = tempfile::tempdir().unwrap();
    /// let keybag = Keybag::open(dir.path().join("keys"));
    /// assert!(keybag.names()?.is_empty());
    /// assert!(!keybag.directory().exists()); // until there is a key
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn open(directory: impl AsRef<Path>) -> Self {
        Self {
            directory: directory.as_ref().to_owned(),
        }
    }

    /// The keybag at `$FIREBRICK_KEYBAG`, else at `$HOME/.firebrick/keybag`.
    ///
    /// ```
    /// # use firebrick::{Error, Keybag};
    /// // Where a builder looks that was not told otherwise.
    /// match Keybag::default_location() {
    ///     Ok(keybag) => println!("keys are in {}", keybag.directory().display()),
    ///     Err(error) => assert!(matches!(error, Error::Keys(_))),
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::Keys`] if neither variable is set.
    pub fn default_location() -> Result<Self> {
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".firebrick/keybag"));
        let chosen = std::env::var_os("FIREBRICK_KEYBAG").map(PathBuf::from);
        chosen
            .or_else(home)
            .map(|directory| Self { directory })
            .ok_or_else(|| {
                Error::Keys(
                    "there is no place for keys: set FIREBRICK_KEYBAG or HOME, or name a keybag"
                        .into(),
                )
            })
    }

    /// The directory.
    ///
    /// ```
    /// # use firebrick::Keybag;
    /// assert_eq!(Keybag::open("/srv/keys").directory(), std::path::Path::new("/srv/keys"));
    /// ```
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(file_name(name))
    }

    /// The keys under this name; `None` if there are none.
    ///
    /// ```
    /// # use firebrick::{Error, Keybag};
    /// # let dir = tempfile::tempdir().unwrap();
    /// let keybag = Keybag::open(dir.path().join("keys"));
    /// assert!(keybag.key_set("@notes-data@")?.is_none());
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Keys`] if the file is not a key file, [`Error::Io`] if it cannot be read.
    pub fn key_set(&self, name: &str) -> Result<Option<KeySet>> {
        store::load(self, name)
    }

    /// Replaces the keys under their name, in one step.
    ///
    /// ```
    /// # use firebrick::{Error, Keybag};
    /// use firebrick::core::keys::{Key, KeySet};
    /// # let dir = tempfile::tempdir().unwrap();
    /// let keybag = Keybag::open(dir.path().join("keys"));
    /// let mut bytes = [0; 32];
    /// getrandom::fill(&mut bytes).expect("the system has randomness");
    /// let key = Key::from_bytes(&bytes).expect("it has 32 bytes");
    /// let keys = KeySet::new("@notes-data@", key);
    /// keybag.save(&keys)?;
    /// assert_eq!(keybag.key_set("@notes-data@")?, Some(keys));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, keys: &KeySet) -> Result<()> {
        let secret = Zeroizing::new(keys.to_json());
        let _lock = self.lock()?;
        self.persist(keys.name(), &secret)
    }

    /// A temporary file beside the others, synced, takes the place of the old one. Only the owner
    /// can read it.
    fn persist(&self, name: &str, secret: &str) -> Result<()> {
        let file = self.file(name);
        let what = || format!("writing the key file {}", file.display());
        let mut temporary = tempfile::Builder::new()
            .prefix(".key-")
            .tempfile_in(&self.directory)
            .map_err(Error::io(what()))?;
        temporary
            .write_all(secret.as_bytes())
            .and_then(|()| temporary.as_file().sync_all())
            .map_err(Error::io(what()))?;
        temporary
            .persist(&file)
            .map_err(|error| Error::io(what())(error.error))?;
        Ok(())
    }

    /// Keeps other processes from changing key files while it is held.
    fn lock(&self) -> Result<std::fs::File> {
        let what = || format!("opening the keybag {}", self.directory.display());
        std::fs::create_dir_all(&self.directory).map_err(Error::io(what()))?;
        let open = || {
            // A directory can be locked itself, where it can be opened.
            #[cfg(unix)]
            let lock = std::fs::File::open(&self.directory)?;
            #[cfg(not(unix))]
            let lock = std::fs::File::create(self.directory.join(".lock"))?;
            lock.lock()?;
            Ok(lock)
        };
        open().map_err(Error::io(what()))
    }
}

impl KeyStore for Keybag {
    fn place(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    fn get(&self, name: &str) -> Result<Option<Zeroizing<String>>> {
        let file = self.file(name);
        match std::fs::read_to_string(&file) {
            Ok(text) => Ok(Some(Zeroizing::new(text))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!(
                "reading the key file {}",
                file.display()
            ))(error)),
        }
    }

    fn replace(&self, name: &str, expected: Option<&str>, secret: &str) -> Result<bool> {
        let _lock = self.lock()?;
        if self.get(name)?.as_ref().map(|text| text.as_str()) != expected {
            return Ok(false);
        }
        self.persist(name, secret)?;
        Ok(true)
    }

    fn names(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(Error::io(format!("listing {}", self.directory.display()))(
                    error,
                ));
            }
        };
        let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let json = files.filter(|file| file.extension().is_some_and(|end| end == "json"));
        // Files of other kinds share the directory.
        let sets = json.filter_map(|file| {
            let text = Zeroizing::new(std::fs::read_to_string(file).ok()?);
            KeySet::from_json(&text).ok()
        });
        Ok(sets.map(|keys| keys.name().to_owned()).collect())
    }
}
