//! Keys: listed, rotated, carried under a passphrase, kept elsewhere, missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use firebrick::core::keys::wrapped::WrapError;
use firebrick::{
    Database, Document, Error, KeyOrigin, KeyStore, Keybag, MemoryKeyStore, Result, State,
};

use crate::at_rest::files;
use crate::common::{Bed, Kind, converge, doc, synced, until, until_here, until_up_to_date, write};

const PASSPHRASE: &str = "correct horse battery staple";

/// A database with its own keys, in its own keybag.
async fn open(bed: &Bed, name: &str) -> Database {
    Database::builder()
        .path(bed.dir.path().join("db").join(name))
        .keybag(bed.dir.path().join("keys").join(name))
        .open()
        .await
        .expect("opens")
}

#[tokio::test]
async fn rotation_keeps_what_was_and_survives_opening_again() {
    let bed = Bed::new(Kind::Memory).await;
    let db = open(&bed, "mine").await;
    let first = db.keys().fingerprint().expect("has a key");
    let list = db.keys().list();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].origin, Some(KeyOrigin::Created));
    assert!(list[0].is_default && list[0].is_here && list[0].bits == 256);
    write(&db, "before", 3).await;
    let second = db.keys().rotate().expect("rotates");
    assert_ne!(first, second);
    write(&db, "after", 3).await;
    db.close().await.expect("closes");
    let db = open(&bed, "mine").await;
    assert_eq!(db.keys().fingerprint(), Some(second.clone()));
    let list = db.keys().list();
    let found: Vec<_> = list
        .iter()
        .map(|key| (key.fingerprint.clone(), key.is_default, key.origin))
        .collect();
    assert_eq!(
        found,
        [
            (second, true, Some(KeyOrigin::Rotated)),
            (first, false, Some(KeyOrigin::Created)),
        ]
    );
    assert!(
        list.iter()
            .all(|key| key.added_ms > Some(1_600_000_000_000))
    );
    assert_eq!(db.count().await.expect("counts"), 6);
    // JavaScript needs exactly one default key in the file.
    let keybag = std::fs::read_to_string(bed.dir.path().join("keys/mine/_mine_data_.json"))
        .expect("is there");
    assert_eq!(keybag.matches("\"default\": true").count(), 1);
    assert_eq!(keybag.matches("\"default\": false").count(), 1);
}

/// Two databases that share key files each add a key: neither loses the other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_others_add_to_the_same_keybag_stay() {
    let bed = Bed::new(Kind::Memory).await;
    let mut all = Vec::new();
    for place in ["a", "b"] {
        let builder = Database::builder()
            .path(bed.dir.path().join("db").join(place))
            .name("shared")
            .keybag(bed.dir.path().join("keys"));
        all.push(builder.open().await.expect("opens"));
    }
    let rotations = all.into_iter().map(|db| {
        tokio::task::spawn_blocking(move || {
            let made: Vec<_> = (0..20)
                .map(|_| db.keys().rotate().expect("rotates"))
                .collect();
            made
        })
    });
    let mut made = Vec::new();
    for rotation in rotations.collect::<Vec<_>>() {
        made.extend(rotation.await.expect("ends"));
    }
    let keys = Keybag::open(bed.dir.path().join("keys"))
        .key_set("@shared-data@")
        .expect("reads")
        .expect("is there");
    let there: Vec<String> = keys
        .keys()
        .iter()
        .map(firebrick::core::keys::Key::fingerprint)
        .collect();
    assert_eq!(there.len(), 41);
    assert!(made.iter().all(|key| there.contains(key)));
}

#[tokio::test]
async fn a_passphrase_carries_all_keys_and_says_what_is_wrong() {
    let bed = Bed::new(Kind::Memory).await;
    let (a, b) = (open(&bed, "a").await, open(&bed, "b").await);
    let first = a.keys().fingerprint().expect("has a key");
    let second = a.keys().rotate().expect("rotates");
    let text = a.keys().export_wrapped(PASSPHRASE).expect("exports");
    let again = a.keys().export_wrapped(PASSPHRASE).expect("exports");
    assert_ne!(text, again, "each export has its own salt");
    assert!(!text.contains(a.keys().export().expect("exports").as_str()));
    let own = b.keys().list();
    let wrong = |text: &str, passphrase: &str| match b.keys().import_wrapped(text, passphrase) {
        Err(Error::WrappedKeys(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(wrong(&text, "incorrect horse"), WrapError::WrongPassphrase);
    assert!(matches!(
        wrong(&text[..100], PASSPHRASE),
        WrapError::Damaged(_)
    ));
    assert_eq!(wrong("z123", PASSPHRASE), WrapError::NotWrapped);
    assert_eq!(b.keys().list(), own, "nothing was changed");
    assert!(matches!(
        a.keys().export_wrapped("short"),
        Err(Error::WrappedKeys(WrapError::Short))
    ));
    let imported = b.keys().import_wrapped(&text, PASSPHRASE).expect("imports");
    assert_eq!(imported, second);
    assert_eq!(b.keys().fingerprint(), Some(second.clone()));
    let all = b.keys().fingerprints();
    assert_eq!(all.len(), 3);
    assert!(all.contains(&first) && all.contains(&second));
}

/// Who lacks the new key says so by its fingerprint, keeps what it has, and goes on after import.
async fn peers_wait_for_the_new_key(kind: Kind) {
    let bed = Bed::new(kind).await;
    let url = bed.remote("hub");
    let (a, b) = (bed.open("a").await, bed.open("b").await);
    write(&a, "old", 5).await;
    let to_a = a.attach(url.as_str()).expect("attaches");
    let to_b = b.attach(url.as_str()).expect("attaches");
    synced(&[to_a.clone(), to_b.clone()]).await;
    until_here(&b, "a-old-0000").await;
    let fingerprint = a.keys().rotate().expect("rotates");
    write(&a, "new", 5).await;
    synced(std::slice::from_ref(&to_a)).await;
    until(&to_b, "asking for the new key", |status| {
        status.state
            == State::NeedsKey {
                fingerprint: fingerprint.clone(),
            }
    })
    .await;
    assert_eq!(b.count().await.expect("counts"), 5);
    write(&b, "meanwhile", 5).await;
    until_here(&a, "b-meanwhile-0000").await;
    let text = a.keys().export_wrapped(PASSPHRASE).expect("exports");
    b.keys().import_wrapped(&text, PASSPHRASE).expect("imports");
    until_here(&b, "a-new-0000").await;
    let both = [a, b];
    assert_eq!(converge(&both).await.docs.len(), 15);
    until_up_to_date(&to_b).await;
    // A newcomer with all keys reads what either key wrote.
    let c = open(&bed, "c").await;
    c.keys().import_wrapped(&text, PASSPHRASE).expect("imports");
    synced(&[c.attach(url.as_str()).expect("attaches")]).await;
    assert_eq!(c.root(), both[0].root());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_wait_for_the_new_key_memory() {
    peers_wait_for_the_new_key(Kind::Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_wait_for_the_new_key_folder() {
    peers_wait_for_the_new_key(Kind::Folder).await;
}

#[tokio::test]
async fn a_missing_key_is_named_with_the_places() {
    let bed = Bed::new(Kind::Memory).await;
    let db = open(&bed, "mine").await;
    let path = db.path().expect("is on disk").to_owned();
    write(&db, "row", 3).await;
    let rotated = db.keys().rotate().expect("rotates");
    db.close().await.expect("closes");
    let keys = bed.dir.path().join("keys/mine");
    let local = Keybag::open(&keys)
        .key_set("@mine-local@")
        .expect("reads")
        .expect("is there")
        .default_key()
        .fingerprint();

    let (empty, keychain) = (bed.dir.path().join("empty"), MemoryKeyStore::new());
    let both = Database::builder()
        .path(&path)
        .key_store(keychain.clone())
        .keybag(&empty);
    let error = both.open().await.expect_err("is refused");
    let text = error.to_string();
    let Error::MissingKey {
        name,
        fingerprint,
        looked,
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!((name.as_str(), fingerprint), ("@mine-local@", Some(local)));
    assert_eq!(looked.len(), 2, "{looked:?}");
    assert!(
        text.contains("in memory") && text.contains("empty"),
        "{text}"
    );
    assert!(keychain.is_empty() && !empty.exists(), "no key was made up");

    // The ledger's keys are gone, the store's is there.
    std::fs::remove_file(keys.join("_mine_data_.json")).expect("removes");
    let builder = Database::builder().path(&path).keybag(&keys);
    let error = builder.open().await.expect_err("is refused");
    assert!(
        matches!(&error, Error::MissingKey { name, fingerprint, .. }
            if name == "@mine-data@" && *fingerprint == Some(rotated.clone())),
        "{error:?}"
    );
    assert!(error.to_string().contains(&rotated), "{error}");

    // With another key the documents are here all the same, and the missing ones are listed.
    let other = Database::memory("other").await.expect("opens");
    let key = other.keys().export().expect("exports").to_string();
    let db = Database::builder()
        .path(&path)
        .keybag(&keys)
        .key(key)
        .open()
        .await
        .expect("opens");
    assert_eq!(db.count().await.expect("counts"), 3);
    let missing: Vec<_> = db
        .keys()
        .list()
        .into_iter()
        .filter(|key| !key.is_here)
        .map(|key| key.fingerprint)
        .collect();
    assert_eq!(missing.len(), 2);
    assert!(missing.contains(&rotated));
}

#[tokio::test]
async fn a_key_store_takes_the_place_of_the_keybag() {
    let bed = Bed::new(Kind::Memory).await;
    let keychain = MemoryKeyStore::new();
    let path = bed.dir.path().join("db/mine");
    let builder = || Database::builder().path(&path).key_store(keychain.clone());
    let db = builder().open().await.expect("opens");
    assert_eq!(keychain.len(), 2);
    db.put(&doc("a", "v")).await.expect("is written");
    let rotated = db.keys().rotate().expect("rotates");
    db.close().await.expect("closes");
    let db = builder().open().await.expect("opens");
    assert_eq!(db.keys().fingerprint(), Some(rotated));
    assert!(db.get::<Document>("a").await.expect("reads").is_some());
    assert!(!format!("{keychain:?}").contains("\"key\""));
    db.close().await.expect("closes");

    // Keys move from a keybag into a key store.
    let db = open(&bed, "moved").await;
    let fingerprint = db.keys().fingerprint();
    db.close().await.expect("closes");
    let moved = Database::builder()
        .path(bed.dir.path().join("db/moved"))
        .keybag(bed.dir.path().join("keys/moved"))
        .key_store(keychain.clone());
    let db = moved.open().await.expect("opens");
    assert_eq!(db.keys().fingerprint(), fingerprint);
    db.close().await.expect("closes");
    assert_eq!(keychain.len(), 4);
    std::fs::remove_dir_all(bed.dir.path().join("keys/moved")).expect("removes");
    let db = Database::builder()
        .path(bed.dir.path().join("db/moved"))
        .key_store(keychain)
        .open()
        .await
        .expect("opens");
    assert_eq!(db.keys().fingerprint(), fingerprint);
}

/// A keychain that can be locked, as those of operating systems are.
#[derive(Clone, Default)]
struct Lockable {
    inner: MemoryKeyStore,
    locked: Arc<AtomicBool>,
}

impl Lockable {
    fn check(&self) -> Result<()> {
        match self.locked.load(Ordering::Relaxed) {
            true => Err(Error::Keys("the keychain is locked; unlock it".into())),
            false => Ok(()),
        }
    }
}

impl KeyStore for Lockable {
    fn place(&self, name: &str) -> String {
        format!("keychain item {name}")
    }

    fn get(&self, name: &str) -> Result<Option<zeroize::Zeroizing<String>>> {
        self.check()?;
        self.inner.get(name)
    }

    fn replace(&self, name: &str, expected: Option<&str>, secret: &str) -> Result<bool> {
        self.check()?;
        self.inner.replace(name, expected, secret)
    }
}

#[tokio::test]
async fn a_locked_keychain_makes_no_new_keys() {
    let bed = Bed::new(Kind::Memory).await;
    let keychain = Lockable::default();
    let builder = || {
        Database::builder()
            .path(bed.dir.path().join("db/mine"))
            .key_store(keychain.clone())
    };
    let db = builder().open().await.expect("opens");
    let before = db.keys().list();
    keychain.locked.store(true, Ordering::Relaxed);
    assert!(matches!(db.keys().rotate(), Err(Error::Keys(_))));
    assert_eq!(db.keys().list(), before, "what is not saved is not used");
    db.close().await.expect("closes");
    let error = builder().open().await.expect_err("is locked");
    assert!(error.to_string().contains("unlock it"), "{error}");
    keychain.locked.store(false, Ordering::Relaxed);
    let db = builder().open().await.expect("opens");
    assert_eq!(db.keys().list(), before);
}

#[tokio::test]
async fn keys_show_nowhere() {
    let bed = Bed::new(Kind::Memory).await;
    let db = open(&bed, "mine").await;
    db.keys().rotate().expect("rotates");
    let set = Keybag::open(bed.dir.path().join("keys/mine"))
        .key_set("@mine-data@")
        .expect("reads")
        .expect("is there");
    let shown = format!("{db:?} {:?} {:?} {set:?}", db.keys(), db.keys().list());
    db.close().await.expect("closes");
    for key in set.keys() {
        assert!(!shown.contains(&key.to_text()[1..]), "{shown}");
        for file in files(&bed.dir.path().join("db")) {
            let bytes = std::fs::read(&file).expect("reads");
            let text = key.to_text();
            let found = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
            assert!(!found(key.as_bytes()) && !found(text.as_bytes()));
        }
    }
}
