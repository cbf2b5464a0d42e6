//! Files of documents (format §4.5): one raw block each, in a file CAR beside the ledger's CARs.
//!
//! A large file may be cut into pieces instead, see [`Manifest`]; that form is our own.

mod manifest;
mod parts;

use bytes::Bytes;
use hashbrown::HashSet;
use memchr::memmem;
use serde::{Deserialize, Serialize};

use crate::block::Block;
use crate::cbor::{Link, Value};
use crate::cid::{Cid, Codec};
use crate::document;
use crate::group::{Car, salt};
use crate::keys::SaltKey;

pub use manifest::{MAX_PIECE_BYTES, MAX_PIECES, Manifest, ManifestError, Piece};
pub use parts::Parts;

/// The document field with encrypted files.
///
/// ```
/// # let meta = firebrick_core::file::FileMeta {
/// #     cid: firebrick_core::file::block("waves").cid.into(),
/// #     car: vec![firebrick_core::genesis::GENESIS.car.cid.into()],
/// #     size: 5,
/// #     media_type: String::new(),
/// #     last_modified: 0,
/// # };
/// use std::collections::BTreeMap;
///
/// use firebrick_core::{document, file};
///
/// let files = BTreeMap::from([("sea.txt", meta)]);
/// let block = document::encode("summer", &BTreeMap::from([(file::FILES, files)]))?;
/// assert!(!file::entries(&block.bytes)[0].public);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const FILES: &str = "_files";
/// The document field with files that JavaScript shows a public URL for.
///
/// ```
/// # let meta = firebrick_core::file::FileMeta {
/// #     cid: firebrick_core::file::block("waves").cid.into(),
/// #     car: vec![firebrick_core::genesis::GENESIS.car.cid.into()],
/// #     size: 5,
/// #     media_type: String::new(),
/// #     last_modified: 0,
/// # };
/// use std::collections::BTreeMap;
///
/// use firebrick_core::{document, file};
///
/// let files = BTreeMap::from([("sea.txt", meta)]);
/// let block = document::encode("summer", &BTreeMap::from([(file::PUBLIC_FILES, files)]))?;
/// assert!(file::entries(&block.bytes)[0].public);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const PUBLIC_FILES: &str = "_publicFiles";

/// What a document says about one of its files.
///
/// ```
/// use firebrick_core::file::{self, FileMeta};
///
/// let content = file::block("waves");
/// let meta = FileMeta {
///     cid: content.cid.into(),
///     car: vec![file::car(&[content.cid], [&content]).cid.into()],
///     size: 5,
///     media_type: "text/plain".into(),
///     last_modified: 1_000,
/// };
/// assert_eq!(meta.content(), Some(content.cid));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileMeta {
    /// The content's raw block, or the block of the [`Manifest`] that lists its pieces.
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

impl FileMeta {
    /// The block that the entry names, if it is one of this format.
    ///
    /// ```
    /// # use firebrick_core::file::{self, FileMeta};
    /// # let content = file::block("waves");
    /// # let car = file::car(&[content.cid], [&content]);
    /// # let meta = FileMeta {
    /// #     cid: content.cid.into(),
    /// #     car: vec![car.cid.into()],
    /// #     size: 5,
    /// #     media_type: "text/plain".into(),
    /// #     last_modified: 1_000,
    /// # };
    /// assert_eq!(meta.content(), Some(content.cid));
    /// ```
    #[must_use]
    pub fn content(&self) -> Option<Cid> {
        self.cid.cid()
    }

    /// The CAR that holds it.
    ///
    /// ```
    /// # use firebrick_core::file::{self, FileMeta};
    /// # let content = file::block("waves");
    /// # let car = file::car(&[content.cid], [&content]);
    /// # let mut meta = FileMeta {
    /// #     cid: content.cid.into(),
    /// #     car: vec![car.cid.into()],
    /// #     size: 5,
    /// #     media_type: "text/plain".into(),
    /// #     last_modified: 1_000,
    /// # };
    /// assert_eq!(meta.car(), Some(car.cid));
    /// meta.car.clear();
    /// assert_eq!(meta.car(), None);
    /// ```
    #[must_use]
    pub fn car(&self) -> Option<Cid> {
        match self.car.as_slice() {
            [car] => car.cid(),
            _ => None,
        }
    }

    /// Whether the content is cut into pieces, which a [`Manifest`] lists.
    ///
    /// ```
    /// # use firebrick_core::file::{self, FileMeta};
    /// # let content = file::block("waves");
    /// # let car = file::car(&[content.cid], [&content]);
    /// # let meta = FileMeta {
    /// #     cid: content.cid.into(),
    /// #     car: vec![car.cid.into()],
    /// #     size: 5,
    /// #     media_type: "text/plain".into(),
    /// #     last_modified: 1_000,
    /// # };
    /// # use firebrick_core::file::Manifest;
    /// assert!(!meta.is_cut());
    /// let list = Manifest { size: 0, piece_bytes: 1, pieces: vec![] }.encode()?;
    /// assert!(FileMeta { cid: list.cid.into(), ..meta }.is_cut());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.content()
            .is_some_and(|cid| cid.codec() == Codec::DagCbor)
    }

    /// As it stands in a document.
    ///
    /// ```
    /// # use firebrick_core::file::{self, FileMeta};
    /// # let content = file::block("waves");
    /// # let car = file::car(&[content.cid], [&content]);
    /// # let meta = FileMeta {
    /// #     cid: content.cid.into(),
    /// #     car: vec![car.cid.into()],
    /// #     size: 5,
    /// #     media_type: "text/plain".into(),
    /// #     last_modified: 1_000,
    /// # };
    /// let value = meta.to_value();
    /// assert_eq!(value["type"].as_str(), Some("text/plain"));
    /// assert_eq!(value["size"].as_f64(), Some(5.0));
    /// ```
    #[must_use]
    pub fn to_value(&self) -> Value {
        let car = self.car.iter().cloned().map(Value::Link).collect();
        let fields = [
            ("cid", Value::Link(self.cid.clone())),
            ("car", Value::List(car)),
            ("size", Value::Int(self.size.into())),
            ("type", Value::Text(self.media_type.clone())),
            ("lastModified", Value::Int(self.last_modified.into())),
        ];
        Value::Map(fields.map(|(key, value)| (key.to_owned(), value)).into())
    }

    /// Reads what stands in a document; `None` if it is something else.
    ///
    /// ```
    /// # use firebrick_core::file::{self, FileMeta};
    /// # let content = file::block("waves");
    /// # let car = file::car(&[content.cid], [&content]);
    /// # let meta = FileMeta {
    /// #     cid: content.cid.into(),
    /// #     car: vec![car.cid.into()],
    /// #     size: 5,
    /// #     media_type: "text/plain".into(),
    /// #     last_modified: 1_000,
    /// # };
    /// use firebrick_core::cbor::Value;
    ///
    /// assert_eq!(FileMeta::from_value(&meta.to_value()), Some(meta));
    /// assert_eq!(FileMeta::from_value(&Value::Null), None);
    /// ```
    #[must_use]
    pub fn from_value(value: &Value) -> Option<Self> {
        let int = |key: &str| match value.get(key)? {
            Value::Int(number) => Some(*number),
            _ => None,
        };
        let (Value::Link(cid), Value::List(car)) = (value.get("cid")?, value.get("car")?) else {
            return None;
        };
        let link = |value: &Value| match value {
            Value::Link(link) => Some(link.clone()),
            _ => None,
        };
        Some(Self {
            cid: cid.clone(),
            car: car.iter().map(link).collect::<Option<_>>()?,
            size: int("size")?.try_into().ok()?,
            media_type: match value.get("type") {
                Some(Value::Text(text)) => text.clone(),
                _ => String::new(),
            },
            last_modified: int("lastModified")
                .and_then(|number| number.try_into().ok())
                .unwrap_or_default(),
        })
    }
}

/// A file of a document.
///
/// ```
/// # use firebrick_core::file::{self, FileMeta};
/// # let content = file::block("waves");
/// # let car = file::car(&[content.cid], [&content]);
/// # let meta = FileMeta {
/// #     cid: content.cid.into(),
/// #     car: vec![car.cid.into()],
/// #     size: 5,
/// #     media_type: "text/plain".into(),
/// #     last_modified: 1_000,
/// # };
/// # use std::collections::BTreeMap;
/// # let files = BTreeMap::from([("sea.txt", &meta)]);
/// # let document = BTreeMap::from([("_files", files)]);
/// # let block = firebrick_core::document::encode("summer", &document)?;
/// let entry = file::entries(&block.bytes).remove(0);
/// assert_eq!((entry.name.as_str(), entry.public), ("sea.txt", false));
/// assert_eq!(entry.meta.size, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Whether it is one of [`PUBLIC_FILES`].
    pub public: bool,
    /// What the document says about it.
    pub meta: FileMeta,
}

/// The files of a document block, without what is malformed; fast when there are none.
///
/// ```
/// # use firebrick_core::file::{self, FileMeta};
/// # let content = file::block("waves");
/// # let car = file::car(&[content.cid], [&content]);
/// # let meta = FileMeta {
/// #     cid: content.cid.into(),
/// #     car: vec![car.cid.into()],
/// #     size: 5,
/// #     media_type: "text/plain".into(),
/// #     last_modified: 1_000,
/// # };
/// # use std::collections::BTreeMap;
/// # let files = BTreeMap::from([("sea.txt", &meta)]);
/// # let document = BTreeMap::from([("_files", files)]);
/// # let block = firebrick_core::document::encode("summer", &document)?;
/// let names: Vec<String> = file::entries(&block.bytes).into_iter().map(|file| file.name).collect();
/// assert_eq!(names, ["sea.txt"]);
/// assert!(file::entries(b"no document").is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn entries(document: &[u8]) -> Vec<Entry> {
    #[derive(Deserialize)]
    struct Fields {
        #[serde(rename = "_files", default)]
        files: Value,
        #[serde(rename = "_publicFiles", default)]
        public: Value,
    }
    let mentions = |field: &str| memmem::find(document, field.as_bytes()).is_some();
    if !mentions(FILES) && !mentions(PUBLIC_FILES) {
        return Vec::new();
    }
    let Ok(Some(Fields { files, public })) = document::decode(document) else {
        return Vec::new();
    };
    let mut entries = Vec::new();
    for (field, public) in [(files, false), (public, true)] {
        let Value::Map(files) = field else { continue };
        entries.extend(files.into_iter().filter_map(|(name, value)| {
            let meta = FileMeta::from_value(&value)?;
            Some(Entry { name, public, meta })
        }));
    }
    entries
}

/// The URL that JavaScript shows for a file of [`PUBLIC_FILES`]. It is not stored.
///
/// ```
/// use firebrick_core::file;
///
/// let cid = file::block("waves").cid;
/// assert_eq!(file::public_url(&cid.into()), format!("https://{cid}.ipfs.w3s.link/"));
/// ```
#[must_use]
pub fn public_url(content: &Link) -> String {
    format!("https://{content}.ipfs.w3s.link/")
}

/// The block of a file's content.
///
/// ```
/// use firebrick_core::cid::Codec;
/// use firebrick_core::file;
///
/// let block = file::block("waves");
/// assert_eq!((block.cid.codec(), &*block.bytes), (Codec::Raw, &b"waves"[..]));
/// ```
#[must_use]
pub fn block(content: impl Into<Bytes>) -> Block {
    Block::new(Codec::Raw, content)
}

/// The file CAR for one field of a document: `roots` are all of its files in
/// [`iteration_order`], `added` the blocks of those that are new.
///
/// ```
/// use firebrick_core::car::CarReader;
/// use firebrick_core::file;
///
/// let (old, new) = (file::block("waves"), file::block("sand"));
/// let car = file::car(&[old.cid, new.cid], [&new]);
/// let reader = CarReader::new(car.bytes)?;
/// assert_eq!(reader.roots(), [old.cid, new.cid]);
/// assert_eq!(reader.count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn car<'a>(roots: &[Cid], added: impl IntoIterator<Item = &'a Block>) -> Car {
    Car::new(roots, &once(added))
}

/// Like [`car`], with a last block that makes the CAR's name unguessable without the key.
///
/// ```
/// use firebrick_core::file;
/// use firebrick_core::keys::Key;
///
/// let content = file::block("waves");
/// let name = |n| file::car_salted(&[content.cid], [&content], &Key::generate([n; 32]).salt_key()).cid;
/// assert_eq!(name(1), name(1));
/// assert_ne!(name(1), name(2));
/// assert_ne!(name(1), file::car(&[content.cid], [&content]).cid);
/// ```
#[must_use]
pub fn car_salted<'a>(
    roots: &[Cid],
    added: impl IntoIterator<Item = &'a Block>,
    key: &SaltKey,
) -> Car {
    let mut blocks = once(added);
    blocks.push(salt_block(key, blocks.iter().map(|block| &block.cid)));
    Car::new(roots, &blocks)
}

fn salt_block<'a>(key: &SaltKey, cids: impl IntoIterator<Item = &'a Cid>) -> Block {
    // JavaScript tries to read every block as dag-cbor; nothing in dag-cbor begins with this byte.
    let mut content = vec![SALT_MARK];
    content.extend(salt(key, cids));
    block(content)
}

/// The first byte of a salt block.
const SALT_MARK: u8 = 0xff;

/// Whether these are the bytes of a block that only salts a CAR.
///
/// ```
/// use firebrick_core::car::CarReader;
/// use firebrick_core::file;
/// # use firebrick_core::keys::Key;
/// # let key = Key::generate([1; 32]).salt_key();
///
/// let content = file::block("waves");
/// let car = file::car_salted(&[content.cid], [&content], &key);
/// let blocks = CarReader::new(car.bytes)?.collect::<Result<Vec<_>, _>>()?;
/// let salts: Vec<bool> = blocks.iter().map(|block| file::is_salt(&block.bytes)).collect();
/// assert_eq!(salts, [false, true]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn is_salt(bytes: &[u8]) -> bool {
    bytes.len() == 17 && bytes[0] == SALT_MARK
}

fn once<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> Vec<Block> {
    let mut seen = HashSet::new();
    let blocks = blocks.into_iter().filter(|block| seen.insert(block.cid));
    blocks.cloned().collect()
}

/// The order in which JavaScript visits the keys of an object that were added in this order:
/// array indexes ascending, then the others as added.
///
/// ```
/// use firebrick_core::file::iteration_order;
///
/// assert_eq!(iteration_order(["b", "10", "9", "a"]), ["9", "10", "b", "a"]);
/// ```
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
        let value: Value = crate::cbor::from_slice(&bytes).unwrap();
        assert_eq!(value, meta.to_value());
        assert_eq!(FileMeta::from_value(&value), Some(meta));
    }

    #[test]
    fn what_is_malformed_hides_nothing_else() {
        let meta = FileMeta {
            cid: block("x").cid.into(),
            car: vec![Cid::of(Codec::Car, b"x").into()],
            size: 1,
            media_type: String::new(),
            last_modified: 0,
        };
        let files = [
            ("good".to_owned(), meta.to_value()),
            ("bad".to_owned(), Value::Int(1)),
        ];
        let fields = [
            (FILES.to_owned(), Value::Map(files.into())),
            (PUBLIC_FILES.to_owned(), Value::Text("no map".into())),
        ];
        let document = document::encode("a", &Value::Map(fields.into())).unwrap();
        let found = entries(&document.bytes);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), &found[0].meta), ("good", &meta));
        let without = document::encode("a", &Value::Map([].into())).unwrap();
        assert_eq!(entries(&without.bytes), []);
        assert_eq!(entries(b"_files"), []);
    }
}
