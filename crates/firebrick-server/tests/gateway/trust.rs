//! What the server is told of keys, and what it can do with them.

use std::path::Path;
use std::sync::{Arc, Mutex};

use firebrick::gateway::{CloudGateway, FixedToken};
use firebrick::{Database, KeyOrigin};
use firebrick_core::keys::Key;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bed::{Bed, attach, converge, write};

/// Passes connections on and keeps what the clients send.
async fn listen_in(to: String) -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let notes = heard.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&to).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let notes = notes.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(len @ 1..) = from_client.read(&mut buffer).await {
                    notes.lock().unwrap().extend_from_slice(&buffer[..len]);
                    if to_server.write_all(&buffer[..len]).await.is_err() {
                        return;
                    }
                }
            });
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
            });
        }
    });
    (address, heard)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

/// Everything in a directory, one after the other.
fn all_bytes(dir: &Path, out: &mut Vec<u8>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_bytes(&path, out);
        } else {
            out.extend(std::fs::read(path).unwrap());
        }
    }
}

/// Syncs two databases and tells whether the server came to know their key, or a text.
async fn told(share: bool) -> (bool, bool) {
    // Over HTTP, so that messages can be read on their way.
    let bed = Bed::with(|config| config.websockets = false).await;
    let host = bed
        .url()
        .replace("fpcloud://", "")
        .replace("?protocol=ws", "");
    let (proxy, heard) = listen_in(host).await;
    let (a, b) = (bed.open("a").await, bed.open("b").await);
    write(&a, "a-telling-name", 2).await;
    for db in [&a, &b] {
        let keys = if share { "&keys=share" } else { "" };
        let url = format!("fpcloud://{proxy}?protocol=ws{keys}");
        let gateway = CloudGateway::new(&url, FixedToken::new(bed.token())).unwrap();
        assert_eq!(attach(db, gateway).status().shares_keys, share);
    }
    converge(&[a.clone(), b.clone()], 2).await;
    write(&b, "a-telling-name", 1).await;
    converge(&[a.clone(), b], 3).await;

    let mut known = heard.lock().unwrap().clone();
    assert!(contains(&known, b"reqPutMeta"), "the proxy was used");
    all_bytes(&bed.data(), &mut known);
    let text = a.keys().export().unwrap();
    let key = Key::from_text(&text).unwrap();
    let has_key = contains(&known, text.as_bytes()) || contains(&known, key.as_bytes());
    (has_key, contains(&known, b"a-telling-name"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_leaves_the_client() {
    assert_eq!(told(false).await, (false, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_given_if_that_was_asked_for() {
    assert_eq!(told(true).await, (true, false));
}

async fn own_key(name: &str) -> Database {
    Database::memory(name).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn received_keys_read_and_never_write() {
    let bed = Bed::new().await;
    let url = format!("{}&keys=share", bed.url());
    let databases = [own_key("a").await, own_key("b").await];
    let before: Vec<_> = databases.iter().map(|db| db.keys().fingerprint()).collect();
    for db in &databases {
        write(db, "x", 2).await;
        attach(
            db,
            CloudGateway::new(&url, FixedToken::new(bed.token())).unwrap(),
        );
    }
    converge(&databases, 4).await;
    let after: Vec<_> = databases.iter().map(|db| db.keys().fingerprint()).collect();
    assert_eq!(before, after);
    for db in &databases {
        let received = db.keys().list().into_iter().filter(|key| !key.is_default);
        let origins: Vec<_> = received.map(|key| key.origin).collect();
        assert_eq!(origins, [Some(KeyOrigin::Received)]);
    }

    // Whoever does not share learns nothing, and says what is missing.
    let outsider = own_key("outsider").await;
    let attachment = bed.attach(&outsider);
    crate::bed::wait(&attachment, |state| {
        matches!(state, firebrick::State::NeedsKey { .. })
    })
    .await;
    assert_eq!(outsider.keys().list().len(), 1);
}
