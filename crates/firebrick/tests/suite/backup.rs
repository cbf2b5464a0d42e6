//! Backups: what comes back is what was there, or an error says why not.

use std::fs;
use std::path::{Path, PathBuf};

use firebrick::core::backup::PREAMBLE_LEN;
use firebrick::{
    BackupError, BackupInfo, Builder, Cid, Database, Document, Durability, Error, FileSource, Link,
};

use crate::common::{Bed, Kind, converge, doc, state, synced, write};

/// Options for a restored database, whose keys are found in the keybag of `original`.
fn target(bed: &Bed, name: &str, original: &str) -> Builder {
    Database::builder()
        .path(bed.dir.path().join("db").join(name))
        .name(name)
        .keybag(bed.dir.path().join("keys").join(original))
        .durability(Durability::Buffered)
}

fn file(bed: &Bed, name: &str) -> PathBuf {
    bed.dir.path().join(name)
}

fn backup_error<T: std::fmt::Debug>(result: Result<T, Error>) -> BackupError {
    match result {
        Err(Error::Backup(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Changes, deletions and a merge of two heads.
async fn lively(bed: &Bed, name: &str) -> Database {
    let (db, other) = (
        bed.open(name).await,
        bed.open(&format!("{name}-peer")).await,
    );
    let to_hub = db.attach(bed.remote(name).as_str()).expect("attaches");
    let from_hub = other.attach(bed.remote(name).as_str()).expect("attaches");
    write(&db, "first", 40).await;
    synced(&[to_hub.clone(), from_hub.clone()]).await;
    write(&db, "here", 20).await;
    write(&other, "there", 20).await;
    db.delete(&format!("{name}-first-0003"))
        .await
        .expect("is deleted");
    db.put(&doc(format!("{name}-first-0004"), "changed"))
        .await
        .expect("is written");
    let both = [db, other];
    converge(&both).await;
    let [db, other] = both;
    other.close().await.expect("closes");
    to_hub.detach().await;
    db
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_gives_the_same_database_again() {
    let bed = Bed::new(Kind::Memory).await;
    let db = lively(&bed, "a").await;
    let path = file(&bed, "full.fbk");
    let info = db.backup().to_file(&path).await.expect("is written");
    assert_eq!((info.head.clone(), info.root), (db.head(), db.root()));
    assert_eq!(
        info.file_bytes,
        fs::metadata(&path).expect("is there").len()
    );
    assert_eq!(info.key, db.keys().fingerprint());
    assert!(info.base.is_empty() && info.missing.is_empty() && info.events > 3);
    let options = target(&bed, "b", "a");
    let seen = options.inspect_backup(&path).await.expect("is whole");
    assert_eq!(seen, info);
    let (copy, report) = options.restore_backup([&path]).await.expect("restores");
    assert_eq!(state(&copy).await, state(&db).await);
    assert_eq!((copy.head(), copy.root()), (db.head(), db.root()));
    assert_eq!((report.head, report.files), (db.head(), vec![info]));
    assert_eq!(copy.keys().fingerprint(), db.keys().fingerprint());
    // It is a database like any other: it goes on, opens again and syncs with the original.
    write(&copy, "more", 3).await;
    copy.close().await.expect("closes");
    let copy = target(&bed, "b", "a").open().await.expect("opens");
    for one in [&db, &copy] {
        one.attach(bed.remote("together").as_str())
            .expect("attaches");
    }
    converge(&[db, copy]).await;
    let left: Vec<_> = fs::read_dir(bed.dir.path().join("db"))
        .expect("lists")
        .map(|entry| entry.expect("lists").file_name())
        .filter(|name| name.to_string_lossy().starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_heads_and_no_documents_come_back_too() {
    let bed = Bed::new(Kind::Memory).await;
    let empty = bed.open("empty").await;
    let path = file(&bed, "empty.fbk");
    empty.backup().to_file(&path).await.expect("is written");
    let (copy, _) = target(&bed, "empty-copy", "empty")
        .restore_backup([&path])
        .await
        .expect("restores");
    assert_eq!((copy.head(), copy.root()), (empty.head(), empty.root()));

    // In memory, from a writer, with several heads.
    let (a, b) = (bed.open("a").await, bed.open("b").await);
    write(&a, "a", 5).await;
    write(&b, "b", 5).await;
    let url = bed.remote("hub");
    for db in [&a, &b] {
        synced(&[db.attach(url.as_str()).expect("attaches")]).await;
    }
    let (info, bytes) = a.backup().to_writer(Vec::new()).await.expect("is written");
    assert_eq!(info.file_bytes, bytes.len() as u64);
    let path = file(&bed, "a.fbk");
    fs::write(&path, bytes).expect("writes");
    let options = Database::builder().name("m").key(bed.key());
    let (copy, _) = options.restore_backup([&path]).await.expect("restores");
    assert_eq!((copy.head(), copy.root()), (info.head, info.root));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incremental_backups_hold_what_the_earlier_lack() {
    let bed = Bed::new(Kind::Memory).await;
    let db = bed.open("a").await;
    let names = ["0.fbk", "1.fbk", "2.fbk", "3.fbk"];
    let files: Vec<PathBuf> = names.iter().map(|name| file(&bed, name)).collect();
    let mut infos: Vec<BackupInfo> = Vec::new();
    for (at, path) in files.iter().enumerate() {
        write(&db, &format!("round-{at}"), if at == 0 { 1000 } else { 3 }).await;
        db.delete("a-round-0-0007").await.expect("is deleted");
        let backup = match at {
            0 => db.backup(),
            1 => db.backup().since(&infos[0].head),
            _ => db.backup().since_backup(&files[at - 1]),
        };
        infos.push(backup.to_file(path).await.expect("is written"));
    }
    for pair in infos.windows(2) {
        assert_eq!(pair[1].base, pair[0].head);
        assert!(pair[1].file_bytes < infos[0].file_bytes / 3, "{infos:?}");
    }
    let (copy, _) = target(&bed, "all", "a")
        .restore_backup(&files)
        .await
        .expect("restores");
    assert_eq!(state(&copy).await, state(&db).await);
    assert_eq!(copy.head(), db.head());
    // Any number of them from the first on is what was then.
    let (copy, _) = target(&bed, "two", "a")
        .restore_backup(&files[..2])
        .await
        .expect("restores");
    assert_eq!(
        (copy.head(), copy.root()),
        (infos[1].head.clone(), infos[1].root)
    );

    for (name, wrong) in [
        ("incremental first", vec![1, 0]),
        ("no base", vec![2]),
        ("a gap", vec![0, 2]),
    ] {
        let wrong: Vec<&PathBuf> = wrong.into_iter().map(|at| &files[at]).collect();
        let error = backup_error(target(&bed, "wrong", "a").restore_backup(wrong).await);
        assert!(
            matches!(error, BackupError::MissingBase { .. }),
            "{name}: {error}"
        );
        assert!(!bed.dir.path().join("db/wrong").exists(), "{name}");
    }
    let back = [&files[0], &files[1], &files[0]];
    let error = backup_error(target(&bed, "wrong", "a").restore_backup(back).await);
    assert!(matches!(error, BackupError::WrongOrder { .. }), "{error}");
    let nothing: [&Path; 0] = [];
    let error = backup_error(target(&bed, "wrong", "a").restore_backup(nothing).await);
    assert_eq!(error, BackupError::Nothing);

    // Heads that this database does not know.
    let other = bed.open("other").await;
    write(&other, "x", 1).await;
    let path = file(&bed, "other.fbk");
    let error = other.backup().since(&infos[0].head).to_file(&path).await;
    let error = backup_error(error);
    assert!(matches!(error, BackupError::UnknownBase { .. }), "{error}");
    assert!(!path.exists());
}

#[tokio::test]
async fn wrong_keys_targets_and_files_are_named() {
    let bed = Bed::new(Kind::Memory).await;
    let db = bed.open("a").await;
    write(&db, "row", 3).await;
    let path = file(&bed, "a.fbk");
    db.backup().to_file(&path).await.expect("is written");
    let again = backup_error(db.backup().to_file(&path).await);
    assert!(matches!(again, BackupError::Exists { .. }), "{again}");
    db.backup()
        .replace(true)
        .to_file(&path)
        .await
        .expect("is replaced");

    let error = backup_error(target(&bed, "c", "nobody").restore_backup([&path]).await);
    let fingerprint = db.keys().fingerprint().expect("has a key");
    let BackupError::WrongKey {
        fingerprint: named,
        looked,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(*named, fingerprint);
    assert!(looked[0].contains("nobody"), "{looked:?}");
    // The key can be given.
    let given = target(&bed, "given", "nobody").key(bed.key());
    let (copy, _) = given.restore_backup([&path]).await.expect("restores");
    assert_eq!(copy.count().await.expect("counts"), 3);
    copy.close().await.expect("closes");
    let copy = target(&bed, "given", "nobody")
        .open()
        .await
        .expect("the key was saved");
    assert_eq!(copy.keys().fingerprint(), Some(fingerprint));

    let error = backup_error(target(&bed, "given", "a").restore_backup([&path]).await);
    assert!(matches!(error, BackupError::NotEmpty { .. }), "{error}");
    let plain = target(&bed, "plain", "a").insecure(true);
    let error = backup_error(plain.restore_backup([&path]).await);
    assert!(
        matches!(
            error,
            BackupError::CipherMismatch { .. } | BackupError::WrongKey { .. }
        ),
        "{error}"
    );
    let foreign = file(&bed, "letter.txt");
    fs::write(&foreign, "Dear Sir or Madam, this is no backup at all.").expect("writes");
    let error = backup_error(target(&bed, "d", "a").restore_backup([&foreign]).await);
    assert!(matches!(error, BackupError::Foreign { .. }), "{error}");
    let mut newer = fs::read(&path).expect("reads");
    newer[16] = 2;
    let file = file(&bed, "newer.fbk");
    fs::write(&file, newer).expect("writes");
    let error = backup_error(target(&bed, "d", "a").restore_backup([&file]).await);
    assert!(
        matches!(error, BackupError::Newer { version: 2, .. }),
        "{error}"
    );
    let nowhere = bed.dir.path().join("nowhere.fbk");
    let error = target(&bed, "d", "a").restore_backup([&nowhere]).await;
    assert!(matches!(error, Err(Error::Io { .. })), "{error:?}");
}

/// Flips and cuts everywhere: an error, and no database, whatever was hit.
async fn damage(insecure: bool) {
    let bed = Bed::new(Kind::Memory).await;
    let options = |name: &str| target(&bed, name, "a").insecure(insecure);
    let db = options("a").open().await.expect("opens");
    write(&db, "row", 30).await;
    db.delete("a-row-0003").await.expect("is deleted");
    let path = file(&bed, "a.fbk");
    db.backup().to_file(&path).await.expect("is written");
    let good = fs::read(&path).expect("reads");
    let hit = file(&bed, "hit.fbk");
    let try_it = async |bytes: &[u8], what: String| {
        fs::write(&hit, bytes).expect("writes");
        let in_memory = Database::builder()
            .name("hit")
            .keybag(bed.dir.path().join("keys/a"))
            .insecure(insecure);
        let seen = in_memory.inspect_backup(&hit).await.map(drop);
        let restored = in_memory.restore_backup([&hit]).await.map(drop);
        for result in [seen, restored] {
            let error = backup_error(result);
            let expected = matches!(
                error,
                BackupError::Truncated { .. }
                    | BackupError::Damaged { .. }
                    | BackupError::Foreign { .. }
                    | BackupError::Newer { .. }
                    | BackupError::WrongKey { .. }
                    | BackupError::CipherMismatch { .. }
            );
            assert!(expected, "{what}: {error}");
        }
    };
    // All of the head and of the end, and places all over the middle.
    let mut places: Vec<usize> = (0..PREAMBLE_LEN + 40).collect();
    places.extend((good.len() - 60)..good.len());
    places.extend((0..good.len()).step_by(good.len() / 120));
    for at in places {
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (at % 8);
        try_it(&flipped, format!("flip at {at}")).await;
        try_it(&good[..at], format!("cut at {at}")).await;
    }
    let longer = [&good[..], b"x"].concat();
    try_it(&longer, "longer".into()).await;
    assert!(!bed.dir.path().join("db/hit").exists());
    let (copy, _) = options("b")
        .restore_backup([&path])
        .await
        .expect("restores");
    assert_eq!(state(&copy).await, state(&db).await);
}

#[tokio::test]
async fn damage_anywhere_is_noticed() {
    damage(false).await;
}

#[tokio::test]
async fn damage_anywhere_is_noticed_without_encryption() {
    damage(true).await;
}

#[tokio::test]
async fn nothing_in_a_backup_is_readable() {
    let bed = Bed::new(Kind::Memory).await;
    let db = bed.open("canaryledger").await;
    let mut cids: Vec<Cid> = Vec::new();
    for n in 0..50 {
        let document = doc(format!("canaryid{n}"), format!("canaryvalue{n}"))
            .with("canaryfield", vec!["canarylist".into()]);
        db.put(&document).await.expect("is written");
        cids.extend(db.head());
        cids.push(db.root());
    }
    let path = file(&bed, "a.fbk");
    db.backup().to_file(&path).await.expect("is written");
    let bytes = fs::read(&path).expect("reads");
    let key = firebrick::core::keys::Key::from_text(bed.key()).expect("is a key");
    let mut canaries = vec![
        b"canary".to_vec(),
        b"bafyrei".to_vec(),
        key.as_bytes().to_vec(),
    ];
    for cid in cids {
        canaries.push(cid.to_string().into_bytes());
        canaries.push(Link::from(cid).to_string().into_bytes());
        canaries.push(cid.digest().to_vec());
    }
    for canary in canaries {
        let found = bytes.windows(canary.len()).any(|window| window == canary);
        assert!(!found, "{}", String::from_utf8_lossy(&canary));
    }
}

/// Writes go on while a backup is made: it is of one head.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_database_is_backed_up_as_of_one_moment() {
    let bed = Bed::new(Kind::Memory).await;
    let db = bed.open("a").await;
    write(&db, "row", 2000).await;
    let writer = {
        let db = db.clone();
        tokio::spawn(async move {
            for n in 0..200 {
                let pair = [doc("left", n.to_string()), doc("right", n.to_string())];
                db.bulk(&pair).await.expect("is written");
            }
        })
    };
    for round in 0..5 {
        let path = file(&bed, &format!("{round}.fbk"));
        let info = db.backup().to_file(&path).await.expect("is written");
        let options = Database::builder().name("m").key(bed.key());
        let (copy, _) = options.restore_backup([&path]).await.expect("restores");
        assert_eq!((copy.head(), copy.root()), (info.head, info.root));
        let left = copy.get::<Document>("left").await.expect("reads");
        let right = copy.get::<Document>("right").await.expect("reads");
        let value = |doc: Option<Document>| doc.map(|doc| doc.to_json()["value"].clone());
        assert_eq!(value(left), value(right));
    }
    writer.await.expect("ends");
}

/// The content of a file, as read without any remote.
async fn content(db: &Database, name: &str) -> Result<Vec<u8>, Error> {
    let file = db.files("album").get(name).await?.expect("is listed");
    Ok(file.bytes().await?.to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contents_of_files_come_back_and_what_is_not_here_is_named() {
    let bed = Bed::new(Kind::Memory).await;
    let db = bed.open("a").await;
    let bytes = |len: usize| -> Vec<u8> { (0..len).map(|n| (n * n / 7) as u8).collect() };
    // Among the blocks, beside the log, and in pieces.
    let contents = [
        ("small", bytes(100)),
        ("large", bytes(300_000)),
        ("cut", bytes((17 << 20) + 5)),
    ];
    let files = db.files("album");
    for (name, bytes) in &contents[..2] {
        let source = FileSource::bytes(bytes.clone());
        files.put(name, source).await.expect("is written");
    }
    let (first, last) = (file(&bed, "0.fbk"), file(&bed, "1.fbk"));
    let info = db.backup().to_file(&first).await.expect("is written");
    assert_eq!((info.contents, info.content_bytes), (1, 300_000));
    let source = FileSource::bytes(contents[2].1.clone());
    files.put("cut", source).await.expect("is written");
    let more = db.backup().since(&info.head).to_file(&last).await;
    let more = more.expect("is written");
    assert!(
        more.contents > 8 && more.missing_files.is_empty(),
        "{more:?}"
    );

    let on_disk = target(&bed, "b", "a");
    let in_memory = Database::builder().name("m").key(bed.key());
    for options in [on_disk, in_memory] {
        let restored = options.restore_backup([&first, &last]).await;
        let (copy, report) = restored.expect("restores");
        assert!(report.missing_files.is_empty());
        assert_eq!(state(&copy).await, state(&db).await);
        for (name, bytes) in &contents {
            assert!(
                content(&copy, name).await.expect("is here") == *bytes,
                "{name}"
            );
        }
    }

    // One that is damaged is left out, and named.
    let folder = bed.dir.path().join("db/a/files");
    let of_large = fs::read_dir(folder)
        .expect("lists")
        .map(|entry| entry.expect("lists").path())
        .find(|path| {
            fs::metadata(path).is_ok_and(|about| (300_000..310_000).contains(&about.len()))
        })
        .expect("it lies beside the log");
    let mut damaged = fs::read(&of_large).expect("reads");
    damaged[200_000] ^= 1;
    fs::write(&of_large, damaged).expect("writes");
    let hit = file(&bed, "hit.fbk");
    let info = db.backup().to_file(&hit).await.expect("is written");
    let lacks = vec![("album".to_owned(), "large".to_owned())];
    assert_eq!(info.missing_files, lacks);
    let options = target(&bed, "c", "a");
    assert_eq!(options.inspect_backup(&hit).await.expect("is whole"), info);
    let (copy, report) = options.restore_backup([&hit]).await.expect("restores");
    assert_eq!(report.missing_files, lacks);
    assert!(content(&copy, "cut").await.expect("is here") == contents[2].1);
    let error = content(&copy, "large").await;
    assert!(matches!(error, Err(Error::MissingFile { .. })), "{error:?}");
    // An earlier backup in front of it has it.
    let both = [&first, &hit];
    let (copy, report) = target(&bed, "d", "a")
        .restore_backup(both)
        .await
        .expect("restores");
    assert!(report.missing_files.is_empty());
    assert!(content(&copy, "large").await.expect("is here") == contents[1].1);
}
