//! A tenant that has used up what it may: nothing is lost, and it goes on by itself.

use firebrick::State;
use serde_json::{Value, json};

use crate::bed::{Bed, attach, converge, wait, write};

async fn refused_then_allowed(limits: &Value, words: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tenants.json");
    let set = |limits: &Value| std::fs::write(&path, limits.to_string()).unwrap();
    set(&json!({"tenants": {"ten": limits}}));
    let bed = Bed::with({
        let path = path.clone();
        move |config| config.tenants_file = Some(path.clone())
    })
    .await;
    let db = bed.open("a").await;
    write(&db, "before", 3).await;
    let attachment = attach(&db, bed.gateway());
    wait(&attachment, |state| match state {
        State::Offline { cause, .. } => cause.contains(words),
        _ => false,
    })
    .await;
    // It can be used all the same.
    write(&db, "meanwhile", 2).await;
    set(&json!({}));
    bed.reload();
    let other = bed.open("b").await;
    bed.attach(&other);
    converge(&[db, other], 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_room() {
    refused_then_allowed(&json!({"storedBytes": 1}), "507 Insufficient Storage").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections() {
    refused_then_allowed(&json!({"connections": 0}), "may have 0 connections").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_messages() {
    refused_then_allowed(
        &json!({"messagesPerSecond": 0}),
        "more messages than it may",
    )
    .await;
}
