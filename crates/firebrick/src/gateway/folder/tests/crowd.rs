//! Several processes on one folder at once.

use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const FOLDER: &str = "FIREBRICK_CROWD_FOLDER";
const WRITER: &str = "FIREBRICK_CROWD_WRITER";

/// What each writer does, times.
const ROUNDS: usize = 80;

/// Slots that exist all the time, per writer.
const LASTING: usize = 6;

fn slot_of(writer: usize, number: usize) -> SlotId {
    format!("{writer}{number:031}")
}

/// An announcement that shows whether it is whole, of a size that changes much.
fn marked(writer: usize, round: usize) -> Announcement {
    let padding = "x".repeat(round * 7919 % 20_000);
    Announcement::new(format!(
        "[{{\"writer\":{writer},\"padding\":{},\"data\":\"{padding}\"}}]",
        padding.len()
    ))
}

fn check_whole(meta: &[u8]) {
    let meta: serde_json::Value = serde_json::from_slice(meta).unwrap();
    let [entry] = meta.as_array().unwrap().as_slice() else {
        panic!("{meta}");
    };
    let length = entry["data"].as_str().unwrap().len();
    assert_eq!(entry["padding"], length);
}

/// One writer: overwrites its lasting slots, lets others come and go, and fights for the pointer as
/// Firebrick and as JavaScript do.
async fn write(path: &Path, writer: usize, rounds: usize) {
    let gateway = folder(path);
    gateway.prepare().await.unwrap();
    for round in 0..rounds {
        let lasting = slot_of(writer, round % LASTING);
        let content = marked(writer, round);
        let (cid, bytes) = car(&format!("{writer} {round}"));
        gateway.put_car(&cid, bytes).await.unwrap();
        gateway.announce(&lasting, &content).await.unwrap();
        let passing = slot_of(writer, LASTING + round % 3);
        if round % 2 == 0 {
            gateway.announce(&passing, &content).await.unwrap();
        } else {
            gateway.remove_slot(&passing).await.unwrap();
        }
        if round % 5 == 0 {
            // JavaScript doesn't replace the file, it overwrites it.
            fs::write(path.join("meta/main.json"), &content.meta).unwrap();
        } else {
            gateway.write_pointer(content.meta).await.unwrap();
        }
    }
}

/// The body of the processes that [`processes_meet`] starts; by itself it has nothing to do.
#[tokio::test]
async fn child() {
    let (Ok(path), Ok(writer)) = (std::env::var(FOLDER), std::env::var(WRITER)) else {
        return;
    };
    write(Path::new(&path), writer.parse().unwrap(), ROUNDS).await;
}

fn start_child(path: &Path, writer: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "gateway::folder::tests::crowd::child"])
        .env(FOLDER, path)
        .env(WRITER, writer.to_string())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// Lists until `done`, each time with a gateway that remembers nothing.
async fn read(path: PathBuf, writers: usize, done: Arc<AtomicUsize>, listings: Arc<AtomicUsize>) {
    while done.load(Ordering::Relaxed) < writers {
        let gateway = folder(&path);
        let slots = gateway.slots().await.unwrap();
        for (id, announcement) in &slots {
            if id != MAIN_SLOT {
                check_whole(&announcement.meta);
            }
        }
        for writer in 0..writers {
            for number in 0..LASTING {
                let id = slot_of(writer, number);
                assert!(
                    slots.iter().any(|(found, _)| *found == id),
                    "{id} is missing"
                );
            }
        }
        listings.fetch_add(1, Ordering::Relaxed);
    }
}

async fn crowd(path: &Path, processes: usize, tasks: usize) {
    let writers = processes + tasks;
    let gateway = folder(path);
    gateway.prepare().await.unwrap();
    for writer in 0..writers {
        for number in 0..LASTING {
            let id = slot_of(writer, number);
            gateway
                .announce(&id, &marked(writer, number))
                .await
                .unwrap();
        }
    }
    let (done, listings) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut writing = Vec::new();
    for writer in 0..processes {
        let (done, mut child) = (Arc::clone(&done), start_child(path, writer));
        writing.push(tokio::task::spawn_blocking(move || {
            let status = child.wait();
            done.fetch_add(1, Ordering::Relaxed);
            assert!(status.unwrap().success());
        }));
    }
    for writer in processes..writers {
        let (done, path) = (Arc::clone(&done), path.to_owned());
        writing.push(tokio::spawn(async move {
            write(&path, writer, ROUNDS).await;
            done.fetch_add(1, Ordering::Relaxed);
        }));
    }
    let readers = (0..2).map(|_| {
        tokio::spawn(read(
            path.to_owned(),
            writers,
            Arc::clone(&done),
            Arc::clone(&listings),
        ))
    });
    let readers: Vec<_> = readers.collect();
    for task in writing {
        task.await.unwrap();
    }
    for reader in readers {
        reader.await.unwrap();
    }
    let pointer = gateway.read_pointer().await.unwrap().unwrap();
    check_whole(&pointer);
    let cars = gateway.list_cars().await.unwrap().unwrap();
    assert_eq!(cars.len(), writers * ROUNDS);
    let listings = listings.load(Ordering::Relaxed);
    assert!(listings > 20, "only {listings} listings ran meanwhile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_meet() {
    let directory = tempfile::tempdir().unwrap();
    crowd(directory.path(), 2, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_meet_on_a_file_system_in_memory() {
    // Syncs cost nothing there, so far more happens at once.
    let shm = Path::new("/dev/shm");
    if let Ok(directory) = tempfile::tempdir_in(shm) {
        crowd(directory.path(), 0, 4).await;
    }
}
