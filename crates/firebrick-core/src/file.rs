//! Files of documents (format §4.5): one raw block each, in a file CAR beside the ledger's CARs.

use bytes::Bytes;
use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

use crate::block::Block;
use crate::cbor::Link;
use crate::cid::{Cid, Codec};
use crate::group::{Car, salt};
use crate::keys::SaltKey;

/// The document field with encrypted files.
pub const FILES: &str = "_files";
/// The document field with files that JavaScript shows a public URL for.
pub const PUBLIC_FILES: &str = "_publicFiles";

/// What a document says about one of its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileMeta {
    /// The content's raw block.
    pub cid: Link,
    /// The file CAR that holds it: a list with one link.
    pub car: Vec<Link>,
    /// Length of the content in bytes.
    pub size: u64,
    /// The media type; may be empty.
    #[serde(rename = "type", default)]
    pub media_type: String,
    /// Milliseconds since the Unix epoch.
    #[serde(default)]
    pub last_modified: i64,
}

/// The URL that JavaScript shows for a file of [`PUBLIC_FILES`]. It is not stored.
#[must_use]
pub fn public_url(content: &Link) -> String {
    format!("https://{content}.ipfs.w3s.link/")
}

/// The block of a file's content.
#[must_use]
pub fn block(content: impl Into<Bytes>) -> Block {
    Block::new(Codec::Raw, content)
}

/// The file CAR for one field of a document: `roots` are all of its files in
/// [`iteration_order`], `added` the blocks of those that are new.
#[must_use]
pub fn car<'a>(roots: &[Cid], added: impl IntoIterator<Item = &'a Block>) -> Car {
    Car::new(roots, &once(added))
}

/// Like [`car`], with a last block that makes the CAR's name unguessable without the key.
#[must_use]
pub fn car_salted<'a>(
    roots: &[Cid],
    added: impl IntoIterator<Item = &'a Block>,
    key: &SaltKey,
) -> Car {
    let mut blocks = once(added);
    // JavaScript tries to read every block as dag-cbor; nothing in dag-cbor begins with this byte.
    let mut content = vec![0xff];
    content.extend(salt(key, blocks.iter().map(|block| &block.cid)));
    blocks.push(block(content));
    Car::new(roots, &blocks)
}

fn once<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> Vec<Block> {
    let mut seen = HashSet::new();
    let blocks = blocks.into_iter().filter(|block| seen.insert(block.cid));
    blocks.cloned().collect()
}

/// The order in which JavaScript visits the keys of an object that were added in this order:
/// array indexes ascending, then the others as added.
#[must_use]
pub fn iteration_order<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<_> = names.into_iter().collect();
    let index = |name: &str| {
        let number: u32 = name.parse().ok()?;
        (number < u32::MAX && number.to_string() == name).then_some(number)
    };
    names.sort_by_key(|name| index(name).map_or(u64::MAX, u64::from));
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::car::CarReader;
    use crate::keys::Key;

    #[test]
    fn array_indexes_come_first() {
        let names = ["b", "10", "9", "a", "01", "-1", "4294967295", "0"];
        assert_eq!(
            iteration_order(names),
            ["0", "9", "10", "b", "a", "01", "-1", "4294967295"]
        );
    }

    #[test]
    fn equal_contents_are_stored_once() {
        let (a, b) = (block("a"), block("b"));
        let key = Key::generate([1; 32]).salt_key();
        let roots = [a.cid, b.cid, a.cid];
        for (car, count) in [
            (car(&roots, [&a, &b, &a]), 2),
            (car_salted(&roots, [&a, &b, &a], &key), 3),
        ] {
            let reader = CarReader::new(car.bytes).unwrap();
            assert_eq!(reader.roots(), roots);
            assert_eq!(reader.filter_map(Result::ok).count(), count);
        }
    }

    #[test]
    fn what_a_document_says() {
        let meta = FileMeta {
            cid: block("x").cid.into(),
            car: vec![Cid::of(Codec::Car, b"x").into()],
            size: 1,
            media_type: "text/plain".into(),
            last_modified: 5,
        };
        let bytes = crate::cbor::to_vec(&meta).unwrap();
        assert_eq!(crate::cbor::from_slice::<FileMeta>(&bytes).unwrap(), meta);
    }
}
