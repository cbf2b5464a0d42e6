//! CAR groups: what one commit writes (format §7.2, §7.3).

use bytes::Bytes;
use hashbrown::HashSet;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::block::Block;
use crate::car;
use crate::cid::{Cid, Codec};
use crate::header::CarHeader;
use crate::keys::SaltKey;

/// From this size on JavaScript begins another CAR of the group. Firebrick never does, because
/// JavaScript cannot read a ledger whose newest group has several CARs.
///
/// ```
/// use firebrick_core::group::{JS_CAR_THRESHOLD, split};
/// use firebrick_core::{file, header::CarHeader};
///
/// let blocks = [file::block(vec![1; 600_000]), file::block(vec![2; 600_000])];
/// assert_eq!(split(&CarHeader::default(), &blocks, JS_CAR_THRESHOLD).len(), 2);
/// ```
pub const JS_CAR_THRESHOLD: usize = 1_000_000;

/// A CAR in plain bytes, with its name.
///
/// ```
/// use firebrick_core::cid::{Cid, Codec};
/// use firebrick_core::group::Car;
///
/// let car = Car::new(&[], []);
/// assert_eq!(car.cid, Cid::of(Codec::Car, &car.bytes));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Car {
    /// The CID of the plain bytes.
    pub cid: Cid,
    /// The plain bytes.
    pub bytes: Bytes,
}

impl Car {
    /// Makes a CAR.
    ///
    /// ```
    /// use firebrick_core::car::CarReader;
    /// use firebrick_core::{file, group::Car};
    ///
    /// let block = file::block("waves");
    /// let car = Car::new(&[block.cid], [&block]);
    /// assert_eq!(CarReader::new(car.bytes)?.roots(), [block.cid]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new<'a>(roots: &[Cid], blocks: impl IntoIterator<Item = &'a Block>) -> Self {
        let bytes = Bytes::from(car::encode(roots, blocks));
        Self {
            cid: Cid::of(Codec::Car, &bytes),
            bytes,
        }
    }

    /// The CAR of one commit: the header, then the blocks, each CID once at its first place.
    ///
    /// ```
    /// use firebrick_core::car::CarReader;
    /// use firebrick_core::{file, group::Car, header::CarHeader};
    ///
    /// let (header, block) = (CarHeader::default(), file::block("waves"));
    /// let car = Car::commit(&header, [&block, &block]);
    /// let blocks = CarReader::new(car.bytes)?.collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(blocks, [header.encode(), block]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn commit<'a>(header: &CarHeader, blocks: impl IntoIterator<Item = &'a Block>) -> Self {
        let header = header.encode();
        Self::new(&[header.cid], &once(&header, blocks))
    }

    /// Like [`Car::commit`], with a salt in the header: same blocks and same key give the same
    /// CAR, but whoever lacks the key cannot guess contents from the name.
    ///
    /// ```
    /// use firebrick_core::{file, group::Car, header::CarHeader, keys::Key};
    ///
    /// let block = file::block("waves");
    /// let key = |n| Key::generate([n; 32]).salt_key();
    /// let car = |n| Car::commit_salted(&CarHeader::default(), [&block], &key(n));
    /// assert_eq!(car(1), car(1));
    /// assert_ne!(car(1).cid, car(2).cid);
    /// ```
    #[must_use]
    pub fn commit_salted<'a>(
        header: &CarHeader,
        blocks: impl IntoIterator<Item = &'a Block, IntoIter: Clone>,
        key: &SaltKey,
    ) -> Self {
        let blocks = blocks.into_iter();
        let header = CarHeader {
            salt: Some(salt(key, blocks.clone().map(|block| &block.cid))),
            ..header.clone()
        };
        Self::commit(&header, blocks)
    }
}

/// The salt for a CAR of these blocks.
///
/// ```
/// use firebrick_core::{file, group::salt, keys::Key};
///
/// let key = Key::generate([1; 32]).salt_key();
/// let (a, b) = (file::block("a").cid, file::block("b").cid);
/// assert_eq!(salt(&key, [&a, &b]), salt(&key, [&a, &b]));
/// assert_ne!(salt(&key, [&a, &b]), salt(&key, [&b, &a]));
/// ```
#[must_use]
pub fn salt<'a>(key: &SaltKey, blocks: impl IntoIterator<Item = &'a Cid>) -> [u8; 16] {
    // HMAC pads a short key with zeros to the hash's block.
    let mut padded = [0; 64];
    padded[..32].copy_from_slice(&key.0);
    let mut mac = <Hmac<Sha256> as KeyInit>::new((&padded).into());
    for cid in blocks {
        mac.update(&cid.to_bytes());
    }
    let full = mac.finalize().into_bytes();
    let mut salt = [0; 16];
    salt.copy_from_slice(&full[..16]);
    salt
}

/// The CARs of a group as JavaScript splits it: the first has the header as root, every further
/// one its own first block.
///
/// ```
/// use firebrick_core::car::CarReader;
/// use firebrick_core::{file, group::split, header::CarHeader};
///
/// let (small, big) = (file::block("waves"), file::block(vec![7; 5000]));
/// let cars = split(&CarHeader::default(), [&small, &big], 1000);
/// assert_eq!(cars.len(), 2);
/// assert_eq!(CarReader::new(cars[1].bytes.clone())?.roots(), [big.cid]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn split<'a>(
    header: &CarHeader,
    blocks: impl IntoIterator<Item = &'a Block>,
    threshold: usize,
) -> Vec<Car> {
    let header = header.encode();
    let blocks = once(&header, blocks);
    let mut cars = Vec::new();
    let (mut first, mut size) = (0, 0);
    for (at, block) in blocks.iter().enumerate() {
        size += car::section_len(block);
        // A CAR is never empty, so a block beyond the limit gets one of its own.
        if size >= threshold && at > first {
            cars.push(Car::new(&[blocks[first].cid], &blocks[first..at]));
            (first, size) = (at, car::section_len(block));
        }
    }
    cars.push(Car::new(&[blocks[first].cid], &blocks[first..]));
    cars
}

/// The header and the blocks, each CID once.
fn once<'a>(header: &Block, blocks: impl IntoIterator<Item = &'a Block>) -> Vec<Block> {
    let blocks = blocks.into_iter();
    let mut seen = HashSet::with_capacity(blocks.size_hint().0 + 1);
    seen.insert(header.cid);
    let mut out = vec![header.clone()];
    out.extend(blocks.filter(|block| seen.insert(block.cid)).cloned());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::car::CarReader;
    use crate::keys::Key;

    fn block(byte: u8, length: usize) -> Block {
        Block::new(Codec::Raw, vec![byte; length])
    }

    fn blocks(car: &Car) -> Vec<Block> {
        CarReader::new(car.bytes.clone())
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }

    #[test]
    fn each_block_once() {
        let (a, b) = (block(1, 5), block(2, 5));
        let header = CarHeader::default();
        let car = Car::commit(&header, [&a, &b, &a]);
        assert_eq!(blocks(&car), [header.encode(), a, b]);
    }

    #[test]
    fn salted_cars_are_deterministic_and_differ_by_key() {
        let (a, b) = (block(1, 5), block(2, 5));
        let header = CarHeader::default();
        let key = |n| Key::generate([n; 32]).salt_key();
        let car = |n| Car::commit_salted(&header, [&a, &b], &key(n));
        assert_eq!(car(1), car(1));
        assert_ne!(car(1).cid, car(2).cid);
        let read = CarHeader::decode(&blocks(&car(1))[0].bytes).unwrap();
        assert_eq!(read.salt, Some(salt(&key(1), [&a.cid, &b.cid])));
    }

    #[test]
    fn splitting() {
        let all = [block(1, 100), block(2, 5000), block(3, 100), block(4, 100)];
        let cars = split(&CarHeader::default(), &all, 1000);
        let groups: Vec<_> = cars.iter().map(|car| blocks(car).len()).collect();
        assert_eq!(groups, [2, 1, 2]);
        let roots = |car: &Car| CarReader::new(car.bytes.clone()).unwrap().roots().to_vec();
        assert_eq!(roots(&cars[1]), [all[1].cid]);
        assert_eq!(split(&CarHeader::default(), &all, 1 << 20).len(), 1);
    }
}
