//! Databases that sync over the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use firebrick::gateway::{Announcement, CloudGateway, FixedToken, Gateway as _};
use firebrick::{Document, State};
use firebrick_core::Cid;
use firebrick_core::cid::Codec;
use firebrick_core::meta::MetaEvent;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::bed::{Bed, attach, converge, count, wait, write};

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
            match std::fs::remove_file(path) {
                // SQLite takes its own away when it closes.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.unwrap(),
            }
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

/// The slot of a writer that is gone is removed for all, by whoever has said something itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_of_the_past_are_removed() {
    let bed = Bed::new().await;
    let slot = |digit: char| digit.to_string().repeat(32);
    let car = Cid::of(Codec::Car, b"car");
    let say = |number: u8| {
        let event = MetaEvent {
            cars: vec![car, Cid::of(Codec::Car, &[number])],
            parents: Vec::new(),
        };
        Announcement::new(event.to_main_json())
    };
    let (gone, stays) = (bed.gateway(), bed.gateway());
    for (n, digit) in (0..).zip(['a', 'b', 'c']) {
        gone.announce(&slot(digit), &say(n)).await.unwrap();
    }
    drop(gone);
    let names = async || -> Vec<_> {
        let slots = bed.gateway().slots().await.unwrap().into_iter();
        slots.map(|(slot, _)| slot).collect()
    };
    // Whoever has said nothing only looks away.
    stays.prepare().await.unwrap();
    stays.remove_slot(&slot('a')).await.unwrap();
    assert_eq!(names().await.len(), 3);
    for n in 0..4u8 {
        let bytes = Bytes::copy_from_slice(&[n]);
        stays
            .put_car(&Cid::of(Codec::Car, &[n]), bytes)
            .await
            .unwrap();
    }
    stays
        .put_car(&car, Bytes::from_static(b"car"))
        .await
        .unwrap();
    stays.announce(&slot('d'), &say(3)).await.unwrap();
    stays.remove_slot(&slot('a')).await.unwrap();
    stays.remove_slot(&slot('b')).await.unwrap();
    assert_eq!(names().await, [slot('c'), slot('d')]);
    // Never its own: there would be nothing left to find its CARs by.
    stays.remove_slot(&slot('d')).await.unwrap();
    assert_eq!(names().await, [slot('c'), slot('d')]);
    stays.announce(&slot('d'), &say(2)).await.unwrap();
    assert_eq!(names().await, [slot('c'), slot('d')]);
}

/// A proxy on the way refuses WebSockets: the server is asked over HTTP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_websocket_can_be_opened() {
    let bed = Bed::new().await;
    let (address, refused) = without_websockets(bed.address()).await;
    let databases = [bed.open("behind").await, bed.open("before").await];
    let url = format!("fpcloud://{address}?protocol=ws");
    let behind = CloudGateway::new(&url, FixedToken::new(bed.token())).unwrap();
    attach(&databases[0], behind);
    bed.attach(&databases[1]);
    for db in &databases {
        write(db, "x", 2).await;
    }
    converge(&databases, 4).await;
    assert!(refused.load(Ordering::Relaxed) > 0);
}

/// Passes requests on, except those for a WebSocket.
async fn without_websockets(to: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let refused = Arc::new(AtomicUsize::new(0));
    let count = refused.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                let mut first = [0; 7];
                client.peek(&mut first).await.unwrap();
                if first == *b"GET /ws" {
                    count.fetch_add(1, Ordering::Relaxed);
                    let answer = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
                    client.write_all(answer).await.unwrap();
                    return;
                }
                let mut server = TcpStream::connect(to).await.unwrap();
                // Whoever goes first ends the other.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, refused)
}
