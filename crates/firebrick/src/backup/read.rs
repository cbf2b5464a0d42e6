//! Reading a backup frame by frame. Nothing of it is trusted before it is checked.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use firebrick_core::Block;
use firebrick_core::backup::{
    FRAME_HEAD_LEN, FileHead, FrameKind, Header, PREAMBLE_LEN, Preamble, PreambleError, Trailer,
    read_frame_head,
};
use firebrick_core::car::CarReader;
use firebrick_core::cid::Codec;
use firebrick_core::clock::Event;
use firebrick_core::envelope::{self, EnvelopeError};
use firebrick_core::keys::{Key, KeyId};
use sha2::{Digest, Sha256};

use super::{BackupError, BackupInfo};
use crate::error::{Error, Result};
use crate::ledger::Ledger;

/// An open backup file.
pub(super) struct BackupReader {
    file: PathBuf,
    input: BufReader<File>,
    hash: Sha256,
    at: u64,
    preamble: Preamble,
    key: Option<Key>,
    content: Option<Content>,
    totals: Trailer,
}

/// The content of a file that is being read.
struct Content {
    head: FileHead,
    hash: Sha256,
    read: u64,
}

/// What comes next. The parts of a content add up to it, and have its hash, or it is abandoned.
pub(super) enum Part {
    Blocks(Vec<Block>),
    Content(FileHead),
    Bytes(Bytes),
    Abandoned,
    /// The end, and everything was as it says.
    End(Trailer),
}

impl BackupReader {
    /// Opens a file and reads its preamble; `find` looks for the key.
    pub(super) fn open(
        file: &Path,
        find: impl FnOnce(&KeyId) -> Result<Option<Key>>,
        looked: &[String],
    ) -> Result<(Self, Header)> {
        let what = || format!("reading the backup {}", file.display());
        let mut reader = Self {
            input: BufReader::new(File::open(file).map_err(Error::io(what()))?),
            file: file.to_owned(),
            hash: Sha256::new(),
            at: 0,
            preamble: Preamble { key: None },
            key: None,
            content: None,
            totals: Trailer::default(),
        };
        let mut bytes = [0; PREAMBLE_LEN];
        let read = reader.read(&mut bytes)?;
        reader.preamble = match Preamble::decode(&bytes) {
            Err(PreambleError::Foreign) => {
                let magic = firebrick_core::backup::MAGIC;
                let is_cut = read < magic.len() && magic.starts_with(&bytes[..read]);
                let file = file.to_owned();
                return Err(match is_cut {
                    true => reader.truncated(),
                    false => BackupError::Foreign { file }.into(),
                });
            }
            _ if read < PREAMBLE_LEN => return Err(reader.truncated()),
            Err(PreambleError::Newer(version)) => {
                return Err(BackupError::Newer {
                    file: file.to_owned(),
                    version,
                }
                .into());
            }
            Err(error) => return Err(reader.damaged(error.to_string())),
            Ok(preamble) => preamble,
        };
        reader.hash.update(bytes);
        if let Some(id) = reader.preamble.key {
            reader.key = find(&id)?;
            if reader.key.is_none() {
                return Err(BackupError::WrongKey {
                    file: file.to_owned(),
                    fingerprint: id.to_string(),
                    looked: looked.to_vec(),
                }
                .into());
            }
        }
        let (kind, content) = reader.frame()?;
        if kind != FrameKind::Header {
            return Err(reader.damaged("it does not begin with a header"));
        }
        let header = Header::decode(&content).map_err(|error| reader.damaged(error.to_string()))?;
        Ok((reader, header))
    }

    /// The key that the frames are sealed with.
    pub(super) fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    pub(super) fn is_plain(&self) -> bool {
        self.preamble.key.is_none()
    }

    pub(super) fn next(&mut self) -> Result<Part> {
        let hash: [u8; 32] = self.hash.clone().finalize().into();
        let (kind, content) = self.frame()?;
        let is_inside = matches!(kind, FrameKind::Part | FrameKind::Abandoned);
        if self.content.is_some() != is_inside {
            return Err(self.damaged("a content of a file is not whole"));
        }
        match kind {
            FrameKind::Header => Err(self.damaged("a second header")),
            FrameKind::Car => self.car(content).map(Part::Blocks),
            FrameKind::File => {
                let head = FileHead::decode(&content);
                let head = head.ok_or_else(|| self.damaged("a file without a name"))?;
                self.content = Some(Content {
                    head,
                    hash: Sha256::new(),
                    read: 0,
                });
                self.end_content()?;
                Ok(Part::Content(head))
            }
            FrameKind::Part => {
                if let Some(open) = &mut self.content {
                    open.hash.update(&content);
                    open.read += content.len() as u64;
                }
                self.end_content()?;
                Ok(Part::Bytes(content))
            }
            FrameKind::Abandoned => {
                self.content = None;
                Ok(Part::Abandoned)
            }
            FrameKind::Trailer => self.end(&content, hash).map(Part::End),
        }
    }

    fn car(&mut self, car: Bytes) -> Result<Vec<Block>> {
        let blocks = CarReader::new(car)
            .and_then(Iterator::collect::<Result<Vec<Block>, _>>)
            .map_err(|error| self.damaged(error.to_string()))?;
        self.totals.cars += 1;
        for block in &blocks {
            self.totals.blocks += 1;
            self.totals.bytes += block.bytes.len() as u64;
            self.totals.events += u64::from(is_event(block));
        }
        Ok(blocks)
    }

    /// Checks a content once it has its length.
    fn end_content(&mut self) -> Result<()> {
        let Some(open) = self.content.take_if(|open| open.read >= open.head.len) else {
            return Ok(());
        };
        let hash: [u8; 32] = open.hash.finalize().into();
        if open.read != open.head.len || hash != *open.head.cid.digest() {
            return Err(self.damaged(format!(
                "a file does not have the hash of {}",
                open.head.cid
            )));
        }
        self.totals.files += 1;
        self.totals.file_bytes += open.read;
        Ok(())
    }

    fn end(&mut self, content: &[u8], hash: [u8; 32]) -> Result<Trailer> {
        let trailer = Trailer::decode(content).map_err(|error| self.damaged(error.to_string()))?;
        let read = Trailer {
            hash,
            missing: trailer.missing.clone(),
            missing_files: trailer.missing_files.clone(),
            ..std::mem::take(&mut self.totals)
        };
        if trailer != read {
            return Err(self.damaged("it does not hold what its end says"));
        }
        if self.read(&mut [0])? > 0 {
            return Err(self.damaged("something follows its end"));
        }
        Ok(trailer)
    }

    pub(super) fn info(&self, header: Header, trailer: Trailer) -> BackupInfo {
        BackupInfo::new(header, trailer, self.preamble, self.at)
    }

    fn frame(&mut self) -> Result<(FrameKind, Bytes)> {
        let mut head = [0; FRAME_HEAD_LEN];
        if self.read(&mut head)? < FRAME_HEAD_LEN {
            return Err(self.truncated());
        }
        let Some((kind, length)) = read_frame_head(&head) else {
            return Err(self.damaged("a frame of no known kind"));
        };
        // A damaged length costs no memory: only what is there is read.
        let mut content = Vec::new();
        let read = (&mut self.input)
            .take(u64::from(length))
            .read_to_end(&mut content);
        let read = read.map_err(|error| self.io(error))?;
        self.at += read as u64;
        if read < length as usize {
            return Err(self.truncated());
        }
        self.hash.update(head);
        self.hash.update(&content);
        let Some(key) = &self.key else {
            return Ok((kind, content.into()));
        };
        match envelope::open(&content, key) {
            Ok(plain) => Ok((kind, plain)),
            Err(EnvelopeError::UnknownKey { .. }) => {
                Err(self.damaged("a frame names another key than the file"))
            }
            Err(error) => Err(self.damaged(error.to_string())),
        }
    }

    /// Fills the buffer as far as the file goes.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io(error)),
            }
        }
        self.at += filled as u64;
        Ok(filled)
    }

    fn io(&self, error: std::io::Error) -> Error {
        Error::io(format!("reading the backup {}", self.file.display()))(error)
    }

    fn truncated(&self) -> Error {
        BackupError::Truncated {
            file: self.file.clone(),
            at: self.at,
        }
        .into()
    }

    pub(super) fn damaged(&self, what: impl Into<String>) -> Error {
        BackupError::Damaged {
            file: self.file.clone(),
            at: self.at,
            what: what.into(),
        }
        .into()
    }
}

fn is_event(block: &Block) -> bool {
    block.cid.codec() == Codec::DagCbor && Event::decode(&block.bytes).is_ok()
}

/// The header of an earlier backup of an open database.
pub(super) fn header(file: &Path, key: Option<&Key>, ledger: &Ledger) -> Result<Header> {
    let find = |id: &KeyId| {
        Ok(ledger
            .keys
            .key(id)
            .or_else(|| key.cloned())
            .filter(|key| key.key_id() == *id))
    };
    let looked = ["this database".to_owned()];
    Ok(BackupReader::open(file, find, &looked)?.1)
}
