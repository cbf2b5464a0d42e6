//! The header block of a CAR group: `{fp: {cars, meta, compact}}` (format §7.2, §13.1).

use serde::Deserialize;

use crate::block::Block;
use crate::cbor::{self, CborError, Link, Writer};
use crate::cid::{Cid, Codec};

/// What the root block of a CAR group says.
///
/// ```
/// use firebrick_core::car::CarReader;
/// use firebrick_core::genesis::GENESIS;
/// use firebrick_core::header::CarHeader;
///
/// let header = CarHeader { head: Some(vec![GENESIS.event.cid]), ..CarHeader::default() };
/// assert!(header.cars.is_empty() && header.indexes.is_none());
/// assert_eq!(CarReader::new(GENESIS.car_bytes())?.roots(), [header.encode().cid]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CarHeader {
    /// The other live CAR groups, newest first.
    pub cars: Vec<Vec<Cid>>,
    /// The CAR groups that this one replaces.
    pub compact: Vec<Vec<Cid>>,
    /// The clock head after the commit; absent in index groups.
    pub head: Option<Vec<Cid>>,
    /// The indexes; absent in data groups.
    pub indexes: Option<Vec<IndexMeta>>,
    /// Makes the CAR's name unguessable for whoever lacks the key; JavaScript has none.
    pub salt: Option<[u8; 16]>,
    /// CARs whose blocks have moved into other live groups lately. Firebrick tells its peers so;
    /// `compact` stays empty, because a JavaScript compaction deletes what stands there.
    pub replaced: Vec<Cid>,
}

/// One index in the header of an index group.
///
/// ```
/// use firebrick_core::header::{CarHeader, IndexMeta};
///
/// let index = IndexMeta {
///     name: "text".into(),
///     map: "(doc) => doc.text".into(),
///     by_id: None,
///     by_key: None,
///     head: vec![],
/// };
/// let header = CarHeader { indexes: Some(vec![index]), ..CarHeader::default() };
/// assert_eq!(CarHeader::decode(&header.encode().bytes)?, header);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexMeta {
    /// The index's name, see [`crate::index::name`].
    pub name: String,
    /// The source text of what it maps documents by.
    pub map: String,
    /// Root of the tree by document id; JavaScript may leave it out for an index without rows.
    pub by_id: Option<Cid>,
    /// Root of the tree by key.
    pub by_key: Option<Cid>,
    /// The clock head of the data that the index reflects.
    pub head: Vec<Cid>,
}

impl CarHeader {
    /// The header block.
    ///
    /// ```
    /// use firebrick_core::cbor::{self, Value};
    /// use firebrick_core::header::CarHeader;
    ///
    /// let block = CarHeader::default().encode();
    /// let value: Value = cbor::from_slice(&block.bytes)?;
    /// assert_eq!(value["fp"]["cars"].as_list(), Some(&[][..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn encode(&self) -> Block {
        let groups = self.cars.iter().chain(&self.compact).map(Vec::len);
        let mut out = Writer::with_capacity(128 + groups.map(|n| 42 * n).sum::<usize>());
        out.map(1);
        out.text("fp");
        out.map(3);
        out.text("cars");
        write_groups(&mut out, &self.cars);
        out.text("meta");
        let fields = [
            self.head.is_some(),
            self.salt.is_some(),
            self.indexes.is_some(),
            !self.replaced.is_empty(),
        ];
        out.map(fields.iter().filter(|is_there| **is_there).count());
        if let Some(head) = &self.head {
            out.text("head");
            write_links(&mut out, head);
        }
        if let Some(salt) = &self.salt {
            out.text("salt");
            out.bytes(salt);
        }
        if let Some(indexes) = &self.indexes {
            out.text("indexes");
            write_indexes(&mut out, indexes);
        }
        if !self.replaced.is_empty() {
            out.text("replaced");
            write_links(&mut out, &self.replaced);
        }
        out.text("compact");
        write_groups(&mut out, &self.compact);
        Block::new(Codec::DagCbor, out.into_vec())
    }

    /// Reads a header block. Missing lists are empty, unknown fields are skipped.
    ///
    /// ```
    /// use firebrick_core::header::CarHeader;
    ///
    /// let header = CarHeader { salt: Some([7; 16]), ..CarHeader::default() };
    /// assert_eq!(CarHeader::decode(&header.encode().bytes)?.salt, Some([7; 16]));
    /// assert!(CarHeader::decode(b"waves").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CborError`] if the bytes are not a header.
    pub fn decode(block: &[u8]) -> Result<Self, CborError> {
        let Outer { fp } = cbor::from_slice(block)?;
        let indexes = fp.meta.indexes.map(|indexes| {
            let entries = indexes.into_iter().map(|(name, index)| {
                Ok(IndexMeta {
                    name: index.name.unwrap_or(name),
                    map: index.map,
                    by_id: index.by_id.map(cid).transpose()?,
                    by_key: index.by_key.map(cid).transpose()?,
                    head: cids(index.head)?,
                })
            });
            entries.collect::<Result<_, CborError>>()
        });
        Ok(Self {
            cars: fp.cars.into_iter().map(cids).collect::<Result<_, _>>()?,
            compact: fp.compact.into_iter().map(cids).collect::<Result<_, _>>()?,
            head: fp.meta.head.map(cids).transpose()?,
            indexes: indexes.transpose()?,
            salt: fp.meta.salt.and_then(|salt| salt.as_ref().try_into().ok()),
            replaced: cids(fp.meta.replaced)?,
        })
    }
}

fn write_links(out: &mut Writer, cids: &[Cid]) {
    out.list(cids.len());
    for cid in cids {
        out.link(cid);
    }
}

fn write_groups(out: &mut Writer, groups: &[Vec<Cid>]) {
    out.list(groups.len());
    for group in groups {
        write_links(out, group);
    }
}

fn write_indexes(out: &mut Writer, indexes: &[IndexMeta]) {
    let mut sorted: Vec<_> = indexes.iter().collect();
    sorted.sort_by_key(|index| (index.name.len(), index.name.as_str()));
    // A later entry of the same name replaces the earlier one, as in a map.
    sorted.reverse();
    sorted.dedup_by_key(|index| index.name.as_str());
    sorted.reverse();
    out.map(sorted.len());
    for index in sorted {
        out.text(&index.name);
        let trees = usize::from(index.by_id.is_some()) + usize::from(index.by_key.is_some());
        out.map(3 + trees);
        out.text("map");
        out.text(&index.map);
        if let Some(by_id) = &index.by_id {
            out.text("byId");
            out.link(by_id);
        }
        out.text("head");
        write_links(out, &index.head);
        out.text("name");
        out.text(&index.name);
        if let Some(by_key) = &index.by_key {
            out.text("byKey");
            out.link(by_key);
        }
    }
}

fn cid(link: Link) -> Result<Cid, CborError> {
    link.try_into().map_err(CborError::Link)
}

fn cids(links: Vec<Link>) -> Result<Vec<Cid>, CborError> {
    links.into_iter().map(cid).collect()
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    fp: Fp<'a>,
}

#[derive(Deserialize)]
struct Fp<'a> {
    #[serde(default)]
    cars: Vec<Vec<Link>>,
    #[serde(default)]
    compact: Vec<Vec<Link>>,
    #[serde(default, borrow)]
    meta: Meta<'a>,
}

#[derive(Deserialize, Default)]
struct Meta<'a> {
    head: Option<Vec<Link>>,
    #[serde(default, borrow)]
    salt: Option<&'a serde_bytes::Bytes>,
    indexes: Option<std::collections::BTreeMap<String, Index>>,
    #[serde(default)]
    replaced: Vec<Link>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    #[serde(default)]
    map: String,
    name: Option<String>,
    by_id: Option<Link>,
    by_key: Option<Link>,
    #[serde(default)]
    head: Vec<Link>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn car(n: u8) -> Cid {
        Cid::of(Codec::Car, &[n])
    }

    #[test]
    fn both_ways() {
        let index = |name: &str| IndexMeta {
            name: name.into(),
            map: "(doc) => doc.x".into(),
            by_id: Some(car(1)),
            by_key: None,
            head: vec![car(2)],
        };
        let headers = [
            CarHeader::default(),
            CarHeader {
                cars: vec![vec![car(1)], vec![car(2), car(3)]],
                compact: vec![vec![car(4)]],
                head: Some(vec![car(5)]),
                indexes: None,
                salt: Some([7; 16]),
                replaced: vec![car(6), car(7)],
            },
            CarHeader {
                indexes: Some(vec![index("a"), index("b"), index("aa")]),
                ..CarHeader::default()
            },
        ];
        for header in headers {
            let block = header.encode();
            let mut back = CarHeader::decode(&block.bytes).unwrap();
            if let Some(indexes) = &mut back.indexes {
                indexes.sort_by_key(|index| index.name.len());
            }
            assert_eq!(back, header);
            let value: cbor::Value = cbor::from_slice(&block.bytes).unwrap();
            assert_eq!(cbor::to_vec(&value).unwrap(), block.bytes);
        }
    }

    #[test]
    fn incomplete_headers() {
        let empty = b"\xa1\x62fp\xa0";
        assert_eq!(CarHeader::decode(empty).unwrap(), CarHeader::default());
        assert!(CarHeader::decode(b"\xa1\x63doc\xa0").is_err());
    }
}
