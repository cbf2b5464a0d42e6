//! The checkpoint: everything that an open store needs besides the frames after it.
//!
//! One file, replaced atomically. It says up to where the log was taken in, which runs make up the
//! index, and holds the head and the private state, sealed. All of it can be made again from the log.
//!
//! ```text
//!   0   4  "FBCP"        16  8  number of the checkpoint
//!   4   4  CRC-32        24 12  nonce
//!   8   4  version       36  …  sealed body; bytes 8..24 are associated data
//!  12   4  0
//! ```

use std::collections::BTreeMap;
use std::io;

use bytes::{Buf, BufMut, Bytes};
use firebrick_core::Cid;

use super::disk::{self, Disk};
use super::frame::{Position, get_bytes, get_head, put_bytes, put_head};
use super::vault::{NONCE_BYTES, Vault};

/// Name of the file.
pub(crate) const FILE: &str = "checkpoint";

const MAGIC: [u8; 4] = *b"FBCP";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 36;

/// What the log says up to a position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Checkpoint {
    /// Grows with each checkpoint.
    pub(crate) number: u64,
    /// Where the next frame begins.
    pub(crate) position: Position,
    /// Its sequence number.
    pub(crate) next_sequence: u64,
    /// Bytes of all frames so far.
    pub(crate) log_bytes: u64,
    /// Numbers of the runs of the index, oldest first.
    pub(crate) runs: Vec<u64>,
    /// The number that the next run gets.
    pub(crate) next_run: u64,
    pub(crate) head: Vec<Cid>,
    pub(crate) kv: BTreeMap<String, Bytes>,
    /// Damage of the log that was found, each with its place.
    pub(crate) damage: Vec<String>,
}

impl Checkpoint {
    fn encode(&self, vault: &Vault) -> Vec<u8> {
        let nonce = vault.fresh_nonce();
        let mut out = Vec::with_capacity(4096);
        out.put_slice(&MAGIC);
        out.put_u32_le(0);
        out.put_u32_le(VERSION);
        out.put_u32_le(0);
        out.put_u64_le(self.number);
        out.put_slice(&nonce);

        out.put_u32_le(self.position.segment);
        out.put_u64_le(self.position.offset);
        out.put_u64_le(self.next_sequence);
        out.put_u64_le(self.log_bytes);
        out.put_u64_le(self.next_run);
        out.put_u32_le(self.runs.len() as u32);
        for run in &self.runs {
            out.put_u64_le(*run);
        }
        put_head(&mut out, &self.head);
        out.put_u32_le(self.damage.len() as u32);
        for damage in &self.damage {
            put_bytes(&mut out, damage.as_bytes());
        }
        out.put_u32_le(self.kv.len() as u32);
        for (key, value) in &self.kv {
            put_bytes(&mut out, key.as_bytes());
            put_bytes(&mut out, value);
        }

        let mut associated = [0; 16];
        associated.copy_from_slice(&out[8..24]);
        vault.seal_meta(&nonce, &associated, &mut out, HEADER_BYTES);
        let crc = crc32fast::hash(&out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(vault: &Vault, content: &mut [u8]) -> Option<Self> {
        let number = number_of(content)?;
        let mut associated = [0; 16];
        associated.copy_from_slice(&content[8..24]);
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&content[24..HEADER_BYTES]);
        let mut input = vault.open_meta(&nonce, &associated, &mut content[HEADER_BYTES..])?;
        let input = &mut input;
        let position = Position {
            segment: input.try_get_u32_le().ok()?,
            offset: input.try_get_u64_le().ok()?,
        };
        let next_sequence = input.try_get_u64_le().ok()?;
        let log_bytes = input.try_get_u64_le().ok()?;
        let next_run = input.try_get_u64_le().ok()?;
        let runs = (0..input.try_get_u32_le().ok()?)
            .map(|_| input.try_get_u64_le().ok())
            .collect::<Option<_>>()?;
        let head = get_head(input)?;
        let mut damage = Vec::new();
        for _ in 0..input.try_get_u32_le().ok()? {
            damage.push(get_text(input)?);
        }
        let mut kv = BTreeMap::new();
        for _ in 0..input.try_get_u32_le().ok()? {
            kv.insert(get_text(input)?, Bytes::copy_from_slice(get_bytes(input)?));
        }
        input.is_empty().then_some(Self {
            number,
            position,
            next_sequence,
            log_bytes,
            runs,
            next_run,
            head,
            kv,
            damage,
        })
    }

    /// Replaces the checkpoint of the store.
    pub(crate) fn write(&self, disk: &dyn Disk, vault: &Vault) -> io::Result<()> {
        disk::replace_file(disk, FILE, &self.encode(vault))
    }

    /// The checkpoint of the store; `None` if there is none, or none that is whole.
    pub(crate) fn read(disk: &dyn Disk, vault: &Vault) -> io::Result<Option<Self>> {
        Ok(disk::read_file(disk, FILE)?.and_then(|mut file| Self::decode(vault, &mut file)))
    }
}

fn get_text(input: &mut &[u8]) -> Option<String> {
    String::from_utf8(get_bytes(input)?.to_vec()).ok()
}

/// Checks the frame of a checkpoint and answers its number.
fn number_of(content: &[u8]) -> Option<u64> {
    let mut header = content.get(..HEADER_BYTES)?;
    let good = header[..4] == MAGIC
        && header[4..8] == crc32fast::hash(&content[8..]).to_le_bytes()
        && header[8..12] == VERSION.to_le_bytes();
    header.advance(16);
    good.then(|| header.get_u64_le())
}
