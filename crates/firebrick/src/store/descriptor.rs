//! `firebrick.json`: what a directory is, and how to open it.
//!
//! The file is written once, before anything else, and again by an upgrade. The header of each
//! segment of the log repeats it, so a lost or damaged one is restored.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::disk::{self, Disk, LOCK_FILE};
use super::frame::{SEGMENT_HEADER_BYTES, read_segment_header};
use super::vault::{StoreKey, Vault};

/// Name of the file.
pub(crate) const FILE: &str = "firebrick.json";

/// Present while a store is being destroyed.
pub(crate) const DOOMED_FILE: &str = "firebrick.json.destroyed";

/// The version that this program writes.
pub(crate) const VERSION: u32 = 1;

const FORMAT: &str = "firebrick-store";
const SEALED: &str = "aes-256-gcm";
const PLAIN: &str = "none";

/// How to open a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Descriptor {
    /// Version of the layout of the directory.
    pub(crate) version: u32,
    /// Whether the store is encrypted.
    pub(crate) sealed: bool,
    /// Makes the subkeys of each store its own.
    pub(crate) salt: [u8; 32],
    /// Tells whether a key is the right one.
    pub(crate) check: [u8; 16],
    /// What people call the key, so that a message can name it where it is missing. Not
    /// authenticated, and absent from segments.
    pub(crate) fingerprint: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: String,
    version: u32,
    cipher: String,
    salt: String,
    check: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl Descriptor {
    fn to_json(&self) -> Vec<u8> {
        let file = File {
            format: FORMAT.to_owned(),
            version: self.version,
            cipher: if self.sealed { SEALED } else { PLAIN }.to_owned(),
            salt: hex(&self.salt),
            check: hex(&self.check),
            key: self.fingerprint.clone(),
        };
        let mut json = serde_json::to_vec_pretty(&file).unwrap_or_default();
        json.push(b'\n');
        json
    }

    fn from_json(json: &[u8]) -> Result<Self, String> {
        let value: serde_json::Value = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        if value.get("format").and_then(serde_json::Value::as_str) != Some(FORMAT) {
            return Err(format!("{FILE} is not one of a store"));
        }
        // A newer version may have other fields; its number is all that matters then.
        let version = value
            .get("version")
            .and_then(serde_json::Value::as_u64)
            .and_then(|version| u32::try_from(version).ok())
            .ok_or("no version")?;
        if version > VERSION {
            return Ok(Self {
                version,
                sealed: true,
                salt: [0; 32],
                check: [0; 16],
                fingerprint: None,
            });
        }
        let file: File = serde_json::from_value(value).map_err(|e| e.to_string())?;
        Ok(Self {
            version,
            sealed: match file.cipher.as_str() {
                SEALED => true,
                PLAIN => false,
                other => return Err(format!("unknown cipher {other:?}")),
            },
            salt: unhex(&file.salt).ok_or("bad salt")?,
            check: unhex(&file.check).ok_or("bad check value")?,
            fingerprint: file.key,
        })
    }

    /// Replaces the file.
    pub(crate) fn write(&self, disk: &dyn Disk) -> Result<(), StoreError> {
        disk::replace_file(disk, FILE, &self.to_json())
            .map_err(|e| StoreError::io(format!("write {FILE}"), e))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut out = [0; N];
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(out)
}

/// What lies in a directory.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing, or what a crash while making a store leaves.
    Nothing,
    /// A store that was being destroyed.
    Doomed,
    /// A store, with the descriptions of it that were found: the file's first, then those of the
    /// segments. At least one.
    Store(Vec<Descriptor>),
}

/// Looks what lies in the directory, without changing anything.
pub(crate) fn look(disk: &dyn Disk) -> Result<Found, StoreError> {
    let read = |e| StoreError::io(format!("read {}", disk.path().display()), e);
    let mut found = Vec::new();
    let mut reason = format!("{FILE} is missing");
    if let Some(json) = disk::read_file(disk, FILE).map_err(read)? {
        match Descriptor::from_json(&json) {
            Ok(descriptor) => found.push(descriptor),
            Err(bad) => reason = bad,
        }
    } else if disk.open(DOOMED_FILE, false).map_err(read)?.is_some() {
        return Ok(Found::Doomed);
    }
    // Reading the segments is for the rare case only, but a salt that rotted looks like a wrong key,
    // so the caller wants the first one anyway.
    for name in disk.list("log").map_err(read)? {
        let Some(file) = disk.open(&format!("log/{name}"), false).map_err(read)? else {
            continue;
        };
        let mut header = [0; SEGMENT_HEADER_BYTES];
        file.read_at(&mut header, 0).map_err(read)?;
        if let Some((descriptor, _)) = read_segment_header(&header) {
            found.push(descriptor);
            break;
        }
    }
    if !found.is_empty() {
        return Ok(Found::Store(found));
    }
    let temporary = format!("{FILE}.tmp");
    let ours = [LOCK_FILE, "log", "index", temporary.as_str()];
    let mut names = disk.list("").map_err(read)?;
    names.retain(|name| !ours.contains(&name.as_str()));
    let inside = [disk.list("log"), disk.list("index")];
    let empty = names.is_empty() && inside.iter().flatten().all(Vec::is_empty);
    if empty && disk.open(FILE, false).map_err(read)?.is_none() {
        return Ok(Found::Nothing);
    }
    Err(StoreError::Foreign {
        path: disk.path().to_owned(),
        reason,
    })
}

/// Chooses the description that fits the key, and makes the vault for it.
pub(crate) fn unlock(
    path: PathBuf,
    candidates: &[Descriptor],
    key: Option<&StoreKey>,
    random: [u8; 12],
) -> Result<(Descriptor, Vault), StoreError> {
    if let Some(newer) = candidates.iter().find(|found| found.version > VERSION) {
        return Err(StoreError::Newer {
            path,
            found: newer.version,
            supported: VERSION,
        });
    }
    for descriptor in candidates {
        if descriptor.sealed != key.is_some() {
            continue;
        }
        let vault = Vault::new(key, &descriptor.salt, random);
        if *vault.check() == descriptor.check {
            return Ok((descriptor.clone(), vault));
        }
    }
    let words = |sealed| {
        if sealed {
            "is encrypted"
        } else {
            "is not encrypted"
        }
    };
    match candidates.first() {
        Some(first) if first.sealed != key.is_some() => Err(StoreError::CipherMismatch {
            path,
            found: words(first.sealed),
            asked: words(key.is_some()),
        }),
        _ => Err(StoreError::WrongKey { path }),
    }
}

/// The fingerprint of the key that the store in this directory was made with, as far as it says so.
pub(crate) fn fingerprint(directory: &std::path::Path) -> Option<String> {
    let json = std::fs::read(directory.join(FILE)).ok()?;
    Descriptor::from_json(&json).ok()?.fingerprint
}

/// Whether the file says just this.
pub(crate) fn is_written(disk: &dyn Disk, descriptor: &Descriptor) -> bool {
    let json = disk::read_file(disk, FILE).ok().flatten();
    json.is_some_and(|json| Descriptor::from_json(&json).as_ref() == Ok(descriptor))
}

/// Makes a directory one whose store is being destroyed. A crash from here on leaves no store.
pub(crate) fn doom(disk: &dyn Disk, candidates: &[Descriptor]) -> Result<(), StoreError> {
    if let Some(newer) = candidates.iter().find(|found| found.version > VERSION) {
        return Err(StoreError::Newer {
            path: disk.path().to_owned(),
            found: newer.version,
            supported: VERSION,
        });
    }
    let doom = || {
        if disk.open(FILE, false)?.is_none() {
            disk::replace_file(disk, FILE, b"")?;
        }
        disk.rename(FILE, DOOMED_FILE)?;
        disk.sync_directory("")
    };
    doom().map_err(|e| StoreError::io("remove the store", e))
}

/// One step of an upgrade. It must be repeatable: a crash in it means that it runs again.
pub(crate) type Step = fn(&dyn Disk) -> std::io::Result<()>;

/// The steps from each version to the next.
///
/// Version 0 was never released. It had the same log and kept the index in another form, which is
/// derived from the log: removing it is the whole upgrade.
pub(crate) const STEPS: [Step; VERSION as usize] = [|disk| {
    disk.remove(super::checkpoint::FILE)?;
    for name in disk.list("index")? {
        disk.remove(&format!("index/{name}"))?;
    }
    disk.sync_directory("index")
}];

/// Brings a store to the present version. The description is replaced after each step, so a crash
/// leaves either version, and what was done is not lost.
pub(crate) fn upgrade(disk: &dyn Disk, descriptor: &mut Descriptor) -> Result<(), StoreError> {
    while let Some(step) = STEPS.get(descriptor.version as usize) {
        step(disk).map_err(|e| {
            StoreError::io(
                format!("upgrade the store from version {}", descriptor.version),
                e,
            )
        })?;
        descriptor.version += 1;
        descriptor.write(disk)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_round_trip_and_refusals() {
        let descriptor = Descriptor {
            version: 1,
            sealed: true,
            salt: [7; 32],
            check: [200; 16],
            fingerprint: Some("zabc".into()),
        };
        let json = descriptor.to_json();
        assert_eq!(Descriptor::from_json(&json), Ok(descriptor));
        assert!(Descriptor::from_json(b"{}").is_err());
        assert!(Descriptor::from_json(&json[..json.len() / 2]).is_err());
        let newer = Descriptor::from_json(br#"{"format":"firebrick-store","version":9}"#).unwrap();
        assert_eq!(newer.version, 9);
        let text = String::from_utf8(json).unwrap();
        assert!(Descriptor::from_json(text.replace("c8", "é").as_bytes()).is_err());
    }
}
