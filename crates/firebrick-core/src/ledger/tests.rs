use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::Block;
use crate::cbor::Value;
use crate::document;
use crate::genesis::GENESIS;
use crate::group::Car;
use crate::header::CarHeader;
use crate::keys::Key;
use crate::merge::Replay;

type Files = BTreeMap<String, Bytes>;

fn source(files: &Files) -> impl Source + use<> {
    let files = files.clone();
    move |path: &str| Ok(files.get(path).cloned())
}

fn open(files: &Files) -> Ledger<impl Source + use<>, Key> {
    Ledger::open(source(files), None::<Key>, Part::Data)
}

fn problems(ledger: &Ledger<impl Source, impl Keys>) -> Vec<String> {
    let mut out = Vec::new();
    ledger.problems(|problem| out.push(problem.to_string()));
    out
}

/// A writer that makes one commit per put.
#[derive(Default)]
struct Writer {
    files: Files,
    blocks: MemoryBlocks,
    log: Vec<Vec<Cid>>,
    head: Vec<Cid>,
}

impl Writer {
    fn new() -> Self {
        let mut writer = Self::default();
        GENESIS
            .blocks()
            .into_iter()
            .for_each(|block| writer.blocks.insert(block));
        writer.head = vec![GENESIS.event.cid];
        writer.save(&GENESIS.car.clone());
        writer
    }

    fn save(&mut self, car: &Car) {
        let path = format!("data/{}.car", car.cid);
        self.files.insert(path, car.bytes.clone());
        self.log.insert(0, vec![car.cid]);
        let meta = MetaEvent {
            cars: vec![car.cid],
            parents: Vec::new(),
        };
        let json = meta.to_main_json();
        self.files.insert("meta/main.json".into(), json.into());
    }

    fn put(&mut self, id: &str, value: i32) -> Cid {
        let document = [("v", value)].into_iter().collect::<Value>();
        let document = document::encode(id, &document).unwrap();
        let replay = Replay::of(&self.blocks, &self.blocks, &self.head).unwrap();
        let (tree, shards) = replay.put(&self.blocks, id, document.cid).unwrap();
        let put = clock::Operation::Put {
            key: id.into(),
            value: document.cid,
        };
        let event = clock::Event::new(put, tree.root(), self.head.clone()).encode();
        let mut new = vec![document];
        new.extend(shards);
        new.push(event.clone());
        self.head = vec![event.cid];
        self.commit(&new)
    }

    fn commit(&mut self, new: &[Block]) -> Cid {
        new.iter().for_each(|block| self.blocks.insert(block));
        let header = CarHeader {
            cars: self.log.clone(),
            head: Some(self.head.clone()),
            ..CarHeader::default()
        };
        let car = Car::commit(&header, new);
        self.save(&car);
        car.cid
    }
}

fn value(ledger: &Ledger<impl Source, impl Keys>, id: &str) -> Option<i32> {
    let document: Option<Value> = ledger.document(id).unwrap();
    document.map(|document| document["v"].as_f64().unwrap() as i32)
}

#[test]
fn an_empty_directory_is_an_empty_ledger() {
    for json in [None, Some("[]"), Some(r#"{"metas":[]}"#)] {
        let json = json.map(|json| ("meta/main.json".to_owned(), Bytes::from(json)));
        let files: Files = json.into_iter().collect();
        let ledger = open(&files);
        assert!(ledger.head().is_empty() && ledger.car_log().is_empty());
        assert!(ledger.documents().unwrap().is_empty());
        assert!(problems(&ledger).is_empty());
    }
    let files = Files::from([("meta/main.json".into(), Bytes::from_static(b"{"))]);
    assert_eq!(problems(&open(&files)).len(), 1);
}

#[test]
fn what_was_written_is_read() {
    let mut writer = Writer::new();
    for n in 0..20 {
        writer.put(&format!("k{}", n % 7), n);
    }
    let ledger = open(&writer.files);
    assert!(problems(&ledger).is_empty());
    assert_eq!(ledger.head(), writer.head);
    assert_eq!(ledger.car_log(), writer.log);
    assert_eq!(value(&ledger, "k5"), Some(19));
    assert_eq!(value(&ledger, "nope"), None);
    assert_eq!(ledger.documents().unwrap().len(), 8);
}

#[test]
fn a_missing_car_takes_away_only_what_is_in_it() {
    let mut writer = Writer::new();
    writer.put("a", 1);
    let lost = writer.put("b", 2);
    writer.put("c", 3);
    writer.files.remove(&format!("data/{lost}.car"));
    let ledger = open(&writer.files);
    assert_eq!(ledger.missing(), [lost]);
    assert_eq!(value(&ledger, "a"), Some(1));
    assert_eq!(value(&ledger, "c"), Some(3));
    // Lost are the document, and the shard below it with the genesis document.
    assert!(matches!(
        ledger.document::<Value>("b"),
        Err(ReadError::MissingBlock(_))
    ));
    assert!(ledger.documents().is_err());
    let salvaged = ledger.salvage().unwrap();
    let found: Vec<_> = salvaged.iter().map(|s| (&*s.id, s.is_certain)).collect();
    assert_eq!(
        found,
        [
            ("a", true),
            ("b", true),
            (document::GENESIS_KEY, false),
            ("c", true)
        ]
    );
}

#[test]
fn a_damaged_car_gives_the_blocks_that_verify() {
    let mut writer = Writer::new();
    writer.put("a", 1);
    let damaged = writer.put("b", 2);
    writer.put("c", 3);
    let path = format!("data/{damaged}.car");
    let good = writer.files[&path].clone();
    // The document is the second block; flip a bit in its value.
    let at = good.windows(3).position(|w| w == b"av\x02").unwrap() + 2;
    let mut bytes = good.to_vec();
    bytes[at] ^= 1;
    writer.files.insert(path.clone(), bytes.into());
    let ledger = open(&writer.files);
    assert_eq!(problems(&ledger).len(), 2);
    assert_eq!(value(&ledger, "c"), Some(3));
    assert!(ledger.document::<Value>("b").is_err());
    // Cut off behind the document.
    writer.files.insert(path, good.slice(..at + 10));
    let ledger = open(&writer.files);
    assert_eq!(problems(&ledger).len(), 2);
    assert_eq!(value(&ledger, "b"), Some(2));
}

#[test]
fn two_writers_that_overwrote_each_other() {
    let mut one = Writer::new();
    one.put("base", 0);
    let mut two = Writer {
        files: one.files.clone(),
        log: one.log.clone(),
        head: one.head.clone(),
        ..Writer::new()
    };
    let base = open(&one.files);
    for (_, cid) in base.documents().unwrap() {
        let bytes = base.block(&cid).unwrap();
        two.blocks.insert(&Block { cid, bytes });
    }
    for group in base.car_log() {
        for block in base.car(&group[0]).unwrap().blocks {
            two.blocks.insert(&block);
        }
    }
    let lost = one.put("one", 1);
    two.put("two", 2);
    let mut files = one.files.clone();
    files.extend(two.files.clone());
    let mut ledger = open(&files);
    assert_eq!(value(&ledger, "one"), None);
    assert!(ledger.add_group(&[lost]));
    assert_eq!(ledger.head().len(), 2);
    assert_eq!(value(&ledger, "one"), Some(1));
    assert_eq!(value(&ledger, "two"), Some(2));
    assert_eq!(value(&ledger, "base"), Some(0));
}

#[test]
fn replaced_cars_are_read_when_they_are_needed() {
    let mut writer = Writer::new();
    writer.put("a", 1);
    writer.put("b", 2);
    // A compaction that holds nothing but names the head.
    let header = CarHeader {
        compact: writer.log.clone(),
        head: Some(writer.head.clone()),
        ..CarHeader::default()
    };
    writer.log.clear();
    writer.save(&Car::commit(&header, []));
    let ledger = open(&writer.files);
    assert_eq!(ledger.car_log().len(), 1);
    assert_eq!(value(&ledger, "a"), Some(1));
    assert_eq!(value(&ledger, "b"), Some(2));
}

#[test]
fn keys_are_asked_for() {
    let writer = Writer::new();
    let key = Key::generate([1; 32]);
    let sealed = |key: &Key| -> Files {
        let files = writer.files.iter();
        let files = files.map(|(path, bytes)| match path.as_str() {
            "meta/main.json" => (path.clone(), bytes.clone()),
            _ => (path.clone(), crate::envelope::seal(bytes, key).into()),
        });
        files.collect()
    };
    let open = |files: &Files, key: Option<&Key>| {
        let ledger = Ledger::open(source(files), key.cloned(), Part::Data);
        (ledger.head().len(), problems(&ledger).len())
    };
    assert_eq!(open(&sealed(&key), Some(&key)), (1, 0));
    let other = Key::generate([2; 32]);
    assert_eq!(open(&sealed(&key), Some(&other)), (0, 1));
    assert_eq!(open(&sealed(&key), None), (0, 1));
    // With a key, plain CARs are refused: anybody could have put them there.
    assert_eq!(open(&writer.files, Some(&key)), (0, 1));
}
