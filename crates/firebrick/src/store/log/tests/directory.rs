//! A real directory: locks, foreign files, secrets.

use std::fs;
use std::path::Path;

use super::*;

fn store(path: &Path) -> Result<LogStore, StoreError> {
    LogStore::open(path, &options())
}

#[test]
fn a_store_in_a_directory() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("deep/er");
    let first = store(&path).unwrap();
    (1..=50).for_each(|n| commit(&first, n).unwrap());
    first.sync().unwrap();

    let Err(StoreError::Locked { holder, .. }) = store(&path) else {
        panic!("two writers");
    };
    assert!(
        holder.contains(&format!("process {}", std::process::id())),
        "{holder}"
    );
    assert!(matches!(
        LogStore::destroy(&path),
        Err(StoreError::Locked { .. })
    ));
    let reader = LogStore::open_read_only(&path, &options()).unwrap();
    assert_eq!(check(&reader), 50);

    (51..=99).for_each(|n| commit(&first, n).unwrap());
    assert_eq!(check(&reader), 50, "although runs were merged meanwhile");
    assert!(reader.refresh().unwrap());
    assert_eq!(check(&reader), 99);

    first.close().unwrap();
    let second = store(&path).unwrap();
    assert_eq!(check(&second), 99);
    drop(second);
    LogStore::destroy(&path).unwrap();
    assert!(!path.exists());
    assert!(matches!(
        LogStore::destroy(&path),
        Err(StoreError::NotFound { .. })
    ));
    assert!(matches!(
        LogStore::open_read_only(&path, &options()),
        Err(StoreError::NotFound { .. })
    ));
    assert!(!path.exists());
}

#[test]
fn foreign_directories_are_not_touched() {
    let root = tempfile::tempdir().unwrap();
    let note = root.path().join("note.txt");
    fs::write(&note, "mine").unwrap();
    for result in [
        store(root.path()).map(|_| ()),
        LogStore::destroy(root.path()),
    ] {
        assert!(
            matches!(result, Err(StoreError::Foreign { .. })),
            "{result:?}"
        );
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);

    fs::remove_file(&note).unwrap();
    drop(store(root.path()).unwrap());
    fs::write(&note, "mine").unwrap();
    let deep = root.path().join("log/note.txt");
    fs::write(&deep, "mine too").unwrap();
    drop(store(root.path()).unwrap());
    LogStore::destroy(root.path()).unwrap();
    assert_eq!(fs::read_to_string(&note).unwrap(), "mine");
    assert_eq!(fs::read_to_string(&deep).unwrap(), "mine too");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);

    // Not a directory at all.
    assert!(store(&note).is_err());
}

#[test]
fn wrong_keys_and_newer_versions_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    let other = LogOptions::sealed(StoreKey::new([8; 32]));
    let none = LogOptions::insecure();
    let first = store(path).unwrap();
    commit(&first, 1).unwrap();
    drop(first);
    let wrong = LogStore::open(path, &other);
    assert!(matches!(wrong, Err(StoreError::WrongKey { .. })));
    let plain = LogStore::open_read_only(path, &none);
    assert!(matches!(plain, Err(StoreError::CipherMismatch { .. })));
    assert_eq!(check(&store(path).unwrap()), 1);

    let insecure = root.path().join("insecure");
    let second = LogStore::open(&insecure, &none).unwrap();
    commit(&second, 1).unwrap();
    drop(second);
    assert!(matches!(
        store(&insecure),
        Err(StoreError::CipherMismatch { .. })
    ));
    assert_eq!(check(&LogStore::open(&insecure, &none).unwrap()), 1);

    let json = path.join("firebrick.json");
    let newer = fs::read_to_string(&json).unwrap();
    fs::write(&json, newer.replace("\"version\": 1", "\"version\": 2")).unwrap();
    for result in [store(path).map(|_| ()), LogStore::destroy(path)] {
        let message = result
            .as_ref()
            .map_or_else(ToString::to_string, |()| String::new());
        assert!(
            matches!(result, Err(StoreError::Newer { found: 2, .. })),
            "{result:?}"
        );
        assert!(message.contains("update the program"), "{message}");
    }
}

/// A store that the first released version wrote must open for ever.
#[test]
fn a_store_of_version_1_opens() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-1");
    if std::env::var_os("FIREBRICK_WRITE_FIXTURES").is_some() {
        let _ = fs::remove_dir_all(&fixture);
        let made = store(&fixture).unwrap();
        for n in 1..=15 {
            commit(&made, n).unwrap();
            if n == 8 {
                made.maintain().unwrap();
            }
        }
        // Neither closed nor all in the index: the frames after the checkpoint are part of it.
        super::super::lock(&made.writer).finish();
        drop(made);
        fs::remove_file(fixture.join("LOCK")).unwrap();
    }
    let reader = LogStore::open_read_only(&fixture, &options()).unwrap();
    assert_eq!(check(&reader), 15);
    let root = tempfile::tempdir().unwrap();
    for directory in ["", "log", "index"] {
        fs::create_dir_all(root.path().join(directory)).unwrap();
        for entry in fs::read_dir(fixture.join(directory)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let to = root.path().join(directory).join(entry.file_name());
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }
    for n in [15, 16] {
        let store = store(root.path()).unwrap();
        assert_eq!(check(&store), n);
        assert!(store.verify().unwrap().is_good());
        commit(&store, n + 1).unwrap();
        store.close().unwrap();
    }
}

/// Every file below a directory, with its content.
fn files(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found
}

#[test]
fn no_secret_is_in_any_file() {
    let mut secrets: Vec<Vec<u8>> = vec![
        b"CANARY-VALUE".to_vec(),
        b"CANARY-ID".to_vec(),
        b"CANARY-KV-KEY".to_vec(),
        b"CANARY-KV-VALUE".to_vec(),
        vec![7; 32],
    ];
    let mut blocks = Vec::new();
    for n in 0..100u64 {
        let text = format!("{{\"_id\":\"CANARY-ID-{n}\",\"secret\":\"CANARY-VALUE-{n}\"}}");
        let stored = StoredBlock {
            block: Block::new(Codec::DagCbor, text),
            generation: n,
        };
        let cid = stored.block.cid;
        let text = cid.to_string();
        secrets.push(cid.digest().to_vec());
        secrets.push(cid.digest()[..8].to_vec());
        secrets.push(cid.digest()[24..].to_vec());
        secrets.push(text.as_bytes()[10..30].to_vec());
        let hex: String = cid.digest().iter().map(|b| format!("{b:02x}")).collect();
        secrets.push(hex.as_bytes()[..20].to_vec());
        secrets.push(hex.to_uppercase().as_bytes()[..20].to_vec());
        blocks.push(stored);
    }
    for sealed in [true, false] {
        let root = tempfile::tempdir().unwrap();
        let mut options = options();
        options.key = options.key.filter(|_| sealed);
        let store = LogStore::open(root.path(), &options).unwrap();
        for chunk in blocks.chunks(7) {
            let head = [chunk[0].block.cid];
            let kv = [(
                format!("CANARY-KV-KEY-{}", chunk[0].block.cid),
                Some(Bytes::from(format!(
                    "CANARY-KV-VALUE {}",
                    chunk[1 % chunk.len()].block.cid
                ))),
            )];
            store
                .commit(&Commit {
                    blocks: chunk,
                    head: Some(&head),
                    kv: &kv,
                })
                .unwrap();
        }
        store.maintain().unwrap();
        // Frames, runs, the checkpoint, and a torn temporary file are all there to be searched.
        let files = files(root.path());
        let names: Vec<_> = files.iter().map(|(name, _)| name).collect();
        assert!(names.len() > 6, "{names:?}");
        let mut hits = 0;
        for (name, content) in &files {
            for secret in &secrets {
                let found = content
                    .windows(secret.len())
                    .any(|window| window == &secret[..]);
                hits += usize::from(found);
                assert!(
                    !(sealed && found),
                    "{name} holds {:?}",
                    String::from_utf8_lossy(secret)
                );
            }
        }
        assert_eq!(hits > 0, !sealed, "the search itself works");
    }
}
