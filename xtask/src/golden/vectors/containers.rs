//! car, file, meta, urls.

use firebrick_core::car::{self, CarReader};
use firebrick_core::cbor::{self, Value};
use firebrick_core::cid::Codec;
use firebrick_core::header::CarHeader;
use firebrick_core::meta::{MetaEvent, MetaFile};
use firebrick_core::urls::{self, LedgerUrls, UrlOptions};
use firebrick_core::wal::Wal;
use firebrick_core::{Block, Cid, file};
use serde::Deserialize;

use super::super::Report;
use super::super::tagged::{Hex, Tagged};
use super::Lcg;

#[derive(Deserialize)]
pub(super) struct Car {
    cars: Vec<CarVector>,
    headers: Vec<HeaderVector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CarVector {
    roots: Vec<Cid>,
    blocks: Vec<BlockVector>,
    car_hex: Hex,
    cid: Cid,
}

#[derive(Deserialize)]
struct BlockVector {
    cid: Cid,
    hex: Hex,
}

#[derive(Deserialize)]
struct HeaderVector {
    fp: Tagged,
    hex: Hex,
    cid: Cid,
}

pub(super) fn car(vectors: Car, report: &mut Report) {
    for (at, v) in vectors.cars.into_iter().enumerate() {
        report.at(format!("car.json cars[{at}]"));
        let blocks: Vec<Block> = v
            .blocks
            .into_iter()
            .map(|block| Block {
                cid: block.cid,
                bytes: block.hex.0.into(),
            })
            .collect();
        let bytes = car::encode(&v.roots, &blocks);
        report.eq("the CID", &Cid::of(Codec::Car, &bytes), &v.cid);
        report.eq("the CAR", &Hex(bytes), &v.car_hex);
        let reader = CarReader::new(v.car_hex.0.into());
        if let Some(reader) = report.ok("reading", reader) {
            report.eq("the roots", reader.roots(), &v.roots[..]);
            let read: Result<Vec<_>, _> = reader.collect();
            report.eq("the blocks", &read, &Ok(blocks));
        }
    }
    for (at, v) in vectors.headers.into_iter().enumerate() {
        report.at(format!("car.json headers[{at}]"));
        let Some(fp) = report.ok("the value", v.fp.value()) else {
            continue;
        };
        let header = Value::from_iter([("fp", fp)]);
        let bytes = cbor::to_vec(&header).unwrap_or_default();
        report.eq("the value's encoding", &Hex(bytes), &v.hex);
        if let Some(read) = report.ok("reading", CarHeader::decode(&v.hex.0)) {
            let block = read.encode();
            report.eq("the CID", &block.cid, &v.cid);
            report.eq("the header", &Hex::of(&block.bytes), &v.hex);
            check_header(&read, &header["fp"], report);
        }
    }
}

/// Every field of a header against its value.
fn check_header(read: &CarHeader, fp: &Value, report: &mut Report) {
    let links = |value: &Value| -> Option<Vec<Cid>> {
        let links = value.as_list()?.iter();
        links
            .map(|link| match link {
                Value::Link(link) => link.cid(),
                _ => None,
            })
            .collect()
    };
    let groups =
        |value: &Value| -> Option<Vec<Vec<Cid>>> { value.as_list()?.iter().map(links).collect() };
    report.eq("cars", &Some(&read.cars), &groups(&fp["cars"]).as_ref());
    report.eq(
        "compact",
        &Some(&read.compact),
        &groups(&fp["compact"]).as_ref(),
    );
    report.eq("head", &read.head, &links(&fp["meta"]["head"]));
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileVector {
    lcg_bytes: Lcg,
    blocks: usize,
    cid: Cid,
    file_car_length: usize,
    file_car_cid: Cid,
}

pub(super) fn file(vectors: Vec<FileVector>, report: &mut Report) {
    for (at, v) in vectors.into_iter().enumerate() {
        report.at(format!("file.json [{at}]"));
        let block = file::block(v.lcg_bytes.bytes());
        report.eq("the CID", &block.cid, &v.cid);
        let car = file::car(&[block.cid], [&block]);
        report.eq(
            "the file CAR's length",
            &car.bytes.len(),
            &v.file_car_length,
        );
        report.eq("the file CAR's CID", &car.cid, &v.file_car_cid);
        let read = CarReader::new(car.bytes).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        if let Some(read) = report.ok("reading", read) {
            report.eq("the number of blocks", &read.len(), &v.blocks);
            report.eq("the block", &read.first(), &Some(&block));
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Meta {
    metas: Vec<MetaVector>,
    wal: Vec<WalVector>,
    keyed: Keyed,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetaVector {
    cars: Vec<Cid>,
    parents: Vec<Cid>,
    db_meta: String,
    event_hex: Hex,
    cid: Cid,
    file: String,
}

#[derive(Deserialize)]
struct WalVector {
    text: String,
    written: String,
}

/// The first event in the forms that carry keys.
#[derive(Deserialize)]
struct Keyed {
    v1: String,
    v1single: String,
    v2: String,
}

pub(super) fn meta(vectors: Meta, report: &mut Report) {
    for (at, v) in vectors.metas.iter().enumerate() {
        report.at(format!("meta.json metas[{at}]"));
        let event = MetaEvent {
            cars: v.cars.clone(),
            parents: v.parents.clone(),
        };
        let block = event.encode();
        report.eq("dbMeta", &event.db_meta(), &v.db_meta);
        report.eq("the CID", &block.cid, &v.cid);
        report.eq("the event", &Hex::of(&block.bytes), &v.event_hex);
        report.eq("the file", &event.to_main_json(), &v.file);
        if let Some(read) = report.ok("reading", MetaFile::parse(v.file.as_bytes())) {
            report.eq(
                "the read events",
                &read.events,
                &vec![(v.cid, event.clone())],
            );
        }
        if let Some(read) = report.ok("decoding", MetaEvent::decode(&v.event_hex.0)) {
            report.eq("the read CARs", &read.cars, &event.cars);
            let mut sorted = event.parents;
            sorted.sort_unstable();
            report.eq("the read parents", &read.parents, &sorted);
        }
    }
    for (at, v) in vectors.wal.into_iter().enumerate() {
        report.at(format!("meta.json wal[{at}]"));
        if let Some(wal) = report.ok("reading", Wal::parse(v.text.as_bytes())) {
            report.eq("the log", &wal.to_json(), &v.written);
        }
    }
    let first = vectors.metas.first().map(|v| v.cid);
    for (name, text) in [
        ("v1", &vectors.keyed.v1),
        ("v1single", &vectors.keyed.v1single),
        ("v2", &vectors.keyed.v2),
    ] {
        report.at(format!("meta.json keyed.{name}"));
        if let Some(file) = report.ok("reading", MetaFile::parse(text.as_bytes())) {
            report.eq(
                "the event",
                &file.events.first().map(|(cid, _)| *cid),
                &first,
            );
            report.eq("the keys", &file.keys, &keys_in(text));
            report.eq("the damage", &file.damaged, &Vec::new());
        }
    }
}

/// All texts under `key` and `keys`, found without knowing the form.
fn keys_in(text: &str) -> Vec<String> {
    fn collect(json: &serde_json::Value, out: &mut Vec<String>) {
        match json {
            serde_json::Value::String(key) if !out.contains(key) => out.push(key.clone()),
            serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
            _ => {}
        }
    }
    fn walk(json: &serde_json::Value, out: &mut Vec<String>) {
        match json {
            serde_json::Value::Object(map) => {
                for (name, value) in map {
                    if matches!(name.as_str(), "key" | "keys") {
                        collect(value, out);
                    } else {
                        walk(value, out);
                    }
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| walk(item, out)),
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk(&serde_json::from_str(text).unwrap_or_default(), &mut out);
    out
}

#[derive(Deserialize)]
pub(super) struct UrlVector {
    name: String,
    opts: UrlOptions,
    urls: LedgerUrls,
}

pub(super) fn urls(vectors: Vec<UrlVector>, report: &mut Report) {
    for (at, v) in vectors.into_iter().enumerate() {
        report.at(format!("urls.json [{at}]"));
        let made = urls::store_urls(&v.name, &v.opts);
        for (name, made, expected) in [
            ("data", made.data, v.urls.data),
            ("idx", made.idx, v.urls.idx),
        ] {
            report.eq(&format!("{name}.car"), &made.car, &expected.car);
            report.eq(&format!("{name}.file"), &made.file, &expected.file);
            report.eq(&format!("{name}.meta"), &made.meta, &expected.meta);
            report.eq(&format!("{name}.wal"), &made.wal, &expected.wal);
        }
    }
}
