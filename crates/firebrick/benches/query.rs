//! Indexes and queries over 100,000 documents on disk: building, ranges of 1 %, live queries.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use firebrick::{Database, Document, Durability};
use tokio::runtime::Runtime;

const COUNT: u64 = 100_000;

/// Documents of some 200 bytes.
fn document(n: u64) -> Document {
    Document::new()
        .with("_id", format!("doc-{n:08}"))
        .with("age", n.wrapping_mul(7919) % COUNT)
        .with("text", "x".repeat(150))
}

async fn fill(db: &Database) {
    for first in (0..COUNT).step_by(1000) {
        let documents: Vec<_> = (first..first + 1000).map(document).collect();
        db.bulk_with(&documents, Durability::Buffered)
            .await
            .expect("writes");
    }
}

fn queries(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let open = async || {
        Database::builder()
            .path(directory.path().join("db"))
            .keybag(directory.path().join("keys"))
            .durability(Durability::Buffered)
            .open()
            .await
            .expect("opens")
    };
    let db = runtime.block_on(open());
    runtime.block_on(fill(&db));

    let mut group = c.benchmark_group("query of 100k");
    group.bench_function("integer index, built", |b| {
        b.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            for _ in 0..iterations {
                db.drop_index("age").expect("drops");
                let start = Instant::now();
                let count = runtime.block_on(db.query("age").count()).expect("counts");
                took += start.elapsed();
                assert_eq!(count, COUNT);
            }
            took
        });
    });
    let next = Cell::new(0);
    let range = || {
        let from = next.replace((next.get() + 7919) % (COUNT - 1000));
        db.query("age").range(from..from + 1000)
    };
    group.throughput(Throughput::Elements(1));
    group.bench_function("range of 1 %", |b| {
        b.iter(|| {
            let rows = runtime.block_on(range().collect::<Document>());
            assert_eq!(black_box(rows.expect("answers")).len(), 1000);
        });
    });
    group.bench_function("range of 1 % with documents", |b| {
        b.iter(|| {
            let rows = runtime.block_on(range().include_docs().collect::<Document>());
            assert_eq!(black_box(rows.expect("answers")).len(), 1000);
        });
    });
    group.bench_function("count of 1 %", |b| {
        b.iter(|| runtime.block_on(range().count()).expect("counts"));
    });
    let mut live = runtime
        .block_on(db.query("age").range(0..COUNT / 2).watch::<Document>())
        .expect("watches");
    group.bench_function("update of a live query with 50,000 rows", |b| {
        b.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            for _ in 0..iterations {
                let n = next.replace((next.get() + 1) % COUNT);
                // No document has half a year, so each write changes the result.
                let changed = document(n).with("age", (n % 1000) as f64 + 0.5);
                runtime.block_on(db.put(&changed)).expect("writes");
                let back = document(n).with("age", 2 * COUNT);
                let start = Instant::now();
                let delta = runtime.block_on(live.next());
                took += start.elapsed();
                black_box(delta.expect("open").expect("follows"));
                runtime.block_on(db.put(&back)).expect("writes");
                let delta = runtime.block_on(live.next());
                black_box(delta.expect("open").expect("follows"));
            }
            took
        });
    });
    let n = Cell::new(0);
    group.bench_function("buffered put with the index", |b| {
        b.iter(|| {
            let document = document(n.replace((n.get() + 1) % COUNT)).with("age", n.get() % 777);
            runtime.block_on(db.put(&document)).expect("writes")
        });
    });
    group.finish();
    drop(live);
    runtime.block_on(db.close()).expect("closes");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = queries
}
criterion_main!(benches);
