mod crowd;
mod refusals;
mod watching;

use std::fs;
use std::io;
use std::time::SystemTime;

use firebrick_core::cid::Codec;
use tempfile::TempDir;

use super::*;
use crate::env::RealEnv;
use crate::env::sim::check_replay;
use crate::gateway::announcement::MAIN_SLOT;
use crate::gateway::conformance;

const LIMIT: Duration = Duration::from_secs(10_000);

fn folder(path: &Path) -> FolderGateway {
    FolderGateway::new(path, Arc::new(RealEnv::new()))
}

async fn prepared() -> (TempDir, FolderGateway) {
    let directory = tempfile::tempdir().unwrap();
    let gateway = folder(directory.path());
    gateway.prepare().await.unwrap();
    (directory, gateway)
}

fn car(text: &str) -> (Cid, Bytes) {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    (Cid::of(Codec::Car, &bytes), bytes)
}

fn slot(letter: &str) -> SlotId {
    letter.repeat(32)
}

fn announcement(text: &str) -> Announcement {
    Announcement::new(format!("[{text:?}]"))
}

async fn slot_ids(gateway: &FolderGateway) -> Vec<SlotId> {
    let slots = gateway.slots().await.unwrap();
    slots.into_iter().map(|(id, _)| id).collect()
}

/// All files below a directory with their content.
fn snapshot(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.append(&mut snapshot(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            files.insert(path, bytes);
        }
    }
    files
}

#[tokio::test]
async fn conforms() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/ledger");
    let env = RealEnv::new();
    let suite = conformance::check(&env, || Arc::new(folder(&path)));
    suite.await.unwrap();
}

#[test]
fn conforms_in_a_simulation_which_replays() {
    check_replay(1, |executor| {
        let directory = tempfile::tempdir().unwrap();
        let env = executor.process("suite");
        let make = || -> Arc<dyn Gateway> {
            Arc::new(FolderGateway::new(directory.path(), Arc::new(env.clone())))
        };
        let suite = conformance::check(&env, make);
        executor.run_until(suite, LIMIT).unwrap().unwrap();
    })
    .unwrap();
}

#[tokio::test]
async fn has_the_layout_of_the_format() {
    let (directory, gateway) = prepared().await;
    let (cid, bytes) = car("x");
    gateway.put_car(&cid, bytes.clone()).await.unwrap();
    gateway.put_file_car(&cid, bytes).await.unwrap();
    let meta = Bytes::from_static(b"[1]");
    gateway.write_pointer(meta).await.unwrap();
    let a = slot("a");
    gateway.announce(&a, &announcement("y")).await.unwrap();
    let names: Vec<String> = snapshot(directory.path())
        .into_iter()
        .map(|(path, bytes)| {
            let path = path.strip_prefix(directory.path()).unwrap();
            format!("{} {}", path.display(), String::from_utf8(bytes).unwrap())
        })
        .collect();
    let wanted = [
        format!("data/{cid} x"),
        format!("data/{cid}.car x"),
        "data/version v0.19-file".into(),
        format!("meta/heads/{a} [\"y\"]\n{{\"wants\":[]}}\n"),
        "meta/main.json [1]".into(),
        "meta/version v0.19-file".into(),
    ];
    assert_eq!(names, wanted);
}

/// A folder as Fireproof leaves it.
fn fireproof_folder(path: &Path) {
    for store in ["data", "meta", "wal", "idx-data", "idx-meta", "idx-wal"] {
        fs::create_dir_all(path.join(store)).unwrap();
        fs::write(path.join(store).join("version"), "v0.19-file").unwrap();
    }
    let (cid, bytes) = car("by JavaScript");
    fs::write(path.join(format!("data/{cid}.car")), bytes).unwrap();
    fs::write(
        path.join("meta/main.json"),
        r#"[{"cid":"x","parents":[],"data":"M"}]"#,
    )
    .unwrap();
    fs::write(path.join("wal/main.json"), r#"{"operations":[]}"#).unwrap();
}

#[tokio::test]
async fn a_fireproof_folder_is_attached_in_place() {
    let directory = tempfile::tempdir().unwrap();
    fireproof_folder(directory.path());
    let before = snapshot(directory.path());
    let gateway = folder(directory.path());
    gateway.prepare().await.unwrap();
    assert_eq!(snapshot(directory.path()), before);
    assert_eq!(slot_ids(&gateway).await, [MAIN_SLOT]);
    let (cid, bytes) = car("by JavaScript");
    assert_eq!(gateway.get_car(&cid).await.unwrap(), Some(bytes));
    assert_eq!(gateway.list_cars().await.unwrap().unwrap().len(), 1);
    // What is announced beside it leaves its files alone.
    gateway
        .announce(&slot("a"), &announcement("y"))
        .await
        .unwrap();
    let mut after = snapshot(directory.path());
    after.retain(|path, _| before.contains_key(path));
    assert_eq!(after, before);
}

#[tokio::test]
async fn indexes_of_javascript_do_not_outlive_what_they_are_of() {
    let (directory, gateway) = prepared().await;
    let meta = |text: &'static str| Bytes::from_static(text.as_bytes());
    let index = directory.path().join("idx-meta/main.json");
    let pointer = directory.path().join("meta/main.json");
    fs::create_dir(index.parent().unwrap()).unwrap();
    fs::write(&index, "[]").unwrap();
    gateway.write_pointer(meta("[1]")).await.unwrap();
    assert!(!index.exists(), "ours says something new");

    fs::write(&index, "[]").unwrap();
    gateway.read_pointer().await.unwrap();
    assert!(!index.exists(), "its writer may not have read ours");

    // JavaScript writes, and then its index: that one is of the same head.
    let time = |path: &PathBuf, seconds| {
        let file = fs::File::options().write(true).open(path).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        file.set_modified(time).unwrap();
    };
    fs::write(&pointer, "[2]").unwrap();
    fs::write(&index, "[]").unwrap();
    time(&pointer, 1000);
    time(&index, 1001);
    gateway.slots().await.unwrap();
    assert!(index.exists());
    time(&pointer, 1002);
    gateway.slots().await.unwrap();
    assert!(!index.exists(), "the pointer is newer");
}

#[tokio::test]
async fn what_sync_tools_leave_behind_does_no_harm() {
    let (directory, gateway) = prepared().await;
    let (cid, bytes) = car("good");
    gateway.put_car(&cid, bytes).await.unwrap();
    gateway
        .announce(&slot("a"), &announcement("good"))
        .await
        .unwrap();
    gateway
        .write_pointer(Bytes::from_static(b"[\"main\"]"))
        .await
        .unwrap();
    let whole = announcement("copy").to_bytes().unwrap();
    let a = slot("a");
    let heads = directory.path().join("meta/heads");
    let copies = [
        format!("{a} (Kim's conflicted copy 2024-05-01)"),
        format!("{a} 2"),
        format!("{a}.sync-conflict-20240501-101010-ABCDEFG"),
    ];
    for name in &copies {
        fs::write(heads.join(name), &whole).unwrap();
    }
    for name in [
        ".DS_Store".to_owned(),
        format!(".{a}.swp"),
        format!("{a}.tmp"),
        format!("{a}x"),
        "main (conflicted copy).json".to_owned(),
        "notes.txt".to_owned(),
    ] {
        fs::write(heads.join(name), &whole).unwrap();
    }
    // Not here yet, or only a part of it; too large; a folder.
    fs::write(heads.join(slot("b")), b"").unwrap();
    fs::write(heads.join(slot("c")), &whole[..whole.len() - 1]).unwrap();
    fs::write(heads.join(slot("d")), vec![b' '; (4 << 20) + 1]).unwrap();
    fs::create_dir(heads.join(slot("e"))).unwrap();
    let data = directory.path().join("data");
    for name in ["x.car", "main (conflicted copy).json", ".DS_Store"] {
        fs::write(data.join(name), "x").unwrap();
    }
    fs::write(data.join(format!("{cid} (conflicted copy).car")), "x").unwrap();
    fs::write(
        directory.path().join("meta/main (conflicted copy).json"),
        "x",
    )
    .unwrap();

    let mut wanted = copies.to_vec();
    wanted.extend([a.clone(), MAIN_SLOT.to_owned()]);
    wanted.sort_unstable();
    assert_eq!(slot_ids(&folder(directory.path())).await, wanted);
    assert_eq!(gateway.list_cars().await.unwrap().unwrap().len(), 1);
    // A copy can be removed once its content is known to be in the past of another.
    gateway.remove_slot(&copies[0]).await.unwrap();
    assert!(!heads.join(&copies[0]).exists());
    for name in ["../main.json", "../../data/version", "main", "version"] {
        assert!(gateway.remove_slot(&name.to_owned()).await.is_err());
    }
    assert!(directory.path().join("meta/main.json").exists());
}

#[tokio::test]
async fn a_pointer_that_javascript_is_writing_is_waited_for() {
    let (directory, gateway) = prepared().await;
    let path = directory.path().join("meta/main.json");
    fs::write(&path, "[{\"cid\"").unwrap();
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(3));
        fs::write(path, "[2]").unwrap();
    });
    let pointer = gateway.read_pointer().await.unwrap();
    writer.join().unwrap();
    assert_eq!(pointer.unwrap(), "[2]");
}

#[tokio::test]
async fn a_pointer_that_stays_broken_hides_nothing_else() {
    let (directory, gateway) = prepared().await;
    fs::write(directory.path().join("meta/main.json"), "[{\"cid\"").unwrap();
    gateway
        .announce(&slot("a"), &announcement("y"))
        .await
        .unwrap();
    assert_eq!(slot_ids(&gateway).await, [slot("a")]);
    assert_eq!(gateway.read_pointer().await.unwrap().unwrap(), "[{\"cid\"");
}

#[tokio::test]
async fn an_announcement_waits_for_its_cars() {
    let (directory, gateway) = prepared().await;
    let (cid, bytes) = car("x");
    gateway.put_car(&cid, bytes).await.unwrap();
    assert_eq!(lock(&gateway.folder.unsynced).len(), 1);
    // A CAR that can't be synced: its directory is a file.
    let bad = directory.path().join("data/version/x.car");
    lock(&gateway.folder.unsynced).insert(bad.clone(), Sync::Later);
    let error = gateway.announce(&slot("a"), &announcement("y")).await;
    assert!(error.unwrap_err().to_string().contains("x.car can't be"));
    assert_eq!(slot_ids(&gateway).await, Vec::<String>::new());
    // It must be written again, since a second sync could succeed without having written anything.
    assert_eq!(
        lock(&gateway.folder.unsynced).get(&bad),
        Some(&Sync::Rewrite)
    );
    lock(&gateway.folder.unsynced).remove(&bad);
    let path = directory.path().join(format!("data/{cid}.car"));
    lock(&gateway.folder.unsynced).insert(path.clone(), Sync::Rewrite);
    gateway
        .announce(&slot("a"), &announcement("y"))
        .await
        .unwrap();
    assert_eq!(lock(&gateway.folder.unsynced).len(), 0);
    assert_eq!(fs::read(path).unwrap(), b"x");
}

#[tokio::test]
async fn temporary_files_of_the_dead_are_cleared_away() {
    let (directory, gateway) = prepared().await;
    let old = directory
        .path()
        .join("data")
        .join(layout::temporary_name([1; 16]));
    let young = directory
        .path()
        .join("meta/heads")
        .join(layout::temporary_name([2; 16]));
    for path in [&old, &young] {
        fs::write(path, "x").unwrap();
    }
    let long_ago = SystemTime::now() - Duration::from_secs(48 * 3600);
    let file = fs::File::options().write(true).open(&old).unwrap();
    file.set_modified(long_ago).unwrap();
    gateway.prepare().await.unwrap();
    assert!(!old.exists() && young.exists());
    // And nobody leaves any while alive.
    let (cid, bytes) = car("x");
    gateway.put_car(&cid, bytes).await.unwrap();
    gateway
        .announce(&slot("a"), &announcement("y"))
        .await
        .unwrap();
    let left = snapshot(directory.path()).into_keys();
    assert_eq!(
        left.filter(|path| path.extension().is_some_and(|e| e == "tmp"))
            .count(),
        1
    );
}
