//! What every store of metas keeps to.

use std::collections::BTreeMap;
use std::sync::Arc;

use firebrick_core::cloud::{Conn, KeyText, MetaEntry};
use firebrick_server::StoreUrl;
use firebrick_server::ids::LedgerId;
use firebrick_server::metas::{
    Change, MetaLimit, MetaPut, MetaStore, MetaStoreError, MetaView, Postgres, Sqlite,
};
use firebrick_testbed::Postgres as Cluster;
use futures_util::StreamExt;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::support::{PATIENCE, key, meta};

fn ledger(name: &str) -> LedgerId {
    LedgerId::new("t", name).unwrap()
}

fn put(owner: &str, metas: &[&str], keys: &[KeyText]) -> MetaPut {
    MetaPut {
        owner: Conn {
            req_id: owner.into(),
            // Clients choose these.
            res_id: "\0".into(),
        },
        metas: metas.iter().map(|name| meta(name)).collect(),
        keys: keys.to_vec(),
        supersede: true,
        limit: MetaLimit {
            entries: 3,
            bytes: 5000,
        },
    }
}

fn entries(view: &MetaView) -> Vec<MetaEntry> {
    view.metas.iter().map(|meta| meta.entry.clone()).collect()
}

async fn contract(store: &dyn MetaStore) {
    let one = ledger("one");
    let all = async |position| store.after(one.clone(), position).await.unwrap();
    let write = async |put: MetaPut| store.put(one.clone(), put).await;
    assert!(all(0).await.metas.is_empty());
    store.check().await.unwrap();

    let stored = write(put("a", &["1"], &[key(1)])).await.unwrap();
    assert_eq!(entries(&stored), [meta("1")]);
    assert!(stored.new_keys && stored.keys == [key(1)]);
    assert_eq!(stored.metas[0].owner.req_id, "a");
    assert!(stored.position >= stored.metas[0].position);
    // Known ones are not new, and the first owner stays.
    let stored = write(put("b", &["1", "2", "2"], &[key(1)])).await.unwrap();
    assert_eq!(entries(&stored), [meta("2")]);
    assert!(!stored.new_keys);
    assert_eq!(all(0).await.metas[0].owner.req_id, "a");
    // A connection's own earlier metas go, those of others stay.
    write(put("b", &["3"], &[])).await.unwrap();
    let view = all(0).await;
    assert_eq!(entries(&view), [meta("1"), meta("3")]);
    assert!(view.metas[0].position < view.metas[1].position);
    assert!(all(view.position).await.metas.is_empty());
    assert_eq!(entries(&all(view.metas[0].position).await), [meta("3")]);
    // Unless their CARs may be missing.
    let mut kept = put("b", &["4"], &[]);
    kept.supersede = false;
    write(kept).await.unwrap();
    assert_eq!(entries(&all(view.position).await), [meta("4")]);
    // Too many: nothing of it is stored.
    let full = write(put("c", &["5"], &[key(2)])).await;
    assert_eq!(full.unwrap_err(), MetaStoreError::Full);
    assert_eq!(all(0).await.keys, [key(1)]);
    assert_eq!(all(0).await.metas.len(), 3);
    let full = write(put("b", &["6"], &[key(1), key(2), key(3), key(4)])).await;
    assert_eq!(full.unwrap_err(), MetaStoreError::Full);
    // Nothing new.
    let stored = write(put("b", &["4"], &[key(1)])).await.unwrap();
    assert!(stored.metas.is_empty() && !stored.new_keys);
    assert_eq!(entries(&all(0).await), [meta("1"), meta("4")]);
    // What was replaced does not count.
    for n in 10..20 {
        write(put("b", &[&n.to_string()], &[])).await.unwrap();
    }
    let full = write(put("c", &["8", "9"], &[])).await;
    assert_eq!(full.unwrap_err(), MetaStoreError::Full);
    // Nor may they be too long together.
    let mut long = put("b", &["21"], &[]);
    long.limit.bytes = 500;
    assert_eq!(write(long).await.unwrap_err(), MetaStoreError::Full);
    let usage = store.usage().await.unwrap();
    assert_eq!((usage.len(), usage[&one].metas), (1, 2));
    assert!(usage[&one].last_write > 1_700_000_000);
    // Other ledgers have none of it.
    assert!(
        store
            .after(ledger("two"), 0)
            .await
            .unwrap()
            .metas
            .is_empty()
    );
    assert!(store.after(ledger("two"), 0).await.unwrap().keys.is_empty());
}

#[tokio::test]
async fn sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metas");
    let store = Sqlite::open(&path).unwrap();
    contract(&store).await;
    assert!(store.changes().is_none());
    let before = store.after(ledger("one"), 0).await.unwrap();
    drop(store);
    let store = Sqlite::open(&path).unwrap();
    let after = store.after(ledger("one"), 0).await.unwrap();
    assert_eq!((before.metas, before.keys), (after.metas, after.keys));
}

#[tokio::test]
async fn postgres() {
    let mut cluster = Cluster::start();
    let url = StoreUrl::new(cluster.url());
    // Looking changes nothing.
    Postgres::probe(&url).await.unwrap();
    assert_eq!(cluster.query("SELECT to_regnamespace('firebrick')"), "");
    let store = Postgres::open(&url).await.unwrap();
    contract(&store).await;
    let before = store.after(ledger("one"), 0).await.unwrap();

    // A lost database is an error, and everything is there when it is back.
    cluster.stop();
    let refused = store.put(ledger("one"), put("c", &["7"], &[])).await;
    assert!(matches!(refused, Err(MetaStoreError::Unavailable { .. })));
    assert!(store.check().await.is_err());
    assert!(Postgres::probe(&url).await.is_err());
    cluster.resume();
    store.check().await.unwrap();
    let after = store.after(ledger("one"), 0).await.unwrap();
    assert_eq!((before.metas, before.keys), (after.metas, after.keys));
    store
        .put(ledger("one"), put("c", &["7"], &[]))
        .await
        .unwrap();

    // Of a database that was set back, everything is news.
    let ahead = store.after(ledger("one"), i64::MAX).await.unwrap();
    assert_eq!(ahead.metas.len(), 3);

    // Secrets are given by the first one who asks.
    let second = Postgres::open(&url).await.unwrap();
    let secret = async |store: &Postgres, fresh: &[u8]| {
        let fresh = Zeroizing::new(fresh.to_vec());
        store.secret("name", fresh).await.unwrap().unwrap()
    };
    assert_eq!(*secret(&store, b"first").await, b"first");
    assert_eq!(*secret(&second, b"second").await, b"first");

    // What only can be read is not good enough.
    cluster.query("ALTER DATABASE postgres SET default_transaction_read_only = on");
    let third = Postgres::open(&url).await.unwrap();
    assert!(third.check().await.is_err());
    cluster.query(
        "BEGIN READ WRITE; ALTER DATABASE postgres RESET default_transaction_read_only; COMMIT",
    );

    cluster.query("UPDATE firebrick.format SET version = 99");
    for error in [
        Postgres::open(&url).await.map(drop),
        Postgres::probe(&url).await,
    ] {
        let Err(MetaStoreError::Unavailable { cause }) = error else {
            panic!("{error:?}");
        };
        assert!(cause.contains("newer"), "{cause}");
    }
}

#[tokio::test]
async fn connections_are_encrypted_to_whom_it_should_be() {
    let authority = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        rcgen::CertifiedIssuer::self_signed(params, key).unwrap()
    };
    let (ours, other) = (authority(), authority());
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let certificate = params.signed_by(&key, &ours).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (ours, other) = (file("ours", ours.pem()), file("other", other.pem()));
    let mut cluster = Cluster::start();
    let port = cluster.encrypt(&certificate.pem(), &key.serialize_pem());
    let probe = async |host: &str, more: &str| {
        let url = format!("postgres://postgres@{host}:{port}/postgres?{more}");
        Postgres::probe(&StoreUrl::new(url)).await
    };
    let trusted = format!("sslmode=verify-full&sslrootcert={ours}");
    probe("localhost", &trusted).await.unwrap();
    for (host, more) in [
        // Another authority, another name, the authorities of the machine, no encryption.
        ("localhost", format!("sslmode=require&sslrootcert={other}")),
        ("127.0.0.1", trusted.clone()),
        ("localhost", "sslmode=verify-full".into()),
        ("localhost", "sslmode=disable".into()),
        ("localhost", "sslmode=prefer".into()),
        ("localhost", format!("{trusted}/missing")),
    ] {
        let refused = probe(host, &more).await;
        assert!(refused.is_err(), "{host} {more}");
    }
}

/// Whoever reads from where they stopped misses nothing, however many write at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_are_in_the_order_of_commits() {
    const WRITERS: usize = 8;
    const PUTS: usize = 25;
    let cluster = Cluster::start();
    let url = StoreUrl::new(cluster.url());
    // All of them make the tables.
    let opening = (0..4).map(|_| Postgres::open(&url));
    let stores = futures_util::future::try_join_all(opening).await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let store = stores[writer % stores.len()].clone();
        tokio::spawn(async move {
            for n in 0..PUTS {
                let mut put = put(&format!("{writer}"), &[&format!("{writer}-{n}")], &[]);
                put.limit = MetaLimit {
                    entries: 1000,
                    bytes: 1 << 20,
                };
                put.supersede = false;
                let view = store.put(ledger("one"), put).await.unwrap();
                assert_eq!(view.metas.len(), 1);
                assert!(view.before < view.metas[0].position);
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let reading = async {
        let (mut seen, mut position) = (BTreeMap::new(), 0);
        while seen.len() < WRITERS * PUTS {
            let view = stores[0].after(ledger("one"), position).await.unwrap();
            for meta in &view.metas {
                assert!(meta.position > position);
                let before = seen.insert(meta.entry.cid, meta.position);
                assert_eq!(before, None, "each comes once");
            }
            assert!(view.position >= position);
            position = view.position;
        }
        seen
    };
    let seen = timeout(PATIENCE, reading).await.unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    let all = stores[1].after(ledger("one"), 0).await.unwrap();
    assert_eq!(all.metas.len(), seen.len());
}

#[tokio::test]
async fn changes_are_told() {
    let mut cluster = Cluster::start();
    let url = StoreUrl::new(cluster.url());
    let store = Arc::new(Postgres::open(&url).await.unwrap());
    let other = Postgres::open(&url).await.unwrap();
    let mut changes = store.changes().unwrap();
    let mut next = async || timeout(PATIENCE, changes.next()).await.unwrap();
    assert_eq!(next().await, Some(Change::Unknown));
    for store in [&*store, &other] {
        for names in [["1"], ["2"]] {
            let put = put("a", &names, &[]);
            let view = store.put(ledger("one"), put).await.unwrap();
            let told = Change::Ledger {
                ledger: ledger("one"),
                position: view.position,
            };
            assert_eq!(next().await, Some(told));
        }
    }
    // Nothing new, nothing told; keys are.
    let same = put("a", &["2"], &[]);
    other.put(ledger("one"), same).await.unwrap();
    let position = other.after(ledger("one"), 0).await.unwrap().position;
    let new_key = put("a", &["2"], &[key(1)]);
    other.put(ledger("one"), new_key).await.unwrap();
    let Some(Change::Ledger { position: told, .. }) = next().await else {
        panic!("a key is told");
    };
    let view = other.after(ledger("one"), position).await.unwrap();
    assert!(view.new_keys && view.metas.is_empty() && view.position == told);
    // Who was deaf knows it.
    cluster.stop();
    cluster.resume();
    assert_eq!(next().await, Some(Change::Unknown));
}
