//! Attach and sync: the test that started it, and its relatives.

use crate::common::{Bed, Kind, converge, doc, on_every_remote, state, synced, write};
use firebrick::{Attachment, Database, Document};

fn attach_all(databases: &[Database], url: &str) -> Vec<Attachment> {
    databases
        .iter()
        .map(|db| db.attach(url).expect("attaches"))
        .collect()
}

async fn online(kind: Kind, rows: usize, count: usize) {
    let bed = Bed::new(kind).await;
    let url = bed.remote("hub");
    let mut databases = bed.open_all(count).await;
    for db in &databases {
        write(db, "first", rows).await;
    }
    attach_all(&databases, &url);
    assert_eq!(converge(&databases).await.docs.len(), count * rows);

    let writes = databases.iter().map(|db| write(db, "second", rows));
    futures_util::future::join_all(writes).await;
    assert_eq!(converge(&databases).await.docs.len(), 2 * count * rows);

    // The first and the last leave; the others go on.
    let last = count - 1;
    let before = state(&databases[0]).await;
    for at in [0, last] {
        assert!(
            databases[at]
                .close()
                .await
                .expect("closes")
                .unpushed
                .is_empty()
        );
    }
    for db in &databases[1..last] {
        write(db, "third", rows).await;
    }
    converge(&databases[1..last]).await;
    for at in [0, last] {
        let name = format!("db-{at}");
        databases[at] = bed.open(&name).await;
        assert_eq!(
            state(&databases[at]).await,
            before,
            "unattached, they see what they had"
        );
    }
    for db in &databases[1..last] {
        write(db, "fourth", rows).await;
    }
    converge(&databases[1..last]).await;
    for at in [0, last] {
        databases[at].attach(url.as_str()).expect("attaches");
    }
    assert_eq!(
        converge(&databases).await.docs.len(),
        (2 * count + 2 * (count - 2)) * rows
    );
    for db in &databases {
        db.close().await.expect("closes");
    }
}

async fn online_3(kind: Kind, rows: usize) {
    online(kind, rows, 3).await;
}

async fn online_10(kind: Kind, rows: usize) {
    online(kind, rows, 10).await;
}

async fn online_64(kind: Kind, rows: usize) {
    // Here it is the crowd that counts; a hundred rows are tested with fewer databases.
    if rows == 1 {
        online(kind, rows, 64).await;
    }
}

async fn offline(kind: Kind, rows: usize) {
    let bed = Bed::new(kind).await;
    let url = bed.remote("hub");
    let outbound = bed.open("outbound").await;
    write(&outbound, "out", rows).await;
    synced(&[outbound.attach(url.as_str()).expect("attaches")]).await;
    outbound.close().await.expect("closes");

    let inbound = bed.open("inbound").await;
    write(&inbound, "in", rows).await;
    inbound.close().await.expect("closes");

    let inbound = bed.open("inbound").await;
    assert_eq!(inbound.count().await.expect("counts"), rows);
    synced(&[inbound.attach(url.as_str()).expect("attaches")]).await;
    assert_eq!(inbound.count().await.expect("counts"), 2 * rows);

    let third = bed.open("third").await;
    synced(&[third.attach(url.as_str()).expect("attaches")]).await;
    assert_eq!(state(&third).await, state(&inbound).await);
    assert_eq!(third.count().await.expect("counts"), 2 * rows);
}

async fn inbound(kind: Kind, rows: usize) {
    let bed = Bed::new(kind).await;
    let url = bed.remote("hub");
    let full = bed.open("full").await;
    write(&full, "all", rows).await;
    synced(&[full.attach(url.as_str()).expect("attaches")]).await;
    let empty = bed.open("empty").await;
    let filled = bed.open("filled").await;
    write(&filled, "own", rows).await;
    for db in [&empty, &filled] {
        let attachment = db.attach(url.as_str()).expect("attaches");
        synced(std::slice::from_ref(&attachment)).await;
        assert!(attachment.status().joined == (db.name() == "filled"));
    }
    let all = [full, empty, filled];
    assert_eq!(converge(&all).await.docs.len(), 2 * rows);
}

async fn join_and_detach(kind: Kind, rows: usize) {
    let bed = Bed::new(kind).await;
    let url = bed.remote("hub");
    let (a, b) = (bed.open("a").await, bed.open("b").await);
    let to_a = a.attach(url.as_str()).expect("attaches");
    let again = a.attach(url.as_str()).expect("attaches");
    assert_eq!(to_a.name(), again.name());
    assert_eq!(
        a.attachments().len(),
        1,
        "the same remote twice is one attachment"
    );
    write(&a, "one", rows).await;
    synced(std::slice::from_ref(&to_a)).await;
    let to_b = b.attach(url.as_str()).expect("attaches");
    synced(std::slice::from_ref(&to_b)).await;
    assert_eq!(state(&a).await, state(&b).await);
    assert_eq!(to_b.detach().await.unpushed, 0);
    write(&b, "two", rows).await;
    write(&a, "three", rows).await;
    synced(std::slice::from_ref(&to_a)).await;
    assert_eq!(
        b.count().await.expect("counts"),
        2 * rows,
        "a detached database gets nothing"
    );
    assert_eq!(
        a.count().await.expect("counts"),
        2 * rows,
        "and sends nothing"
    );
    b.attach(url.as_str()).expect("attaches");
    let all = [a, b];
    assert_eq!(converge(&all).await.docs.len(), 3 * rows);
}

async fn several_remotes(kind: Kind, rows: usize) {
    let bed = Bed::new(kind).await;
    let (first, second) = (bed.remote("first"), bed.remote("second"));
    let (a, middle, b) = (
        bed.open("a").await,
        bed.open("middle").await,
        bed.open("b").await,
    );
    a.attach(first.as_str()).expect("attaches");
    middle.attach(first.as_str()).expect("attaches");
    middle.attach(second.as_str()).expect("attaches");
    b.attach(second.as_str()).expect("attaches");
    write(&a, "from-a", rows).await;
    write(&b, "from-b", rows).await;
    let all = [a, middle, b];
    assert_eq!(
        converge(&all).await.docs.len(),
        2 * rows,
        "what came from one remote reaches the other"
    );
}

/// Databases in a ring, each two neighbours with a remote of their own: everything arrives
/// everywhere, and then nothing moves any more.
async fn ring(kind: Kind, rows: usize) {
    let bed = Bed::new(kind).await;
    let databases = bed.open_all(4).await;
    for at in 0..4 {
        let url = bed.remote(&format!("between-{at}"));
        databases[at].attach(url.as_str()).expect("attaches");
        databases[(at + 1) % 4]
            .attach(url.as_str())
            .expect("attaches");
    }
    for db in &databases {
        write(db, "ring", rows).await;
    }
    assert_eq!(converge(&databases).await.docs.len(), 4 * rows);
    // Heads may be pinned once more; after that a round announces nothing.
    let mut before = announces(&databases);
    for _ in 0..50 {
        converge(&databases).await;
        let now = announces(&databases);
        if now == before && databases.iter().all(|db| db.head().len() == 1) {
            return;
        }
        before = now;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the ring never falls silent: {before:?}");
}

fn announces(databases: &[Database]) -> Vec<u64> {
    databases
        .iter()
        .flat_map(Database::attachments)
        .map(|attachment| attachment.status().traffic.announces)
        .collect()
}

async fn same_document(kind: Kind, rows: usize) {
    let bed = Bed::new(kind).await;
    let url = bed.remote("hub");
    let (a, b) = (bed.open("a").await, bed.open("b").await);
    for row in 0..rows {
        a.put(&doc(format!("d{row}"), "base"))
            .await
            .expect("is written");
    }
    let to_a = a.attach(url.as_str()).expect("attaches");
    synced(std::slice::from_ref(&to_a)).await;
    let to_b = b.attach(url.as_str()).expect("attaches");
    synced(std::slice::from_ref(&to_b)).await;
    to_a.detach().await;
    to_b.detach().await;
    for row in 0..rows {
        let id = format!("d{row}");
        match row % 3 {
            0 => {
                a.put(&doc(&id, "from a")).await.expect("is written");
                b.put(&doc(&id, "from b")).await.expect("is written");
            }
            1 => {
                a.delete(&id).await.expect("is deleted");
                b.put(&doc(&id, "kept by b")).await.expect("is written");
            }
            _ => {
                a.put(&doc(&id, "kept by a")).await.expect("is written");
                b.delete(&id).await.expect("is deleted");
            }
        }
    }
    for db in [&a, &b] {
        db.attach(url.as_str()).expect("attaches");
    }
    let third = bed.open("third").await;
    third.attach(url.as_str()).expect("attaches");
    let all = [a, b, third];
    let end = converge(&all).await;
    assert_eq!(end.docs.len(), rows);
    if rows == 1 {
        // One concurrent put on each side: the format lets the event with the greater CID win.
        let doc: Document = all[0]
            .get("d0")
            .await
            .expect("is here")
            .expect("is not deleted");
        assert!(
            doc.get("value")
                .is_some_and(|value| value.as_str() != Some("base"))
        );
    }
}

on_every_remote!(
    online_3,
    online_10,
    online_64,
    offline,
    inbound,
    join_and_detach,
    several_remotes,
    ring,
    same_document
);
