//! crypto: keys, nonces, envelopes.

use bytes::Bytes;
use firebrick_core::Cid;
use firebrick_core::cid::Codec;
use firebrick_core::envelope::{self, EnvelopeError};
use firebrick_core::keys::{self, Key};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::super::Report;
use super::super::tagged::Hex;
use super::Generated;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Crypto {
    fingerprints: Vec<Fingerprint>,
    iv: Vec<Iv>,
    envelopes: Vec<Envelope>,
    keybag_file_names: Vec<FileName>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fingerprint {
    key_hex: Hex,
    key: String,
    finger_print: Option<String>,
    key_id_hex: Option<Hex>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Iv {
    plain: Generated,
    iv_hex: Hex,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    key_hex: Hex,
    plain: Generated,
    cid: Cid,
    iv_hex: Hex,
    envelope_length: usize,
    envelope_sha256: Hex,
    envelope_hex: Option<Hex>,
}

#[derive(Deserialize)]
struct FileName {
    name: String,
    file: String,
}

pub(super) fn crypto(vectors: Crypto, report: &mut Report) {
    for (at, v) in vectors.fingerprints.into_iter().enumerate() {
        report.at(format!("crypto.json fingerprints[{at}]"));
        fingerprint(&v, report);
    }
    for (at, v) in vectors.iv.into_iter().enumerate() {
        report.at(format!("crypto.json iv[{at}]"));
        let iv = envelope::iv(&v.plain.lcg_bytes.bytes());
        report.eq("the nonce", &Hex::of(iv), &v.iv_hex);
    }
    for (at, v) in vectors.envelopes.into_iter().enumerate() {
        report.at(format!("crypto.json envelopes[{at}]"));
        check_envelope(&v, report);
    }
    for (at, v) in vectors.keybag_file_names.into_iter().enumerate() {
        report.at(format!("crypto.json keybagFileNames[{at}]"));
        report.eq("the file name", &keys::file_name(&v.name), &v.file);
    }
}

fn fingerprint(v: &Fingerprint, report: &mut Report) {
    report.eq("the text", &keys::to_base58(&v.key_hex.0), &v.key);
    report.eq(
        "the read text",
        &keys::from_base58(&v.key).map(Hex),
        &Ok(v.key_hex.clone()),
    );
    let Some(fingerprint) = &v.finger_print else {
        return;
    };
    if let Some(key) = report.ok("the key", Key::from_text(&v.key)) {
        report.eq("the material", &Hex::of(key.as_bytes()), &v.key_hex);
        report.eq("the key's text", &key.to_text(), &v.key);
        report.eq("the fingerprint", &key.fingerprint(), fingerprint);
        report.eq(
            "the read fingerprint",
            &fingerprint.parse(),
            &Ok(key.key_id()),
        );
        let id = Hex::of(key.key_id().0);
        report.eq("the key id", &Some(id), &v.key_id_hex);
    }
}

fn check_envelope(v: &Envelope, report: &mut Report) {
    let Some(key) = report.ok("the key", Key::from_bytes(&v.key_hex.0)) else {
        return;
    };
    let plain = v.plain.lcg_bytes.bytes();
    report.eq("the CID", &Cid::of(Codec::Car, &plain), &v.cid);
    report.eq("the nonce", &Hex::of(envelope::iv(&plain)), &v.iv_hex);
    let sealed = envelope::seal(&plain, &key);
    report.eq("the length", &sealed.len(), &v.envelope_length);
    report.eq(
        "the hash",
        &Hex::of(Sha256::digest(&sealed)),
        &v.envelope_sha256,
    );
    if let Some(hex) = &v.envelope_hex {
        report.eq("the envelope", &Hex::of(&sealed), hex);
        report.eq(
            "the opened envelope",
            &envelope::open(&hex.0, &key),
            &Ok(Bytes::from(plain.clone())),
        );
    }
    report.eq(
        "the content",
        &envelope::open(&sealed, &key),
        &Ok(Bytes::from(plain.clone())),
    );
    let key_id = key.key_id();
    report.eq("the key id", &envelope::key_id_of(&sealed), &Ok(key_id));
    let other = Key::generate([0x5a; 32]);
    let unknown = Err(EnvelopeError::UnknownKey { key_id });
    report.eq(
        "with another key the result",
        &envelope::open(&sealed, &other),
        &unknown,
    );
    let mut changed = sealed;
    // The first byte of the ciphertext or of its tag, behind the heads and the nonce.
    let at = changed.len() - 40 - 16;
    changed[at] ^= 1;
    let tampered = Err(EnvelopeError::Tampered);
    report.eq(
        "after a change the result",
        &envelope::open(&changed, &key),
        &tampered,
    );
    let odd = envelope::seal_with_iv(&plain, &key, &[0x5a; envelope::IV_LEN]);
    let mismatch = Err(EnvelopeError::IvMismatch);
    report.eq(
        "with a foreign nonce the result",
        &envelope::open(&odd, &key),
        &mismatch,
    );
}
