//! Sealing what goes to the disk.
//!
//! From the caller's store key and the store's salt come subkeys (HKDF-SHA256): one seals metadata,
//! one seals blocks, one makes names, and one makes the keys of files beside the log. Each store
//! has its own salt, so stores that share a store key share nothing else.
//!
//! **Names.** A block's CID is a hash of its plaintext, so whoever sees it can test guesses. On the
//! disk a block therefore goes by its *name*: a pseudorandom function of the CID (CBC-MAC with
//! AES-256 over its 33 significant bytes, a fixed length).
//!
//! **Nonces of blocks** are the first 12 bytes of the name. A CID fixes its plaintext and the form
//! in which it is stored, so sealing the same CID twice makes the same bytes and reveals only that they
//! are the same. The codec is part of
//! the name, because the same digest under another codec has other associated data, and two tags
//! under one nonce would reveal the authentication key.
//!
//! **Nonces of metadata** begin with 12 random bytes at each open and count up from there.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use aes::Aes256;
use aes::cipher::{Block as AesBlock, BlockCipherEncrypt};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use bytes::Bytes;
use firebrick_core::Cid;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::pack::unpack;

/// Bytes that a tag adds.
pub(crate) const TAG_BYTES: usize = 16;

/// Bytes of a nonce.
pub(crate) const NONCE_BYTES: usize = 12;

/// The key that a store is sealed with. Wiped from memory when dropped.
///
/// ```
/// use firebrick::store::{LogOptions, LogStore, StoreError, StoreKey};
/// # let dir = tempfile::tempdir().unwrap();
/// let open = |byte| {
///     let key = StoreKey::new([byte; 32]);
///     LogStore::open(dir.path().join("store"), &LogOptions::sealed(key))
/// };
/// open(1)?;
/// assert!(matches!(open(2), Err(StoreError::WrongKey { .. })));
/// # Ok::<(), StoreError>(())
/// ```
#[derive(Clone)]
pub struct StoreKey {
    bytes: Zeroizing<[u8; 32]>,
    fingerprint: Option<String>,
}

impl StoreKey {
    /// A key from 32 bytes, which must be random or derived from a secret.
    ///
    /// ```
    /// use firebrick::store::StoreKey;
    /// let mut bytes = [0; 32];
    /// getrandom::fill(&mut bytes).expect("the system has randomness");
    /// let key = StoreKey::new(bytes);
    /// assert_eq!(format!("{key:?}"), "StoreKey(…)"); // never in a log
    /// ```
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self {
            bytes: Zeroizing::new(bytes),
            fingerprint: None,
        }
    }

    /// The same key with a public name, which stores remember in the clear: an error can then say
    /// which key is missing.
    ///
    /// ```
    /// use firebrick::store::{LogOptions, StoreKey};
    /// let key = StoreKey::new([7; 32]).named("the key of this laptop");
    /// let options = LogOptions::sealed(key);
    /// assert!(options.key.is_some());
    /// ```
    #[must_use]
    pub fn named(self, fingerprint: impl Into<String>) -> Self {
        Self {
            fingerprint: Some(fingerprint.into()),
            ..self
        }
    }

    pub(crate) fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey(…)")
    }
}

/// What a block is called on the disk.
pub(crate) type Name = u128;

/// Seals and opens everything that a store writes.
pub(crate) struct Vault {
    /// `None` in a store without encryption, which has the same layout but no tags.
    ciphers: Option<Ciphers>,
    names: Aes256,
    files: Zeroizing<[u8; 32]>,
    check: [u8; 16],
    nonce_prefix: [u8; 4],
    nonce_counter: AtomicU64,
}

struct Ciphers {
    meta: Aes256Gcm,
    blocks: Aes256Gcm,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("sealed", &self.ciphers.is_some())
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// `random` must be fresh in each process that opens the store for writing.
    pub(crate) fn new(key: Option<&StoreKey>, salt: &[u8; 32], random: [u8; NONCE_BYTES]) -> Self {
        // Without encryption the names are keyed by the salt alone, which hides nothing.
        let secret = key.map_or([0; 32], |key| *key.bytes);
        let derive = Hkdf::<Sha256>::new(Some(salt), &secret);
        let subkey = |purpose: &str| {
            let mut out = Zeroizing::new([0; 32]);
            derive
                .expand_multi_info(&[b"firebrick store 1 ", purpose.as_bytes()], &mut *out)
                .expect("32 bytes is a valid length for HKDF");
            out
        };
        let [a, b, c, d, counter @ ..] = random;
        let mut check = [0; 16];
        check.copy_from_slice(&subkey("check")[..16]);
        Self {
            ciphers: key.map(|_| Ciphers {
                meta: Aes256Gcm::new(&(*subkey("metadata")).into()),
                blocks: Aes256Gcm::new(&(*subkey("blocks")).into()),
            }),
            names: Aes256::new(&(*subkey("names")).into()),
            files: subkey("files"),
            check,
            nonce_prefix: [a, b, c, d],
            nonce_counter: AtomicU64::new(u64::from_le_bytes(counter)),
        }
    }

    /// A value that tells whether a key is the right one, and nothing about it.
    pub(crate) fn check(&self) -> &[u8; 16] {
        &self.check
    }

    /// Whether anything is encrypted.
    pub(crate) fn is_sealed(&self) -> bool {
        self.ciphers.is_some()
    }

    /// Bytes that sealing adds.
    pub(crate) fn overhead(&self) -> usize {
        if self.ciphers.is_some() { TAG_BYTES } else { 0 }
    }

    /// The name of a block.
    pub(crate) fn name(&self, cid: &Cid) -> Name {
        let mut block = [first_block(cid)];
        self.name_blocks(std::iter::once(cid), &mut block);
        as_name(&block[0])
    }

    /// The cipher of one file beside the log, which has a salt of its own. There is one in a store
    /// without encryption too: its key is no secret, but its tags find damage.
    pub(crate) fn file_cipher(&self, salt: &[u8; 32]) -> Aes256Gcm {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(salt), &*self.files)
            .expand(b"firebrick file 1", &mut *key)
            .expect("32 bytes is a valid length for HKDF");
        Aes256Gcm::new(&(*key).into())
    }

    /// The names of many blocks, side by side: much faster than one after the other.
    pub(crate) fn names<'a>(&self, cids: impl Iterator<Item = &'a Cid> + Clone) -> Vec<Name> {
        let mut blocks: Vec<_> = cids.clone().map(first_block).collect();
        self.name_blocks(cids, &mut blocks);
        blocks.iter().map(as_name).collect()
    }

    /// Turns the first halves of digests into names.
    fn name_blocks<'a>(
        &self,
        cids: impl Iterator<Item = &'a Cid> + Clone,
        blocks: &mut [AesBlock<Aes256>],
    ) {
        self.names.encrypt_blocks(blocks);
        for (block, cid) in blocks.iter_mut().zip(cids.clone()) {
            xor(&mut block.0, &halves(cid.digest())[1]);
        }
        self.names.encrypt_blocks(blocks);
        for (block, cid) in blocks.iter_mut().zip(cids) {
            block.0[0] ^= cid.codec() as u8;
        }
        self.names.encrypt_blocks(blocks);
    }

    /// A nonce that was never used before under the metadata key.
    pub(crate) fn fresh_nonce(&self) -> [u8; NONCE_BYTES] {
        let count = self.nonce_counter.fetch_add(1, Ordering::Relaxed);
        let mut nonce = [0; NONCE_BYTES];
        nonce[..4].copy_from_slice(&self.nonce_prefix);
        nonce[4..].copy_from_slice(&count.to_le_bytes());
        nonce
    }

    /// Seals `out[start..]` in place and appends the tag.
    pub(crate) fn seal_meta(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        out: &mut Vec<u8>,
        start: usize,
    ) {
        if let Some(ciphers) = &self.ciphers {
            seal(&ciphers.meta, nonce, associated, out, start);
        }
    }

    /// Opens sealed metadata in place; `None` if it is not authentic.
    pub(crate) fn open_meta<'a>(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        match &self.ciphers {
            Some(ciphers) => open(&ciphers.meta, nonce, associated, sealed),
            None => Some(sealed),
        }
    }

    /// Appends a sealed block to `out`, given in the form that is stored.
    pub(crate) fn seal_block(&self, cid: &Cid, name: Name, packed: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(packed);
        if let Some(ciphers) = &self.ciphers {
            seal(
                &ciphers.blocks,
                &block_nonce(name),
                &cid.to_bytes(),
                out,
                start,
            );
        }
    }

    /// Opens a sealed block; `None` if it is not what was sealed for this CID.
    pub(crate) fn open_block(&self, cid: &Cid, name: Name, mut sealed: Vec<u8>) -> Option<Bytes> {
        let stored = self.open_block_in_place(cid, name, &mut sealed)?;
        sealed.truncate(stored);
        self.unpack_block(cid, sealed.into())
    }

    /// Opens a sealed block where it is and answers the length of the form that is stored. Leaves the
    /// bytes as they are if they are not what was sealed for this CID.
    pub(crate) fn open_block_in_place(
        &self,
        cid: &Cid,
        name: Name,
        sealed: &mut [u8],
    ) -> Option<usize> {
        match &self.ciphers {
            Some(ciphers) => {
                let associated = cid.to_bytes();
                let nonce = block_nonce(name);
                open(&ciphers.blocks, &nonce, &associated, sealed).map(<[u8]>::len)
            }
            None => Some(sealed.len()),
        }
    }

    /// The block from the form that is stored. What nothing seals is proved by its hash.
    pub(crate) fn unpack_block(&self, cid: &Cid, stored: Bytes) -> Option<Bytes> {
        let plain = unpack(cid, stored)?;
        (self.ciphers.is_some() || cid.matches(&plain)).then_some(plain)
    }
}

fn first_block(cid: &Cid) -> AesBlock<Aes256> {
    halves(cid.digest())[0].into()
}

fn as_name(block: &AesBlock<Aes256>) -> Name {
    u128::from_be_bytes(block.0)
}

fn halves(digest: &[u8; 32]) -> [[u8; 16]; 2] {
    let mut halves = [[0; 16]; 2];
    halves[0].copy_from_slice(&digest[..16]);
    halves[1].copy_from_slice(&digest[16..]);
    halves
}

fn xor(to: &mut [u8; 16], with: &[u8; 16]) {
    for (to, with) in to.iter_mut().zip(with) {
        *to ^= with;
    }
}

fn block_nonce(name: Name) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(&name.to_be_bytes()[..NONCE_BYTES]);
    nonce
}

pub(crate) fn seal(
    cipher: &Aes256Gcm,
    nonce: &[u8; NONCE_BYTES],
    associated: &[u8],
    out: &mut Vec<u8>,
    start: usize,
) {
    let tag = cipher
        .encrypt_inout_detached(&(*nonce).into(), associated, (&mut out[start..]).into())
        .expect("commits are far below the 64 GiB that one nonce can seal");
    out.extend_from_slice(&tag);
}

pub(crate) fn open<'a>(
    cipher: &Aes256Gcm,
    nonce: &[u8; NONCE_BYTES],
    associated: &[u8],
    sealed: &'a mut [u8],
) -> Option<&'a [u8]> {
    let plain = sealed.len().checked_sub(TAG_BYTES)?;
    let (text, tag) = sealed.split_at_mut(plain);
    let tag: [u8; TAG_BYTES] = (&*tag).try_into().ok()?;
    cipher
        .decrypt_inout_detached(
            &(*nonce).into(),
            associated,
            (&mut *text).into(),
            &tag.into(),
        )
        .ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firebrick_core::cid::Codec;

    fn with_key(key: u8) -> Vault {
        Vault::new(Some(&StoreKey::new([key; 32])), &[9; 32], [0; 12])
    }

    #[test]
    fn a_block_opens_only_under_its_own_cid_and_key() {
        let plain = b"some bytes";
        let cid = Cid::of(Codec::Raw, plain);
        let other = Cid::from_digest(Codec::DagCbor, *cid.digest());
        let vault = with_key(1);
        let name = vault.name(&cid);
        assert_ne!(name, vault.name(&other), "the codec is part of the name");
        let many: Vec<Cid> = [cid, other].into_iter().cycle().take(99).collect();
        let one_by_one: Vec<Name> = many.iter().map(|cid| vault.name(cid)).collect();
        assert_eq!(vault.names(many.iter()), one_by_one);
        let mut sealed = Vec::new();
        vault.seal_block(&cid, name, plain, &mut sealed);
        assert_eq!(sealed.len(), plain.len() + vault.overhead());
        let open = |vault: &Vault, cid, sealed| vault.open_block(cid, vault.name(cid), sealed);
        assert_eq!(
            open(&vault, &cid, sealed.clone()).as_deref(),
            Some(&plain[..])
        );
        assert_eq!(open(&vault, &other, sealed.clone()), None);
        assert_eq!(open(&with_key(2), &cid, sealed.clone()), None);
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert_eq!(open(&vault, &cid, flipped), None);
        }
        assert_eq!(open(&vault, &cid, sealed[..5].to_vec()), None);
    }

    #[test]
    fn without_encryption_the_hash_is_checked() {
        let vault = Vault::new(None, &[9; 32], [0; 12]);
        let cid = Cid::of(Codec::Raw, b"x");
        let mut out = Vec::new();
        vault.seal_block(&cid, vault.name(&cid), b"x", &mut out);
        assert_eq!(out, b"x");
        assert!(vault.open_block(&cid, vault.name(&cid), out).is_some());
        assert!(
            vault
                .open_block(&cid, vault.name(&cid), b"y".to_vec())
                .is_none()
        );
    }

    #[test]
    fn nonces_of_metadata_never_repeat_and_survive_overflow() {
        let vault = Vault::new(None, &[9; 32], [255; 12]);
        let a = vault.fresh_nonce();
        let b = vault.fresh_nonce();
        assert_ne!(a, b);
    }

    #[test]
    fn keys_do_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", StoreKey::new([0x41; 32])), "StoreKey(…)");
        assert!(!format!("{:?}", with_key(0x41)).contains("65"));
    }
}
