//! Where the process that has a database open listens: a socket in the database's folder, or,
//! when that path is too long for a socket, one with a hashed name in a private temporary folder.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::net::UnixStream;

/// The system's limit for the path of a socket is 108 bytes here, 104 elsewhere.
const PATH_BYTES: usize = 100;
const FILE_NAME: &str = "control.sock";

/// A socket's path and the user that may listen there.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    path: PathBuf,
    owner: u32,
}

impl Address {
    /// The address for an existing database folder.
    pub(crate) fn of(database: &Path) -> io::Result<Address> {
        let database = database.canonicalize()?;
        let owner = fs::metadata(&database)?.uid();
        let inside = database.join(FILE_NAME);
        if inside.as_os_str().len() <= PATH_BYTES {
            return Ok(Address {
                path: inside,
                owner,
            });
        }
        let hash = Sha256::digest(database.as_os_str().as_encoded_bytes());
        let name: String = hash
            .iter()
            .take(12)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let folder = std::env::temp_dir().join(format!("firebrick-{owner}"));
        Ok(Address {
            path: folder.join(name),
            owner,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder for the socket, which nobody else may enter.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        let Some(folder) = self.path.parent() else {
            return Ok(());
        };
        if self.path.ends_with(FILE_NAME) {
            return Ok(());
        }
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let found = fs::symlink_metadata(folder)?;
        if !found.is_dir() || found.permissions().mode() & 0o077 != 0 {
            return Err(io::Error::other(format!(
                "{} is open to other users",
                folder.display()
            )));
        }
        Ok(())
    }
}

/// Whether the process at the other end belongs to the owner of the database: somebody else
/// could listen on a name in a shared folder.
pub(crate) fn is_ours(stream: &UnixStream, address: &Address) -> bool {
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == address.owner || peer.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_gets_a_short_socket() {
        let dir = tempfile::tempdir().unwrap();
        let near = Address::of(dir.path()).unwrap();
        assert!(near.path().starts_with(dir.path().canonicalize().unwrap()));
        let deep = dir.path().join("d".repeat(90)).join("e".repeat(90));
        fs::create_dir_all(&deep).unwrap();
        let far = Address::of(&deep).unwrap();
        assert!(far.path().as_os_str().len() <= PATH_BYTES, "{far:?}");
        assert_eq!(far.path(), Address::of(&deep).unwrap().path());
    }
}
