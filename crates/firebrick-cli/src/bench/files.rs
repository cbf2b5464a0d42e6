//! Files: how far they are from what the machine's ciphers and hashes give.

use std::io::Read;
use std::time::Instant;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use firebrick::{Database, FileSource, Result};
use sha2::{Digest, Sha256};

use super::workloads::Bed;
use super::{Figure, Ids};

/// Bytes of the file that is also sent.
const LEN: u64 = 512 << 20;
/// Bytes of the file whose memory counts.
const LARGE_LEN: u64 = 2 << 30;
/// Bytes that the raw rates are measured on, at a time. No longer than a piece of a file, or pieces
/// would be alike.
const CHUNK: usize = 1 << 20;

/// Content that costs nothing to make, and repeats nowhere.
struct Content {
    chunk: Vec<u8>,
    at: u64,
    len: u64,
}

impl Content {
    fn source(len: u64) -> FileSource {
        let (chunk, at) = (noise(), 0);
        FileSource::reader(Self { chunk, at, len })
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let start = (self.at % CHUNK as u64) as usize;
        if start == 0 {
            self.chunk[..8].copy_from_slice(&self.at.to_le_bytes());
        }
        let len = buffer
            .len()
            .min(CHUNK - start)
            .min((self.len - self.at) as usize);
        buffer[..len].copy_from_slice(&self.chunk[start..start + len]);
        self.at += len as u64;
        Ok(len)
    }
}

fn megabytes(bytes: u64, since: Instant) -> f64 {
    bytes as f64 / 1e6 / since.elapsed().as_secs_f64()
}

/// Bytes that no compression or page trick shortens.
fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    let word = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..CHUNK / 8).flat_map(word).collect()
}

/// Raw rates of one thread: SHA-256, AES-256-GCM.
fn raw() -> (f64, f64) {
    let mut chunk = noise();
    let rounds = 128;
    let bytes = rounds * CHUNK as u64;
    let start = Instant::now();
    for _ in 0..rounds {
        std::hint::black_box(Sha256::digest(&chunk));
    }
    let sha = megabytes(bytes, start);
    let cipher = Aes256Gcm::new(&[7; 32].into());
    let start = Instant::now();
    for _ in 0..rounds {
        let tag = cipher.encrypt_inout_detached(&[0; 12].into(), b"", (&mut chunk[..]).into());
        std::hint::black_box(&tag);
    }
    (sha, megabytes(bytes, start))
}

pub(super) async fn files(bed: Bed) -> Result<Vec<Figure>> {
    // It does not matter how documents are named.
    if bed.ids() == Ids::Generated {
        return Ok(Vec::new());
    }
    let (sha, aes) = raw();
    let both = 1.0 / (1.0 / sha + 1.0 / aes);
    let figure = |name: &str, value: f64| Figure::new(name, Ids::Both, value, "MB/s");
    let of_raw = |name: &str, value: f64, raw: f64| {
        figure(name, value).note(format!("{:.0}% of raw", 100.0 * value / raw))
    };
    let here = bed.open("files-here").await?;
    let there = bed.open("files-there").await?;
    there.keys().import(&here.keys().export()?)?;
    let put = write(&here, LEN).await?;
    let get = read(&here).await?;
    let url = bed.remote("files-hub");
    let start = Instant::now();
    here.attach(&url)?.synced().await?;
    let push = megabytes(LEN, start);
    there.attach(&url)?.synced().await?;
    let fetch = read(&there).await?;
    here.close().await?;
    there.close().await?;
    Ok(vec![
        figure("files: SHA-256, raw, one thread", sha),
        figure("files: AES-256-GCM, raw, one thread", aes),
        figure("files: one hash and one seal, raw", both),
        of_raw("files: put of 512 MiB", put, both),
        of_raw("files: get", get, aes),
        of_raw("files: push to a folder", push, both),
        of_raw("files: get from a folder", fetch, both),
    ])
}

/// A file that is far larger than the memory it takes, which the process' peak tells.
pub(super) async fn large(bed: Bed) -> Result<Vec<Figure>> {
    if bed.ids() == Ids::Generated {
        return Ok(Vec::new());
    }
    let db = bed.open("files-large").await?;
    let figures = [
        ("files: put of 2 GiB", write(&db, LARGE_LEN).await?),
        ("files: get of 2 GiB", read(&db).await?),
    ];
    db.close().await?;
    let figure = |(name, value)| Figure::new(name, Ids::Both, value, "MB/s");
    Ok(figures.map(figure).into())
}

async fn write(db: &Database, len: u64) -> Result<f64> {
    let start = Instant::now();
    db.files("doc").put("file", Content::source(len)).await?;
    Ok(megabytes(len, start))
}

async fn read(db: &Database) -> Result<f64> {
    let start = Instant::now();
    let file = db.files("doc").get("file").await?;
    let mut len = 0;
    if let Some(mut file) = file {
        while let Some(bytes) = file.chunk().await? {
            len += bytes.len() as u64;
        }
    }
    Ok(megabytes(len, start))
}
