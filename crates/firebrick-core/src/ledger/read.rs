//! Reading the documents and files of a ledger.

use bytes::Bytes;
use serde::Deserialize;

use super::{Ledger, ReadError, Source, cars};
use crate::cid::Cid;
use crate::document;
use crate::file::FileMeta;
use crate::keys::Keys;
use crate::merge::MergeError;
use crate::pail::{PailError, Range, Tree};

impl<S: Source, K: Keys> Ledger<S, K> {
    /// The state of the head.
    ///
    /// ```
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # use firebrick_core::meta::MetaEvent;
    /// # let newest = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
    /// # let data = format!("data/{}.car", GENESIS.car.cid);
    /// # let source = move |path: &str| -> Result<Option<bytes::Bytes>, SourceError> {
    /// #     Ok(match path {
    /// #         "meta/main.json" => Some(newest.to_main_json().into()),
    /// #         _ => (path == data).then(|| GENESIS.car_bytes()),
    /// #     })
    /// # };
    /// # let ledger = Ledger::open(source, None::<Key>, Part::Data);
    /// assert_eq!(ledger.tree()?.root(), GENESIS.root.cid);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`MergeError`] if blocks are missing or damaged, or the heads are unrelated.
    pub fn tree(&self) -> Result<Tree, MergeError> {
        let mut resolver = self.resolver.borrow_mut();
        resolver.resolve(self, self, &self.head)
    }

    /// A block. On a miss the CARs that compactions replaced are read too.
    ///
    /// ```
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # use firebrick_core::meta::MetaEvent;
    /// # let newest = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
    /// # let data = format!("data/{}.car", GENESIS.car.cid);
    /// # let source = move |path: &str| -> Result<Option<bytes::Bytes>, SourceError> {
    /// #     Ok(match path {
    /// #         "meta/main.json" => Some(newest.to_main_json().into()),
    /// #         _ => (path == data).then(|| GENESIS.car_bytes()),
    /// #     })
    /// # };
    /// # let ledger = Ledger::open(source, None::<Key>, Part::Data);
    /// assert_eq!(ledger.block(&GENESIS.event.cid), Some(GENESIS.event.bytes.clone()));
    /// assert_eq!(ledger.block(&GENESIS.car.cid), None); // a CAR is not a block
    /// ```
    #[must_use]
    pub fn block(&self, cid: &Cid) -> Option<Bytes> {
        self.find(|blocks| blocks.block(cid))
            .map(|block| block.bytes)
    }

    /// The document block of an id: `None` if the id was never written.
    ///
    /// ```
    /// # use firebrick_core::clock::{Event, Operation};
    /// # use firebrick_core::document;
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::group::Car;
    /// # use firebrick_core::header::CarHeader;
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # use firebrick_core::memory::MemoryBlocks;
    /// # use firebrick_core::merge::Replay;
    /// # use firebrick_core::meta::MetaEvent;
    /// # use std::collections::BTreeMap;
    /// # let mut blocks = MemoryBlocks::default();
    /// # GENESIS.blocks().into_iter().for_each(|block| blocks.insert(block));
    /// # let fields = BTreeMap::from([("text", "milk")]);
    /// # let note = document::encode("note", &fields)?;
    /// # let replay = Replay::of(&blocks, &blocks, &[GENESIS.event.cid])?;
    /// # let (tree, mut new) = replay.put(&blocks, "note", note.cid)?;
    /// # let put = Operation::Put { key: "note".into(), value: note.cid };
    /// # let event = Event::new(put, tree.root(), vec![GENESIS.event.cid]).encode();
    /// # new.extend([note.clone(), event.clone()]);
    /// # let header = CarHeader {
    /// #     cars: vec![vec![GENESIS.car.cid]],
    /// #     head: Some(vec![event.cid]),
    /// #     ..CarHeader::default()
    /// # };
    /// # let car = Car::commit(&header, &new);
    /// # let newest = MetaEvent { cars: vec![car.cid], parents: vec![] };
    /// # let files = BTreeMap::from([
    /// #     ("meta/main.json".to_owned(), bytes::Bytes::from(newest.to_main_json())),
    /// #     (format!("data/{}.car", car.cid), car.bytes.clone()),
    /// #     (format!("data/{}.car", GENESIS.car.cid), GENESIS.car_bytes()),
    /// # ]);
    /// # let source = move |path: &str| -> Result<_, SourceError> { Ok(files.get(path).cloned()) };
    /// # let ledger = Ledger::open(source, None::<Key>, Part::Data);
    /// assert_eq!(ledger.document_block("note")?, Some(note.bytes));
    /// assert_eq!(ledger.document_block("other")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ReadError`] if blocks are missing or damaged.
    pub fn document_block(&self, id: &str) -> Result<Option<Bytes>, ReadError> {
        let Some(cid) = self.tree()?.get(self, id)? else {
            return Ok(None);
        };
        let block = self.block(&cid);
        block.map(Some).ok_or(ReadError::MissingBlock(cid))
    }

    /// A document: `None` if the id was never written or is deleted.
    ///
    /// ```
    /// # use firebrick_core::clock::{Event, Operation};
    /// # use firebrick_core::document;
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::group::Car;
    /// # use firebrick_core::header::CarHeader;
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # use firebrick_core::memory::MemoryBlocks;
    /// # use firebrick_core::merge::Replay;
    /// # use firebrick_core::meta::MetaEvent;
    /// # use std::collections::BTreeMap;
    /// # let mut blocks = MemoryBlocks::default();
    /// # GENESIS.blocks().into_iter().for_each(|block| blocks.insert(block));
    /// # let fields = BTreeMap::from([("text", "milk")]);
    /// # let note = document::encode("note", &fields)?;
    /// # let replay = Replay::of(&blocks, &blocks, &[GENESIS.event.cid])?;
    /// # let (tree, mut new) = replay.put(&blocks, "note", note.cid)?;
    /// # let put = Operation::Put { key: "note".into(), value: note.cid };
    /// # let event = Event::new(put, tree.root(), vec![GENESIS.event.cid]).encode();
    /// # new.extend([note.clone(), event.clone()]);
    /// # let header = CarHeader {
    /// #     cars: vec![vec![GENESIS.car.cid]],
    /// #     head: Some(vec![event.cid]),
    /// #     ..CarHeader::default()
    /// # };
    /// # let car = Car::commit(&header, &new);
    /// # let newest = MetaEvent { cars: vec![car.cid], parents: vec![] };
    /// # let files = BTreeMap::from([
    /// #     ("meta/main.json".to_owned(), bytes::Bytes::from(newest.to_main_json())),
    /// #     (format!("data/{}.car", car.cid), car.bytes.clone()),
    /// #     (format!("data/{}.car", GENESIS.car.cid), GENESIS.car_bytes()),
    /// # ]);
    /// # let source = move |path: &str| -> Result<_, SourceError> { Ok(files.get(path).cloned()) };
    /// # let ledger = Ledger::open(source, None::<Key>, Part::Data);
    /// #[derive(serde::Deserialize)]
    /// struct Note {
    ///     text: String,
    /// }
    ///
    /// let note = ledger.document::<Note>("note")?;
    /// assert_eq!(note.map(|note| note.text).as_deref(), Some("milk"));
    /// assert!(ledger.document::<Note>("other")?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ReadError`] if blocks are missing or damaged, or the type does not take the document.
    pub fn document<T: for<'de> Deserialize<'de>>(&self, id: &str) -> Result<Option<T>, ReadError> {
        match self.document_block(id)? {
            Some(block) => Ok(document::decode(&block)?),
            None => Ok(None),
        }
    }

    /// All ids, deleted ones and that of the genesis document included, with their document blocks'
    /// CIDs, ascending.
    ///
    /// ```
    /// # use firebrick_core::clock::{Event, Operation};
    /// # use firebrick_core::document;
    /// # use firebrick_core::genesis::GENESIS;
    /// # use firebrick_core::group::Car;
    /// # use firebrick_core::header::CarHeader;
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # use firebrick_core::memory::MemoryBlocks;
    /// # use firebrick_core::merge::Replay;
    /// # use firebrick_core::meta::MetaEvent;
    /// # use std::collections::BTreeMap;
    /// # let mut blocks = MemoryBlocks::default();
    /// # GENESIS.blocks().into_iter().for_each(|block| blocks.insert(block));
    /// # let fields = BTreeMap::from([("text", "milk")]);
    /// # let note = document::encode("note", &fields)?;
    /// # let replay = Replay::of(&blocks, &blocks, &[GENESIS.event.cid])?;
    /// # let (tree, mut new) = replay.put(&blocks, "note", note.cid)?;
    /// # let put = Operation::Put { key: "note".into(), value: note.cid };
    /// # let event = Event::new(put, tree.root(), vec![GENESIS.event.cid]).encode();
    /// # new.extend([note.clone(), event.clone()]);
    /// # let header = CarHeader {
    /// #     cars: vec![vec![GENESIS.car.cid]],
    /// #     head: Some(vec![event.cid]),
    /// #     ..CarHeader::default()
    /// # };
    /// # let car = Car::commit(&header, &new);
    /// # let newest = MetaEvent { cars: vec![car.cid], parents: vec![] };
    /// # let files = BTreeMap::from([
    /// #     ("meta/main.json".to_owned(), bytes::Bytes::from(newest.to_main_json())),
    /// #     (format!("data/{}.car", car.cid), car.bytes.clone()),
    /// #     (format!("data/{}.car", GENESIS.car.cid), GENESIS.car_bytes()),
    /// # ]);
    /// # let source = move |path: &str| -> Result<_, SourceError> { Ok(files.get(path).cloned()) };
    /// # let ledger = Ledger::open(source, None::<Key>, Part::Data);
    /// use firebrick_core::document::GENESIS_KEY;
    ///
    /// let ids: Vec<String> = ledger.documents()?.into_iter().map(|(id, _)| id).collect();
    /// assert_eq!(ids, [GENESIS_KEY, "note"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ReadError`] if blocks are missing or damaged.
    pub fn documents(&self) -> Result<Vec<(String, Cid)>, ReadError> {
        let tree = self.tree()?;
        let entries: Result<_, PailError> = tree.entries(self, Range::all()).collect();
        Ok(entries?)
    }

    /// A file's content.
    ///
    /// ```
    /// # use firebrick_core::file::{self, FileMeta};
    /// # use firebrick_core::keys::Key;
    /// # use firebrick_core::ledger::{Ledger, Part, SourceError};
    /// # let content = file::block("waves");
    /// # let car = file::car(&[content.cid], [&content]);
    /// # let meta = FileMeta {
    /// #     cid: content.cid.into(),
    /// #     car: vec![car.cid.into()],
    /// #     size: 5,
    /// #     media_type: "text/plain".into(),
    /// #     last_modified: 0,
    /// # };
    /// # let data = format!("data/{}", car.cid);
    /// # let source = move |path: &str| -> Result<Option<bytes::Bytes>, SourceError> {
    /// #     Ok((path == data).then(|| car.bytes.clone()))
    /// # };
    /// # let ledger = Ledger::open(source, None::<Key>, Part::Data);
    /// // What a document says about its file leads to the content.
    /// assert_eq!(ledger.file(&meta)?, "waves");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ReadError`] if its CAR is missing, locked or damaged, or does not hold it.
    pub fn file(&self, meta: &FileMeta) -> Result<Bytes, ReadError> {
        let cid = meta.cid.cid();
        for car in meta.car.iter().filter_map(crate::cbor::Link::cid) {
            let path = format!("{}data/{car}", self.part.prefix());
            let (car, _) = cars::read(&self.source, self.keys.as_ref(), &path, car)
                .map_err(|problem| ReadError::File(Box::new(problem)))?;
            let mut blocks = car.blocks.into_iter();
            if let Some(block) = blocks.find(|block| Some(block.cid) == cid) {
                return Ok(block.bytes);
            }
        }
        Err(ReadError::MissingBlock(cid.unwrap_or_else(|| {
            Cid::of(crate::cid::Codec::Raw, &meta.cid.to_bytes())
        })))
    }
}
