//! Keys that one side has and the other one doesn't.

use firebrick::State;
use firebrick::core::keys::Key;
use serde_json::json;

use crate::bed::{Bed, DEADLINE, close, doc, key_name, settle};
use crate::compare::{ids, keys_of, same};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn without_the_key_it_says_so_and_resumes_with_it() {
    let bed = Bed::new();
    bed.js()
        .run(&[json!({"op": "put", "doc": {"_id": "secret", "n": 1}})]);
    let db = bed.stranger("db").await;
    let attachment = db.attach(bed.url().as_str()).expect("attaches");
    let mut status = attachment.watch();
    let needs = tokio::time::timeout(
        DEADLINE,
        status.wait_for(|status| matches!(status.state, State::NeedsKey { .. })),
    );
    let needs = needs
        .await
        .expect("says that it needs a key")
        .expect("attached")
        .state
        .clone();
    let key = Key::from_text(&bed.js_key()).expect("a key");
    assert!(
        matches!(&needs, State::NeedsKey { fingerprint } if *fingerprint == key.fingerprint()),
        "{needs:?}"
    );

    db.keys().import(&bed.js_key()).expect("imports");
    settle(&db, &attachment).await;
    assert_eq!(ids(&db).await, ["secret"]);
    same(&bed.js(), &db).await;
    close(db).await;
}

/// The client's keys have 16 bytes, ours 32; it reads both and writes with the default one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn a_rotated_key() {
    let bed = Bed::new();
    bed.js()
        .run(&[json!({"op": "put", "doc": {"_id": "old-key", "n": 1}})]);
    let db = bed.firebrick("db").await;
    let attachment = bed.attach(&db).await;
    let new_key = Key::generate([7; 32]);
    let mut keys = bed
        .keybag()
        .key_set(&key_name())
        .expect("reads")
        .expect("has keys");
    keys.add(new_key.clone());
    keys.set_default(&new_key.key_id()).expect("is there");
    bed.keybag().save(&keys).expect("writes");
    db.keys().import(&new_key.to_text()).expect("imports");

    db.put(&doc(&json!({"_id": "new-key", "n": 2})))
        .await
        .expect("writes");
    settle(&db, &attachment).await;
    same(&bed.js(), &db).await;
    bed.js()
        .run(&[json!({"op": "put", "doc": {"_id": "js-new-key", "n": 3}})]);
    settle(&db, &attachment).await;
    assert_eq!(ids(&db).await, ["js-new-key", "new-key", "old-key"]);
    same(&bed.js(), &db).await;
    close(db).await;
}

/// "a missing key opens as an empty ledger": the client then begins anew on genesis. That is one
/// more concurrent writer, not a stranger's ledger.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn a_client_that_began_anew_is_merged() {
    let bed = Bed::new();
    bed.js()
        .run(&[json!({"op": "put", "doc": {"_id": "before", "n": 1}})]);
    let key = Key::from_text(&bed.js_key()).expect("a key");
    let db = bed.firebrick("db").await;
    let attachment = bed.attach(&db).await;
    // The newest car can't be read by the client: it opens an empty ledger and writes into it.
    let ours = Key::generate([9; 32]);
    db.keys().import(&ours.to_text()).expect("imports");
    db.put(&doc(&json!({"_id": "ours", "n": 2})))
        .await
        .expect("writes");
    settle(&db, &attachment).await;
    let answers = bed.js().run(&[
        json!({"op": "allDocs"}),
        json!({"op": "put", "doc": {"_id": "anew", "n": 3}}),
    ]);
    assert!(
        keys_of(&answers[0]).is_empty(),
        "the client hides what it can't decrypt"
    );

    // Back to the client's key, and everybody has everything.
    db.keys().import(&key.to_text()).expect("imports");
    db.put(&doc(&json!({"_id": "healed", "n": 4})))
        .await
        .expect("writes");
    settle(&db, &attachment).await;
    assert_eq!(ids(&db).await, ["anew", "before", "healed", "ours"]);
    close(db).await;
}
