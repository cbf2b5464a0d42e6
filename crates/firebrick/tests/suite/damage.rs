//! Remotes that lose, damage or delay what was put there, that cannot be reached, or whose data
//! cannot be read: the rest syncs, the status says what is wrong, and it heals.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use firebrick::env::RealEnv;
use firebrick::gateway::{Faulty, FolderGateway, Gateway, MemoryRemote, Step};
use firebrick::{Attachment, Cid, Database, Document, Error, Join, Remote, State};

use crate::common::{
    Bed, DEADLINE, Kind, converge, doc, on_every_remote, state, synced, until, until_here,
    until_up_to_date, write,
};

/// A remote behind everybody's back.
struct Behind {
    memory: Option<MemoryRemote>,
    folder: PathBuf,
}

impl Behind {
    fn new(bed: &Bed, name: &str) -> Self {
        let memory = matches!(bed.kind(), Kind::Memory).then(|| bed.memory_remote(name));
        let folder = bed.dir.path().join("remotes").join(name);
        Self { memory, folder }
    }

    fn file(&self, car: &Cid) -> PathBuf {
        self.folder.join("data").join(format!("{car}.car"))
    }

    fn cars(&self) -> Vec<(Cid, Bytes)> {
        if let Some(memory) = &self.memory {
            let cars = memory.dump_cars().into_iter();
            return cars.map(|(entry, bytes)| (entry.cid, bytes)).collect();
        }
        let entries = fs::read_dir(self.folder.join("data")).expect("lists");
        let cars = entries.filter_map(|entry| {
            let path = entry.expect("lists").path();
            let cid = path.file_stem()?.to_str()?.parse().ok()?;
            Some((cid, fs::read(&path).expect("reads").into()))
        });
        cars.collect()
    }

    fn take(&self, car: &Cid) {
        match &self.memory {
            Some(memory) => assert!(memory.remove_car(car)),
            None => fs::remove_file(self.file(car)).expect("is there"),
        }
    }

    /// Puts bytes where a CAR is or was.
    async fn put(&self, car: &Cid, bytes: Bytes) {
        match &self.memory {
            Some(memory) => memory.put_car(car, bytes).await.expect("is stored"),
            None => fs::write(self.file(car), bytes).expect("writes"),
        }
    }

    fn forget_everything(&self) {
        match &self.memory {
            Some(memory) => memory.clear(),
            None => {
                // Whoever is attached may be writing.
                while fs::remove_dir_all(&self.folder).is_err() {
                    assert!(self.folder.exists());
                }
            }
        }
    }
}

/// What can happen to the bytes of a CAR; `None`: they are gone.
fn damages(bytes: &Bytes, other: &Bytes) -> Vec<(&'static str, Option<Bytes>)> {
    let flipped = |at: usize| {
        let mut changed = bytes.to_vec();
        changed[at] ^= 0x10;
        Some(Bytes::from(changed))
    };
    let cut = |len: usize| Some(bytes.slice(..len));
    vec![
        ("missing", None),
        ("empty", cut(0)),
        ("cut to a byte", cut(1)),
        ("cut in half", cut(bytes.len() / 2)),
        ("one byte short", cut(bytes.len() - 1)),
        ("flipped in front", flipped(3)),
        ("flipped in the middle", flipped(bytes.len() / 2)),
        ("flipped at the end", flipped(bytes.len() - 1)),
        ("another CAR", Some(other.clone())),
    ]
}

/// The author of a damaged CAR is away. Everybody else syncs on, the status names the CAR, and
/// when the true bytes come back everything arrives.
async fn true_bytes_return(kind: Kind, rows: usize) {
    let bed = Bed::new(kind).await;
    let cases = damages(&Bytes::from_static(b"0123456789"), &Bytes::new()).len();
    // With many rows, every third kind of damage is enough.
    for case in (0..cases).step_by(if rows == 1 { 1 } else { 3 }) {
        let hub = format!("hub-{case}");
        let (url, behind) = (bed.remote(&hub), Behind::new(&bed, &hub));
        let author = bed.open(&format!("author-{case}")).await;
        write(&author, "lost", rows).await;
        author.attach(url.as_str()).expect("attaches");
        assert!(author.close().await.expect("closes").unpushed.is_empty());
        let cars = behind.cars();
        let (car, bytes) = cars[0].clone();
        let (what, damaged) =
            damages(&bytes, &Bytes::from_static(b"something else")).swap_remove(case);
        match damaged {
            Some(damaged) => behind.put(&car, damaged).await,
            None => behind.take(&car),
        }

        let others = [
            bed.open(&format!("b-{case}")).await,
            bed.open(&format!("c-{case}")).await,
        ];
        write(&others[0], "fine", rows).await;
        let attached: Vec<Attachment> = others
            .iter()
            .map(|db| db.attach(url.as_str()).expect("attaches"))
            .collect();
        for (db, attachment) in others.iter().zip(&attached) {
            until_here(db, &format!("b-{case}-fine-0000")).await;
            let status = until(attachment, "naming the CAR", |status| {
                status
                    .pending
                    .iter()
                    .any(|pending| pending.cars.contains(&car))
            })
            .await;
            // Where the name of the key is damaged, it looks like one that is not here.
            assert!(
                matches!(status.state, State::Syncing { .. } | State::NeedsKey { .. }),
                "{what}: {status:#?}"
            );
            assert!(
                status
                    .pending
                    .iter()
                    .any(|pending| pending.cause.contains(&car.to_string())),
                "{what}: {status:#?}"
            );
            assert_eq!(db.count().await.expect("counts"), rows);
            // Waiting for it ends at the deadline and says why.
            let error = attachment.synced_within(Duration::from_millis(50)).await;
            let error = error.expect_err("it is not all there").to_string();
            assert!(
                error.contains(&car.to_string()) || error.contains("key"),
                "{what}: {error}"
            );
        }
        behind.put(&car, bytes).await;
        for attachment in &attached {
            until_up_to_date(attachment).await;
        }
        assert_eq!(converge(&others).await.docs.len(), 2 * rows, "{what}");
        for attachment in &attached {
            until_up_to_date(attachment).await;
            assert!(attachment.status().pending.is_empty());
        }
    }
}

/// Any replica puts back what a newcomer cannot read, whoever wrote it; nobody does anything.
async fn others_restore_it(kind: Kind, rows: usize) {
    let bed = Bed::new(kind).await;
    let cases = damages(&Bytes::from_static(b"0123456789"), &Bytes::new()).len();
    for case in (0..cases).step_by(if rows == 1 { 2 } else { 4 }) {
        let hub = format!("hub-{case}");
        let (url, behind) = (bed.remote(&hub), Behind::new(&bed, &hub));
        let (author, reader) = (
            bed.open(&format!("a-{case}")).await,
            bed.open(&format!("b-{case}")).await,
        );
        write(&author, "row", rows).await;
        for db in [&author, &reader] {
            synced(&[db.attach(url.as_str()).expect("attaches")]).await;
        }
        // The author goes; the one that only read it can help.
        author.close().await.expect("closes");
        for (car, bytes) in behind.cars() {
            let (_, damaged) =
                damages(&bytes, &Bytes::from_static(b"something else")).swap_remove(case);
            match damaged {
                Some(damaged) => behind.put(&car, damaged).await,
                None => behind.take(&car),
            }
        }
        let newcomer = bed.open(&format!("c-{case}")).await;
        let attachment = newcomer.attach(url.as_str()).expect("attaches");
        until_here(&newcomer, &format!("a-{case}-row-0000")).await;
        until_up_to_date(&attachment).await;
        assert_eq!(state(&newcomer).await, state(&reader).await);
    }
}

async fn remote_forgets_everything(kind: Kind, rows: usize) {
    let bed = Bed::new(kind).await;
    let (url, behind) = (bed.remote("hub"), Behind::new(&bed, "hub"));
    let (a, b) = (bed.open("a").await, bed.open("b").await);
    for db in [&a, &b] {
        write(db, "first", rows).await;
        db.attach(url.as_str()).expect("attaches");
    }
    let both = [a, b];
    converge(&both).await;
    behind.forget_everything();
    write(&both[0], "second", rows).await;
    assert_eq!(converge(&both).await.docs.len(), 3 * rows);
    let newcomer = bed.open("newcomer").await;
    synced(&[newcomer.attach(url.as_str()).expect("attaches")]).await;
    assert_eq!(
        state(&newcomer).await,
        state(&both[0]).await,
        "all of it was put back"
    );

    // Also when it happens while everyone is away.
    for db in &both {
        db.close().await.expect("closes");
    }
    newcomer.close().await.expect("closes");
    behind.forget_everything();
    let (b, other) = (bed.open("b").await, bed.open("other").await);
    for db in [&b, &other] {
        synced(&[db.attach(url.as_str()).expect("attaches")]).await;
    }
    assert_eq!(state(&other).await, state(&b).await);
    assert_eq!(other.count().await.expect("counts"), 3 * rows);
}

/// Announcements that come before their CARs, as with a file-sync tool; CARs in any order.
async fn cars_after_their_announcement(kind: Kind, rows: usize) {
    let bed = Bed::new(kind).await;
    let (url, behind) = (bed.remote("hub"), Behind::new(&bed, "hub"));
    let author = bed.open("author").await;
    let attachment = author.attach(url.as_str()).expect("attaches");
    for push in 0..5 {
        write(&author, &format!("push-{push}"), rows).await;
        synced(std::slice::from_ref(&attachment)).await;
    }
    author.close().await.expect("closes");
    let mut cars = behind.cars();
    assert!(cars.len() >= 5);
    for (car, _) in &cars {
        behind.take(car);
    }
    let reader = bed.open("reader").await;
    let attachment = reader.attach(url.as_str()).expect("attaches");
    until(&attachment, "waiting", |status| !status.pending.is_empty()).await;
    // The last one, which has the header, comes in the middle.
    cars.rotate_left(2);
    for (car, bytes) in cars {
        behind.put(&car, bytes).await;
        // A look at the remote, however it ends.
        let _ = attachment.synced_within(Duration::from_millis(100)).await;
    }
    synced(&[attachment]).await;
    assert_eq!(reader.count().await.expect("counts"), 5 * rows);
}

/// What lies at the remote is encrypted with a key that comes later, while everything is open.
async fn key_comes_later(kind: Kind, rows: usize) {
    let bed = Bed::new(kind).await;
    let url = bed.remote("hub");
    let open = async |name: &str| {
        let builder = Database::builder()
            .path(bed.dir.path().join(name))
            .name(name);
        builder
            .keybag(bed.dir.path().join("own").join(name))
            .open()
            .await
            .expect("opens")
    };
    let (a, b) = (open("a").await, open("b").await);
    write(&a, "row", rows).await;
    synced(&[a.attach(url.as_str()).expect("attaches")]).await;
    let fingerprint = a.keys().fingerprint().expect("has a key");
    let attachment = b.attach(url.as_str()).expect("attaches");
    let status = until(&attachment, "asking for the key", |status| {
        matches!(status.state, State::NeedsKey { .. })
    })
    .await;
    assert_eq!(
        status.state,
        State::NeedsKey {
            fingerprint: fingerprint.clone()
        }
    );
    let error = attachment.synced().await.expect_err("the key is missing");
    assert!(
        matches!(&error, Error::NeedsKey { fingerprint: named } if *named == fingerprint),
        "{error}"
    );
    assert!(error.to_string().contains("import it here"), "{error}");
    assert_eq!(b.count().await.expect("counts"), 0);
    // It goes on writing meanwhile, and what it writes is for those who have its own key.
    write(&b, "own", rows).await;
    let own = b.keys().export().expect("has a key");
    b.keys()
        .import(&a.keys().export().expect("has a key"))
        .expect("is a key");
    until_here(&b, "a-row-0000").await;
    a.keys().add(&own).expect("is a key");
    let both = [a, b];
    assert_eq!(converge(&both).await.docs.len(), 2 * rows);
    until_up_to_date(&attachment).await;
    for db in &both {
        assert_eq!(db.keys().fingerprint().as_ref(), Some(&fingerprint));
    }
}

async fn join_is_refused(kind: Kind, rows: usize) {
    let bed = Bed::new(kind).await;
    let (url, behind) = (bed.remote("hub"), Behind::new(&bed, "hub"));
    let (a, b) = (bed.open("a").await, bed.open("b").await);
    write(&a, "a", rows).await;
    write(&b, "b", rows).await;
    synced(&[a.attach(url.as_str()).expect("attaches")]).await;
    let there = behind.cars().len();
    let before = state(&b).await;
    let remote = |join| {
        Remote::url(url.as_str())
            .expect("is a URL")
            .name("hub")
            .join(join)
    };
    let attachment = b.attach(remote(Join::Refuse)).expect("attaches");
    until(&attachment, "refusing", |status| {
        status.state == State::NeedsMerge
    })
    .await;
    let error = attachment.synced().await.expect_err("refuses");
    assert!(
        matches!(&error, Error::NeedsMerge { remote } if remote == "hub"),
        "{error}"
    );
    assert_eq!(state(&b).await, before, "nothing came in");
    assert_eq!(behind.cars().len(), there, "and nothing went out");
    b.put(&doc("more", "v")).await.expect("writing goes on");
    attachment.detach().await;
    let attachment = b.attach(remote(Join::Merge)).expect("attaches");
    synced(std::slice::from_ref(&attachment)).await;
    assert!(attachment.status().joined);
    let both = [a, b];
    assert_eq!(converge(&both).await.docs.len(), 2 * rows + 1);
    // Now they belong together, and refusing finds nothing to refuse.
    let c = bed.open("c").await;
    synced(&[c.attach(remote(Join::Refuse)).expect("attaches")]).await;
    assert_eq!(state(&c).await, state(&both[0]).await);
}

/// A remote whose cable can be pulled.
fn faulty(bed: &Bed, name: &str) -> Faulty<dyn Gateway> {
    let env = Arc::new(RealEnv::new());
    let inner: Arc<dyn Gateway> = match bed.kind() {
        Kind::Memory => Arc::new(bed.memory_remote(name)),
        Kind::Folder => {
            let path = bed.dir.path().join("remotes").join(name);
            Arc::new(FolderGateway::new(&path, Arc::clone(&env) as _))
        }
    };
    Faulty::new(inner, env, 1)
}

fn named(gateway: &Faulty<dyn Gateway>, name: &str) -> Remote {
    Remote::gateway(Arc::new(gateway.clone())).name(name)
}

async fn an_outage_ends_by_itself(kind: Kind, rows: usize) {
    let bed = Bed::new(kind).await;
    let (url, cable) = (bed.remote("hub"), faulty(&bed, "hub"));
    let (a, b) = (bed.open("a").await, bed.open("b").await);
    cable.set_unavailable(true);
    let attachment = a
        .attach(named(&cable, "hub"))
        .expect("attaching needs no answer");
    write(&a, "offline", rows).await;
    let is_offline =
        |status: &firebrick::RemoteStatus| matches!(status.state, State::Offline { .. });
    let status = until(&attachment, "offline", is_offline).await;
    let State::Offline {
        cause,
        retry_in_ms,
        since_ms,
    } = status.state
    else {
        unreachable!()
    };
    assert!(cause.contains("not reachable"), "{cause}");
    assert!(retry_in_ms > 0 && since_ms > 1_600_000_000_000);
    assert!(
        status
            .last_error
            .is_some_and(|error| error.contains("not reachable"))
    );
    let error = attachment
        .synced_within(Duration::from_millis(20))
        .await
        .expect_err("is offline");
    assert!(error.to_string().contains("not reachable"), "{error}");
    cable.set_unavailable(false);
    until_up_to_date(&attachment).await;
    b.attach(url.as_str()).expect("attaches");
    let both = [a, b];
    assert_eq!(converge(&both).await.docs.len(), rows);
    // And once more in the middle of it.
    cable.set_unavailable(true);
    write(&both[0], "again", rows).await;
    until(&attachment, "offline", is_offline).await;
    write(&both[1], "meanwhile", rows).await;
    assert_eq!(both[0].count().await.expect("counts"), 2 * rows);
    cable.set_unavailable(false);
    until_up_to_date(&attachment).await;
    assert_eq!(converge(&both).await.docs.len(), 3 * rows);
}

/// Whatever the remote does, detaching and closing end, and say what was left.
async fn closing_never_hangs(kind: Kind, rows: usize) {
    if rows > 1 {
        // It takes its time, and the number of rows has no part in it.
        return;
    }
    let bed = Bed::new(kind).await;
    let patience = Duration::from_secs(30);
    for hangs in [false, true] {
        let hub = format!("hub-{hangs}");
        let cable = faulty(&bed, &hub);
        let stop = || match hangs {
            true => cable.on_call(|_| Step::Hang),
            false => cable.on_call(|_| Step::Fail),
        };
        // From the first call on, and in the middle.
        for later in [false, true] {
            let name = format!("db-{hangs}-{later}");
            let db = bed.open(&name).await;
            if later {
                cable.clear_hook();
                write(&db, "before", rows).await;
                synced(&[db.attach(named(&cable, "hub")).expect("attaches")]).await;
            }
            stop();
            let attachment = db.attach(named(&cable, "hub")).expect("attaches");
            write(&db, "left", rows).await;
            let start = Instant::now();
            let report = attachment.detach().await;
            assert!(start.elapsed() < patience, "{:?}", start.elapsed());
            assert!(report.unpushed > 0, "hangs {hangs}, later {later}");
            db.attach(named(&cable, "other name")).expect("attaches");
            let report = db.close().await.expect("closes");
            assert!(start.elapsed() < patience * 2, "{:?}", start.elapsed());
            assert!(
                matches!(report.unpushed.as_slice(), [(name, left)] if name == "other name" && *left > 0),
                "hangs {hangs}, later {later}: {report:?}"
            );
            let db = bed.open(&name).await;
            cable.clear_hook();
            synced(&[db.attach(named(&cable, "hub")).expect("attaches")]).await;
            let other = bed.open(&format!("other-{hangs}-{later}")).await;
            synced(&[other.attach(bed.remote(&hub).as_str()).expect("attaches")]).await;
            assert!(
                other
                    .get::<Document>(&format!("{name}-left-0000"))
                    .await
                    .expect("reads")
                    .is_some()
            );
            db.close().await.expect("closes");
        }
    }
}

async fn receipts_per_tier(kind: Kind, rows: usize) {
    let bed = Bed::new(kind).await;
    let (near, far) = (faulty(&bed, "near"), faulty(&bed, "far"));
    let db = bed.open("db").await;
    let other = bed.open("other").await;
    write(&other, "foreign", rows).await;
    let other_near = other.attach(bed.remote("near").as_str()).expect("attaches");
    synced(std::slice::from_ref(&other_near)).await;
    db.attach(named(&near, "near")).expect("attaches");
    far.set_unavailable(true);
    db.attach(named(&far, "far")).expect("attaches");
    let written = db.put(&doc("mine", "v")).await.expect("is written");
    let receipt = db.receipt(&written);
    assert_eq!(receipt.local(), written.head);
    let wait = tokio::time::timeout(DEADLINE, receipt.remote("near"));
    wait.await.expect("in time").expect("arrives");
    // It is really there.
    synced(&[other_near]).await;
    assert!(
        other
            .get::<Document>("mine")
            .await
            .expect("reads")
            .is_some()
    );
    assert!(matches!(
        receipt.remote("nowhere").await,
        Err(Error::NoRemote(_))
    ));
    let all = tokio::time::timeout(Duration::from_millis(100), receipt.all()).await;
    assert!(all.is_err(), "the far one has nothing");
    far.set_unavailable(false);
    let wait = tokio::time::timeout(DEADLINE, receipt.all());
    wait.await.expect("in time").expect("arrives");
    assert!(
        far.inner()
            .list_cars()
            .await
            .expect("lists")
            .is_some_and(|cars| !cars.is_empty())
    );

    // What others wrote and cannot be read holds back no receipt.
    let behind = Behind::new(&bed, "near");
    let known: Vec<Cid> = behind.cars().into_iter().map(|(car, _)| car).collect();
    near.set_unavailable(true);
    write(&other, "unreadable", rows).await;
    assert!(other.close().await.expect("closes").unpushed.is_empty());
    for (car, _) in behind.cars() {
        if !known.contains(&car) {
            behind.take(&car);
        }
    }
    near.set_unavailable(false);
    let written = db.put(&doc("mine too", "v")).await.expect("is written");
    let receipt = db.receipt(&written);
    let wait = tokio::time::timeout(Duration::from_secs(20), receipt.remote("near"));
    wait.await.expect("in time").expect("arrives");
    db.put(&doc("later", "v")).await.expect("is written");
    let wait = tokio::time::timeout(Duration::from_secs(20), receipt.all());
    wait.await
        .expect("in time")
        .expect("an old receipt stays true");
}

/// Writes that were acknowledged before the process went away arrive after the next opening.
async fn outbox_survives(kind: Kind, rows: usize) {
    let bed = Bed::new(kind).await;
    let cable = faulty(&bed, "hub");
    for run in 0..3 {
        let db = bed.open("writer").await;
        if run > 0 {
            cable.set_unavailable(true);
            db.attach(named(&cable, "hub").remember(true))
                .expect("attaches");
        }
        write(&db, &format!("run-{run}"), rows).await;
        // Not closed: the handle just goes.
    }
    cable.set_unavailable(false);
    let db = bed.open("writer").await;
    assert_eq!(db.count().await.expect("counts"), 3 * rows);
    assert_eq!(db.remembered().len(), 1);
    synced(&[db.attach(named(&cable, "hub")).expect("attaches")]).await;
    let reader = bed.open("reader").await;
    synced(&[reader.attach(bed.remote("hub").as_str()).expect("attaches")]).await;
    assert_eq!(state(&reader).await, state(&db).await);
}

/// A remote that is forgotten stays forgotten, whether it can be reached before and after that or
/// not, and whatever its task saves later: at the end of a round, and when it leaves.
async fn forgotten_for_good(kind: Kind, rows: usize) {
    for (before, after) in [(false, false), (false, true), (true, true)] {
        let bed = Bed::new(kind).await;
        let cable = faulty(&bed, "hub");
        let remote = || named(&cable, "hub").remember(true);
        cable.set_unavailable(!before);
        let db = bed.open("db").await;
        write(&db, "row", rows).await;
        let attachment = db.attach(remote()).expect("attaches");
        if before {
            synced(std::slice::from_ref(&attachment)).await;
        } else {
            until(&attachment, "offline", |status| {
                matches!(status.state, State::Offline { .. })
            })
            .await;
        }
        assert_eq!(db.remembered().len(), 1);
        db.forget("hub").expect("was remembered");
        cable.set_unavailable(!after);
        if after {
            write(&db, "later", rows).await;
            synced(std::slice::from_ref(&attachment)).await;
        }
        assert!(db.remembered().is_empty(), "{before}, then {after}");
        attachment.detach().await;
        assert!(db.remembered().is_empty(), "{before}, then {after}");

        // Attaching it says so anew.
        db.attach(remote()).expect("attaches");
        assert_eq!(db.remembered().len(), 1);
        // So it does while it is attached, at least that it be remembered.
        db.forget("hub").expect("was remembered");
        db.attach(named(&cable, "hub")).expect("is attached");
        assert!(db.remembered().is_empty());
        db.attach(remote()).expect("is attached");
        assert_eq!(db.remembered().len(), 1);
        assert_eq!(db.attachments().len(), 1);
        db.close().await.expect("closes");
        assert_eq!(bed.open("db").await.remembered().len(), 1);
    }
}

on_every_remote!(
    true_bytes_return,
    others_restore_it,
    remote_forgets_everything,
    cars_after_their_announcement,
    key_comes_later,
    join_is_refused,
    an_outage_ends_by_itself,
    closing_never_hangs,
    receipts_per_tier,
    outbox_survives,
    forgotten_for_good
);
