use super::super::samples::meta;
use super::*;

fn put(owner: &str, metas: &[u8], keys: &[&str]) -> MetaPut {
    MetaPut {
        owner: Conn {
            req_id: owner.into(),
            res_id: "s".into(),
        },
        metas: metas.iter().map(|n| meta(*n)).collect(),
        keys: keys
            .iter()
            .map(|key| KeyText::from((*key).to_owned()))
            .collect(),
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

/// Puts that wait together share a commit; one that is refused takes none of the others with it.
#[tokio::test]
async fn one_bad_put_hurts_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Sqlite::open(&dir.path().join("metas")).unwrap();
    let ledgers = ["one", "two"].map(|name| LedgerId::new("t", name).unwrap());
    let batch: Vec<_> = [
        (0, put("a", &[1, 2], &["zk"])),
        (0, put("b", &[3, 4], &["zlost"])),
        (1, put("c", &[5], &[])),
        (0, put("d", &[6], &[])),
    ]
    .into_iter()
    .map(|(at, put)| (ledgers[at].clone(), put))
    .collect();
    let done = |(ledger, put): &(LedgerId, MetaPut)| store.put(ledger.clone(), put.clone());
    let results = futures_util::future::join_all(batch.iter().map(done)).await;
    let fresh: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().map(entries).map_err(Clone::clone))
        .collect();
    assert_eq!(
        fresh,
        [
            Ok(vec![meta(1), meta(2)]),
            Err(MetaStoreError::Full),
            Ok(vec![meta(5)]),
            Ok(vec![meta(6)]),
        ]
    );
    for _ in 0..2 {
        let one = store.after(ledgers[0].clone(), 0).await.unwrap();
        assert_eq!(entries(&one), [meta(1), meta(2), meta(6)]);
        assert_eq!(one.keys.len(), 1);
        let two = store.after(ledgers[1].clone(), 0).await.unwrap();
        assert_eq!(entries(&two), [meta(5)]);
        // And all of it is on the disk.
        drop(store);
        store = Sqlite::open(&dir.path().join("metas")).unwrap();
    }
}

/// Some errors end SQLite's transaction: nothing of it may count, and the others are stored anyway.
#[tokio::test]
async fn a_lost_transaction_loses_only_the_put_that_lost_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&dir.path().join("metas")).unwrap();
    let trigger = "CREATE TRIGGER lose BEFORE INSERT ON keys WHEN NEW.key = 'zbad'
                   BEGIN SELECT RAISE(ROLLBACK, 'lost'); END";
    lock(&store.writes.writer)
        .connection
        .execute_batch(trigger)
        .unwrap();
    let ledger = LedgerId::new("t", "one").unwrap();
    let puts = [
        put("a", &[1], &["zk"]),
        put("b", &[2], &["zbad"]),
        put("c", &[3], &[]),
    ];
    // They are stored together: the thread that stores them has to wait for this lock.
    let guard = lock(&store.writes.writer);
    let puts = puts.map(|put| store.put(ledger.clone(), put));
    let mut all = std::pin::pin!(futures_util::future::join_all(puts));
    assert!(all.as_mut().now_or_never().is_none());
    drop(guard);
    let results = all.await;
    assert!(results[0].is_ok() && results[1].is_err() && results[2].is_ok());
    let stored = store.after(ledger, 0).await.unwrap();
    assert_eq!(entries(&stored), [meta(1), meta(3)]);
    assert_eq!(stored.keys.len(), 1);
}

/// A full disk is an error for the puts that meet it; what was acknowledged stays, and later there is
/// room again.
#[tokio::test]
async fn a_full_disk_takes_nothing_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metas");
    let store = Sqlite::open(&path).unwrap();
    let ledger = LedgerId::new("t", "l").unwrap();
    let add = |n: u8| {
        let put = MetaPut {
            supersede: false,
            limit: MetaLimit {
                entries: 1000,
                bytes: 5000,
            },
            ..put("a", &[n], &[])
        };
        store.put(ledger.clone(), put)
    };
    let all = async |store: &Sqlite| entries(&store.after(ledger.clone(), 0).await.unwrap());
    let room_for = |pages: i64| {
        let writer = lock(&store.writes.writer);
        let connection = &writer.connection;
        let used: i64 = connection
            .pragma_query_value(None, "page_count", |row| row.get(0))
            .unwrap();
        connection
            .pragma_update_and_check(None, "max_page_count", used + pages, |_| Ok(()))
            .unwrap();
    };
    add(0).await.unwrap();
    room_for(1);
    let mut stored = vec![meta(0)];
    let refused = loop {
        let n = u8::try_from(stored.len()).unwrap();
        match add(n).await {
            Ok(_) => stored.push(meta(n)),
            Err(error) => break error,
        }
    };
    let MetaStoreError::Unavailable { cause } = refused else {
        panic!("{refused:?}");
    };
    assert!(cause.contains("full"), "{cause}");
    assert_eq!(all(&store).await, stored);
    room_for(100);
    stored.push(meta(255));
    add(255).await.unwrap();
    assert_eq!(all(&store).await, stored);
    assert_eq!(all(&Sqlite::open(&path).unwrap()).await, stored);
}
