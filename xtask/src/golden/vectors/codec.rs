//! prng, cid, cbor.

use firebrick_core::cbor::{self, Value};
use firebrick_core::cid::Codec;
use firebrick_core::{Block, Cid, document};
use serde::Deserialize;

use super::super::tagged::{Hex, Tagged};
use super::super::{Report, lcg, lcg_bytes};
use super::Lcg;

#[derive(Deserialize)]
pub(super) struct Prng {
    seed: u32,
    first5: Vec<u32>,
    bytes10: Hex,
}

pub(super) fn prng(vectors: Vec<Prng>, report: &mut Report) {
    for (at, v) in vectors.into_iter().enumerate() {
        report.at(format!("prng.json [{at}]"));
        let first: Vec<u32> = lcg(v.seed).map(|x| x >> 8).take(v.first5.len()).collect();
        report.eq("first5", &first, &v.first5);
        report.eq(
            "bytes10",
            &Hex(lcg_bytes(v.seed, v.bytes10.0.len())),
            &v.bytes10,
        );
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CidVector {
    codec: u8,
    lcg_bytes: Lcg,
    cid: String,
    cid_hex: Hex,
}

pub(super) fn cid(vectors: Vec<CidVector>, report: &mut Report) {
    for (at, v) in vectors.into_iter().enumerate() {
        report.at(format!("cid.json [{at}]"));
        let Some(codec) = report.ok("the codec", Codec::from_number(v.codec)) else {
            continue;
        };
        let bytes = v.lcg_bytes.bytes();
        let cid = Cid::of(codec, &bytes);
        report.eq("the text", &cid.to_string(), &v.cid);
        report.eq("the binary form", &Hex::of(cid.to_bytes()), &v.cid_hex);
        report.eq("the parsed text", &v.cid.parse(), &Ok(cid));
        report.eq(
            "the read binary form",
            &Cid::from_bytes(&v.cid_hex.0),
            &Ok(cid),
        );
        report.check(cid.matches(&bytes), || "it does not match its bytes".into());
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cbor {
    encode: Vec<Encode>,
    encode_errors: Vec<EncodeError>,
    decode: Vec<Decode>,
    doc_blocks: Vec<DocBlock>,
    doc_errors: Vec<DocError>,
    tombstone: Tombstone,
}

#[derive(Deserialize)]
struct Encode {
    value: Tagged,
    hex: Hex,
    cid: Cid,
}

#[derive(Deserialize)]
struct EncodeError {
    value: Tagged,
}

#[derive(Deserialize)]
struct Decode {
    hex: Hex,
    value: Option<Tagged>,
    #[serde(default)]
    error: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DocBlock {
    doc: Tagged,
    block_hex: Hex,
    cid: Cid,
}

#[derive(Deserialize)]
struct DocError {
    doc: Tagged,
}

#[derive(Deserialize)]
struct Tombstone {
    hex: Hex,
    cid: Cid,
}

pub(super) fn cbor(vectors: Cbor, report: &mut Report) {
    for (at, v) in vectors.encode.into_iter().enumerate() {
        report.at(format!("cbor.json encode[{at}]"));
        if let Some(bytes) = report.ok("encoding", cbor::to_vec(&v.value)) {
            report.eq("the CID", &Cid::of(Codec::DagCbor, &bytes), &v.cid);
            report.eq("the encoding", &Hex(bytes), &v.hex);
        }
        if let Some(read) = report.ok("decoding", cbor::from_slice::<Value>(&v.hex.0)) {
            report.eq(
                "the decoded value",
                &Some(&read),
                &v.value.value().ok().as_ref(),
            );
            report.eq(
                "the second encoding",
                &cbor::to_vec(&read).map(Hex),
                &Ok(v.hex),
            );
        }
    }
    for (at, v) in vectors.encode_errors.into_iter().enumerate() {
        report.at(format!("cbor.json encodeErrors[{at}]"));
        report.err("the value", cbor::to_vec(&v.value));
    }
    for (at, v) in vectors.decode.into_iter().enumerate() {
        report.at(format!("cbor.json decode[{at}]"));
        let read = cbor::from_slice::<Value>(&v.hex.0);
        match v.value {
            Some(value) => {
                report.eq("whether it is an error", &v.error, &false);
                if let Some(read) = report.ok("decoding", read) {
                    report.eq("the decoded value", &Some(read), &value.value().ok());
                }
            }
            None => {
                report.eq("whether it is an error", &v.error, &true);
                report.err("the input", read);
            }
        }
    }
    for (at, v) in vectors.doc_blocks.into_iter().enumerate() {
        report.at(format!("cbor.json docBlocks[{at}]"));
        doc_block(&v, report);
    }
    for (at, v) in vectors.doc_errors.into_iter().enumerate() {
        report.at(format!("cbor.json docErrors[{at}]"));
        report.err("the document", document::encode_own(&v.doc, String::new));
    }
    let v = vectors.tombstone;
    report.at("cbor.json tombstone");
    report.eq("the block", &Hex::of(&document::TOMBSTONE.bytes), &v.hex);
    report.eq("the CID", &document::TOMBSTONE.cid, &v.cid);
    report.eq(
        "the document",
        &document::decode::<Value>(&v.hex.0),
        &Ok(None),
    );
}

fn doc_block(v: &DocBlock, report: &mut Report) {
    let encoded = document::encode_own(&v.doc, String::new);
    let Some((id, block)) = report.ok("encoding", encoded) else {
        return;
    };
    report.eq("the block", &Hex::of(&block.bytes), &v.block_hex);
    report.eq("the CID", &block.cid, &v.cid);
    report.eq("the id", &document::split_id(&v.doc), &Ok(Some(id.clone())));
    report.eq(
        "the block under its id",
        &document::encode(&id, &v.doc),
        &Ok(block),
    );
    let decoded = document::decode::<Value>(&v.block_hex.0);
    if let Some(Some(fields)) = report.ok("decoding", decoded) {
        let again = document::encode(&id, &fields).map(|block: Block| block.cid);
        report.eq("the second encoding", &again, &Ok(v.cid));
    }
}
