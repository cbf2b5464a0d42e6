//! The first commit of every ledger (format §4.4).
//!
//! Its bytes are constant, so any two ledgers share this event as a common ancestor.

use std::sync::LazyLock;

use bytes::Bytes;

use crate::block::Block;
use crate::cbor::Writer;
use crate::cid::{Cid, Codec};
use crate::document::GENESIS_KEY;
use crate::group::Car;
use crate::header::CarHeader;

/// The blocks of the genesis commit.
///
/// ```
/// use firebrick_core::clock::Event;
/// use firebrick_core::genesis::{GENESIS, Genesis};
///
/// let Genesis { root, event, .. } = &*GENESIS;
/// assert_eq!(Event::decode(&event.bytes)?.root, root.cid);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Genesis {
    /// The document `{doc: {_id: <genesis key>}}`.
    pub document: Block,
    /// The empty shard, from which the first put starts.
    pub empty_shard: Block,
    /// The shard with the one entry: the root after genesis.
    pub root: Block,
    /// The event, without parents.
    pub event: Block,
    /// The CAR: header, document, empty shard, root, event.
    pub car: Car,
}

/// The genesis commit.
///
/// ```
/// use firebrick_core::genesis::GENESIS;
///
/// let event = "bafyreiblui55o25dopc5faol3umsnuohb5carto7tot4kicnkfc37he4h4";
/// assert_eq!(GENESIS.event.cid.to_string(), event);
/// ```
pub static GENESIS: LazyLock<Genesis> = LazyLock::new(|| {
    let block = |out: Writer| Block::new(Codec::DagCbor, out.into_vec());
    let document = block({
        let mut out = Writer::new();
        out.map(1);
        out.text("doc");
        out.map(1);
        out.text("_id");
        out.text(GENESIS_KEY);
        out
    });
    let shard = |entry: Option<&Cid>| {
        let mut out = Writer::new();
        out.map(5);
        out.text("prefix");
        out.text("");
        out.text("entries");
        out.list(usize::from(entry.is_some()));
        if let Some(value) = entry {
            out.list(2);
            out.text(GENESIS_KEY);
            out.link(value);
        }
        out.text("version");
        out.uint(1);
        out.text("keyChars");
        out.text("ascii");
        out.text("maxKeySize");
        out.uint(4096);
        block(out)
    };
    let empty_shard = shard(None);
    let root = shard(Some(&document.cid));
    let event = block({
        let mut out = Writer::new();
        out.map(2);
        out.text("data");
        out.map(4);
        out.text("key");
        out.text(GENESIS_KEY);
        out.text("root");
        out.link(&root.cid);
        out.text("type");
        out.text("put");
        out.text("value");
        out.link(&document.cid);
        out.text("parents");
        out.list(0);
        out
    });
    let header = CarHeader {
        head: Some(vec![event.cid]),
        ..CarHeader::default()
    };
    let car = Car::commit(&header, [&document, &empty_shard, &root, &event]);
    Genesis {
        document,
        empty_shard,
        root,
        event,
        car,
    }
});

impl Genesis {
    /// The blocks that make up the state, the header not among them.
    ///
    /// ```
    /// use firebrick_core::genesis::GENESIS;
    ///
    /// let [document, .., event] = GENESIS.blocks();
    /// assert_eq!((document.cid, event.cid), (GENESIS.document.cid, GENESIS.event.cid));
    /// ```
    #[must_use]
    pub fn blocks(&self) -> [&Block; 4] {
        [&self.document, &self.empty_shard, &self.root, &self.event]
    }

    /// The plain bytes of the CAR.
    ///
    /// ```
    /// use firebrick_core::car::CarReader;
    /// use firebrick_core::genesis::GENESIS;
    ///
    /// let bytes = GENESIS.car_bytes();
    /// assert!(GENESIS.car.cid.matches(&bytes));
    /// assert_eq!(CarReader::new(bytes)?.count(), 5); // the header and the four blocks
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn car_bytes(&self) -> Bytes {
        self.car.bytes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::GENESIS;

    #[test]
    fn the_constant_of_the_format() {
        assert_eq!(
            GENESIS.event.cid.to_string(),
            "bafyreiblui55o25dopc5faol3umsnuohb5carto7tot4kicnkfc37he4h4"
        );
        assert_eq!(
            GENESIS.root.cid.to_string(),
            "bafyreiejg3twlaxr7gfvvhtxrhvwaydytdv4guidmtvaz5dskm6gp73ryi"
        );
        assert_eq!(
            GENESIS.empty_shard.cid.to_string(),
            "bafyreihh6nbfbhgkf5lz7hhsscjgiquw426rxzr3fprbgonekzmyvirrhe"
        );
        assert_eq!(
            GENESIS.car.cid.to_string(),
            "baembeig2is4vdgz4gyiadfh5uutxxeiuqtacnesnytrnilpwcu7q5m5tmu"
        );
        assert_eq!(GENESIS.car.bytes.len(), 788);
    }
}
