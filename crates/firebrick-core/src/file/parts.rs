//! The CAR of one file, made without copying the content.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::salt_block;
use crate::car;
use crate::cid::{Cid, Codec};
use crate::keys::SaltKey;

/// What stands before and after the content in the CAR of a single block: the same CAR that
/// [`car_salted`](super::car_salted) makes, or [`car`](super::car()) without a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Parts {
    /// For a content of this name and length in bytes.
    #[must_use]
    pub fn new(content: &Cid, len: usize, key: Option<&SaltKey>) -> Self {
        let mut before = car::encode(&[*content], []);
        car::write_section_head(&mut before, content, len);
        let mut after = Vec::new();
        if let Some(key) = key {
            let salt = salt_block(key, [content]);
            car::write_section_head(&mut after, &salt.cid, salt.bytes.len());
            after.extend_from_slice(&salt.bytes);
        }
        Self { before, after }
    }

    /// The CAR's name, hashing the content as it comes.
    ///
    /// # Errors
    /// The first of the content's.
    pub fn try_cid<E>(
        &self,
        content: impl IntoIterator<Item = Result<Bytes, E>>,
    ) -> Result<Cid, E> {
        let mut hash = Sha256::new_with_prefix(&self.before);
        for part in content {
            hash.update(&part?);
        }
        hash.update(&self.after);
        Ok(Cid::from_digest(Codec::Car, hash.finalize().into()))
    }

    /// The whole CAR, in parts.
    #[must_use]
    pub fn around<'a>(&'a self, content: &'a [u8]) -> [&'a [u8]; 3] {
        [&self.before, content, &self.after]
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::file::{block, car, car_salted};
    use crate::keys::Key;

    #[test]
    fn the_same_cars() {
        let key = Key::generate([1; 32]).salt_key();
        for len in [0, 1, 90, 91, 92, 127, 128, 20_000] {
            let block = block(vec![7; len]);
            let cid = block.cid;
            for (expected, key) in [
                (car(&[cid], [&block]), None),
                (car_salted(&[cid], [&block], &key), Some(&key)),
            ] {
                let parts = Parts::new(&cid, len, key);
                assert_eq!(parts.around(&block.bytes).concat(), expected.bytes);
                let halves = [block.bytes.slice(..len / 2), block.bytes.slice(len / 2..)];
                let name = parts.try_cid(halves.map(Ok::<_, Infallible>));
                assert_eq!(name, Ok(expected.cid));
            }
        }
    }
}
