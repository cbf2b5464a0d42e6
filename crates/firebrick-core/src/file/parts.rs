//! The CAR of one file, made without copying the content.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::salt_block;
use crate::car;
use crate::cid::{Cid, Codec};
use crate::keys::SaltKey;

/// What stands before and after the content in the CAR of a single block: the same CAR that
/// [`car_salted`](super::car_salted) makes, or [`car`](super::car()) without a key.
///
/// ```
/// use firebrick_core::file::{self, Parts};
///
/// let content = file::block("waves");
/// let parts = Parts::new(&content.cid, 5, None);
/// assert_eq!(parts.around(b"waves").concat(), file::car(&[content.cid], [&content]).bytes);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Parts {
    /// For a content of this name and length in bytes.
    ///
    /// ```
    /// use firebrick_core::file::{self, Parts};
    /// # use firebrick_core::keys::Key;
    /// # let key = Key::generate([1; 32]).salt_key();
    ///
    /// let cid = file::block("waves").cid;
    /// let (plain, salted) = (Parts::new(&cid, 5, None), Parts::new(&cid, 5, Some(&key)));
    /// assert!(plain.around(b"waves")[2].is_empty());
    /// assert!(!salted.around(b"waves")[2].is_empty()); // the block with the salt
    /// ```
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
    /// ```
    /// use std::convert::Infallible;
    ///
    /// use bytes::Bytes;
    /// use firebrick_core::file::{self, Parts};
    ///
    /// let content = file::block("waves");
    /// let chunks = ["wa", "ves"].map(|text| Ok::<_, Infallible>(Bytes::from(text)));
    /// let name = Parts::new(&content.cid, 5, None).try_cid(chunks)?;
    /// assert_eq!(name, file::car(&[content.cid], [&content]).cid);
    /// # Ok::<(), Infallible>(())
    /// ```
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
    ///
    /// ```
    /// use firebrick_core::file::{self, Parts};
    ///
    /// let parts = Parts::new(&file::block("waves").cid, 5, None);
    /// let [before, content, after] = parts.around(b"waves");
    /// assert!(!before.is_empty() && content == b"waves" && after.is_empty());
    /// ```
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
