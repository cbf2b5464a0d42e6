//! Databases that sync over the server.

use firebrick::{Document, State};

use crate::bed::{Bed, converge, count, wait, write};

async fn online(bed: Bed) {
    let mut databases = Vec::new();
    for n in 0..5 {
        let db = bed.open(&format!("db-{n}")).await;
        write(&db, "first", 3).await;
        databases.push(db);
    }
    for db in &databases {
        bed.attach(db);
    }
    converge(&databases, 15).await;
    let writes = databases.iter().map(|db| write(db, "second", 3));
    futures_util::future::join_all(writes).await;
    converge(&databases, 30).await;
    databases[0].delete("db-1-first-0").await.unwrap();
    converge(&databases, 29).await;

    // One leaves, writes alone, and comes back.
    let left = databases.remove(0);
    assert!(left.close().await.unwrap().unpushed.is_empty());
    write(&databases[0], "third", 1).await;
    let back = bed.open("db-0").await;
    write(&back, "alone", 1).await;
    assert_eq!(count(&back).await, 30);
    bed.attach(&back);
    databases.push(back);
    converge(&databases, 31).await;
    // And one that was never there.
    let late = bed.open("late").await;
    bed.attach(&late);
    databases.push(late);
    converge(&databases, 31).await;
    for db in &databases {
        assert!(db.close().await.unwrap().unpushed.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn online_over_websockets() {
    online(Bed::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn online_over_http() {
    online(Bed::with(|config| config.websockets = false).await).await;
}

async fn restart(bed: Bed) {
    let databases = [bed.open("a").await, bed.open("b").await];
    let attachments: Vec<_> = databases.iter().map(|db| bed.attach(db)).collect();
    write(&databases[0], "before", 2).await;
    converge(&databases, 2).await;
    bed.stop().await;
    for attachment in &attachments {
        wait(attachment, |state| matches!(state, State::Offline { .. })).await;
    }
    for db in &databases {
        write(db, "meanwhile", 2).await;
    }
    bed.start().await;
    converge(&databases, 6).await;
    // Each connection goes on with its old name, so nothing of before is left beside it.
    let metas = bed.gateway();
    use firebrick::gateway::Gateway as _;
    assert_eq!(metas.slots().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restart_over_websockets() {
    restart(Bed::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restart_over_http() {
    restart(Bed::with(|config| config.websockets = false).await).await;
}

/// The server comes back with nothing: everything is uploaded again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lost_everything_is_filled_again() {
    let bed = Bed::new().await;
    let first = bed.open("first").await;
    write(&first, "kept", 3).await;
    let attachment = bed.attach(&first);
    converge(std::slice::from_ref(&first), 3).await;
    bed.stop().await;
    wait(&attachment, |state| matches!(state, State::Offline { .. })).await;
    for entry in std::fs::read_dir(bed.data()).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        // The key of the tokens stays.
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else if entry.file_name() != firebrick_server::KEY_FILE {
            std::fs::remove_file(path).unwrap();
        }
    }
    bed.start().await;
    attachment
        .synced_within(crate::bed::PATIENCE)
        .await
        .unwrap();
    let second = bed.open("second").await;
    bed.attach(&second);
    converge(&[first, second], 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_travel() {
    let bed = Bed::new().await;
    let (a, b) = (bed.open("a").await, bed.open("b").await);
    let content: Vec<u8> = (0..300_000u32).map(|n| (n ^ (n >> 7)) as u8).collect();
    let document = Document::new().with("_id", "with-file");
    let files = [("data.bin", content.clone())];
    a.put_with_files(&document, files).await.unwrap();
    bed.attach(&a);
    bed.attach(&b);
    converge(&[a, b.clone()], 1).await;
    let file = b.files("with-file").get("data.bin").await.unwrap().unwrap();
    assert_eq!(file.bytes().await.unwrap(), content);
}
