//! Files in both directions, through the folder that both keep the ledger in.

use firebrick::{Cid, Database, FileSource};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::bed::{Bed, close, settle};
use crate::compare::same;

/// Not a byte of it begins like dag-cbor, which the client takes every block for.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|n| 0xff - (n % 7) as u8 / 6).collect()
}

async fn read(db: &Database, id: &str, name: &str) -> Vec<u8> {
    let file = db.files(id).get(name).await.expect("opens");
    let bytes = file.expect("is listed").bytes().await;
    bytes.expect("reads").to_vec()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn files_of_the_client_are_read() {
    let bed = Bed::new();
    let text = |text: &str| json!({"$file": {"text": text, "type": "text/plain", "name": text, "lastModified": 5}});
    bed.js().run(&[
        json!({"op": "put", "doc": {"_id": "two", "_files": {"a": text("first file"), "b": text("second file")}}}),
        json!({"op": "put", "doc": {"_id": "public", "_publicFiles": {"p": text("public file")}}}),
        json!({"op": "put", "doc": {"_id": "plain", "n": 1}}),
    ]);
    let db = bed.firebrick("db").await;
    bed.attach(&db).await;
    for (id, name, expected) in [
        ("two", "a", "first file"),
        ("two", "b", "second file"),
        ("public", "p", "public file"),
    ] {
        assert_eq!(read(&db, id, name).await, expected.as_bytes());
        let listed = db.files(id).list().await.expect("lists");
        let info = listed
            .iter()
            .find(|info| info.name == name)
            .expect("is listed");
        assert_eq!(
            (info.content_type.as_str(), info.last_modified_ms),
            ("text/plain", 5)
        );
        assert_eq!(info.public, id == "public");
    }
    close(db).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn the_client_reads_our_files_and_keeps_them() {
    let bed = Bed::new();
    bed.js()
        .run(&[json!({"op": "put", "doc": {"_id": "doc", "n": 1}})]);
    let db = bed.firebrick("db").await;
    let attachment = bed.attach(&db).await;
    let (long, cut) = (content((16 << 20) + 1), content(17 << 20));
    let sizes = [1, 100, 70_000, 16 << 20];
    let files = db.files("doc");
    for size in sizes {
        let source = FileSource::bytes(content(size)).content_type("a/b");
        files
            .put(&format!("f{size}"), source)
            .await
            .expect("is stored");
    }
    let single = FileSource::bytes(long.clone()).single_block(true);
    files.put("long", single).await.expect("is stored");
    files.put("cut", cut.clone()).await.expect("is stored");
    settle(&db, &attachment).await;
    close(db).await;

    let mut asked: Vec<_> = sizes
        .iter()
        .map(|size| json!({"op": "file", "id": "doc", "name": format!("f{size}")}))
        .collect();
    asked.push(json!({"op": "file", "id": "doc", "name": "long"}));
    let answers = bed.js().run(&asked);
    let contents = sizes
        .iter()
        .map(|size| content(*size))
        .chain([long.clone()]);
    for (answer, content) in answers.iter().zip(contents) {
        let digest: [u8; 32] = Sha256::digest(&content).into();
        let cid = Cid::from_digest(firebrick::core::cid::Codec::Raw, digest);
        assert_eq!(answer["length"], content.len(), "{answer}");
        assert_eq!(answer["cid"], cid.to_string());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(answer["sha256"], hex);
    }
    // Written again by the client, the document keeps its files, also the one in pieces.
    bed.js()
        .run(&[json!({"op": "update", "id": "doc", "set": {"n": 2}})]);
    let db = bed.firebrick("late").await;
    bed.attach(&db).await;
    same(&bed.js(), &db).await;
    for size in sizes {
        assert!(read(&db, "doc", &format!("f{size}")).await == content(size));
    }
    assert!(read(&db, "doc", "long").await == long);
    assert!(read(&db, "doc", "cut").await == cut);
    close(db).await;
}
