//! Documents, CARs, envelopes, index keys.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use firebrick_core::car::CarReader;
use firebrick_core::cbor::{self, Value};
use firebrick_core::group::Car;
use firebrick_core::header::CarHeader;
use firebrick_core::keys::Key;
use firebrick_core::{Block, charwise, document, envelope};
use serde::{Deserialize, Serialize};
use std::hint::black_box;

/// About 200 bytes when stored.
#[derive(Serialize, Deserialize)]
struct Person {
    #[serde(rename = "_id")]
    id: String,
    name: String,
    email: String,
    age: u32,
    score: f64,
    active: bool,
    tags: Vec<String>,
    address: Address,
}

#[derive(Serialize, Deserialize)]
struct Address {
    street: String,
    city: String,
    zip: u32,
}

fn person(n: u32) -> Person {
    Person {
        id: format!("person-{n:08}"),
        name: "Ada Lovelace".into(),
        email: "ada@example.org".into(),
        age: 36,
        score: 99.5,
        active: true,
        tags: vec!["math".into(), "poetry".into(), "engine".into()],
        address: Address {
            street: "12 St James's Square".into(),
            city: "London".into(),
            zip: 12345,
        },
    }
}

fn documents(c: &mut Criterion) {
    let one = person(1);
    let block = document::encode(&one.id, &one).expect("a document");
    println!("a document of {} bytes", block.bytes.len());
    let value: Value = document::decode(&block.bytes)
        .expect("a document")
        .expect("not deleted");
    c.bench_function("document/encode typed", |b| {
        b.iter(|| document::encode(&one.id, black_box(&one)));
    });
    c.bench_function("document/encode dynamic", |b| {
        b.iter(|| document::encode(&one.id, black_box(&value)));
    });
    c.bench_function("document/serialize only", |b| {
        b.iter(|| cbor::to_vec(black_box(&one)));
    });
    c.bench_function("document/hash only", |b| {
        b.iter(|| block.cid.matches(black_box(&block.bytes)));
    });
    c.bench_function("document/decode typed", |b| {
        b.iter(|| document::decode::<Person>(black_box(&block.bytes)));
    });
    c.bench_function("document/decode dynamic", |b| {
        b.iter(|| document::decode::<Value>(black_box(&block.bytes)));
    });
}

fn containers(c: &mut Criterion) {
    let blocks: Vec<Block> = (0..5000)
        .map(|n| document::encode(&format!("p{n}"), &person(n)).expect("a document"))
        .collect();
    let header = CarHeader::default();
    let car = Car::commit(&header, &blocks);
    let key = Key::generate([7; 32]);
    let sealed = envelope::seal(&car.bytes, &key);
    let mut group = c.benchmark_group("car");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(car.bytes.len() as u64));
    group.bench_function("commit", |b| {
        b.iter(|| Car::commit(&header, black_box(&blocks)));
    });
    group.bench_function("read verified", |b| {
        b.iter(|| CarReader::new(car.bytes.clone()).map(Iterator::count));
    });
    group.bench_function("seal", |b| b.iter(|| envelope::seal(&car.bytes, &key)));
    group.bench_function("open", |b| b.iter(|| envelope::open(&sealed, &key)));
    group.finish();
}

fn keys(c: &mut Criterion) {
    let key = charwise::Key::List(vec!["London".into(), 12345.5.into(), true.into()]);
    let text = charwise::encode(&key);
    c.bench_function("charwise/encode", |b| {
        b.iter(|| charwise::encode(black_box(&key)));
    });
    c.bench_function("charwise/decode", |b| {
        b.iter(|| charwise::decode(black_box(&text)));
    });
    let sorted: Vec<String> = (0..10_000)
        .map(|n| charwise::encode(&f64::from((n * 7919) % 10_007).into()))
        .collect();
    c.bench_function("charwise/sort 10,000 keys", |b| {
        b.iter_batched(
            || sorted.clone(),
            |mut keys| keys.sort_by(|a, b| charwise::cmp(a, b)),
            BatchSize::LargeInput,
        );
    });
}

criterion_group!(benches, documents, containers, keys);
criterion_main!(benches);
