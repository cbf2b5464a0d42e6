//! Remotes that lose, damage or refuse files, and processes that stop halfway.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use firebrick::Value;
use firebrick::gateway::{CallKind, CarEntry, CarFault, MemoryRemote, Phase, Step};

use super::*;
use crate::common::{until, until_up_to_date};

fn file_cars(remote: &MemoryRemote) -> Vec<CarEntry> {
    let cars = remote.dump_cars().into_iter().map(|(entry, _)| entry);
    cars.filter(|entry| entry.is_file).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetched_from_the_second_of_two_remotes() {
    let bed = Bed::new(Kind::Memory).await;
    let (here, there) = (bed.open("here").await, bed.open("there").await);
    let content = noise(2 * SINGLE, 4);
    here.files("doc")
        .put("file", content.clone())
        .await
        .expect("is stored");
    let (first, second) = (bed.remote("first"), bed.remote("second"));
    synced(&[
        here.attach(&first).expect("attaches"),
        here.attach(&second).expect("attaches"),
    ])
    .await;
    here.close().await.expect("closes");
    let lossy = bed.memory_remote("first");
    for entry in file_cars(&lossy) {
        assert!(lossy.remove_car(&entry.cid));
    }
    let attachments = [
        there.attach(&first).expect("attaches"),
        there.attach(&second).expect("attaches"),
    ];
    synced(&attachments).await;
    assert!(read(&there, "doc", "file").await.expect("reads") == content);
    synced(&attachments).await;
    assert!(attachments[1].status().files.bytes_fetched > content.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_nowhere_has_an_error_of_its_own_and_heals() {
    let bed = Bed::new(Kind::Memory).await;
    let (here, there) = (bed.open("here").await, bed.open("there").await);
    let content = noise(100_000, 4);
    here.files("doc")
        .put("file", content.clone())
        .await
        .expect("is stored");
    let url = bed.remote("hub");
    let hub = bed.memory_remote("hub");
    let writing = here.attach(&url).expect("attaches");
    synced(std::slice::from_ref(&writing)).await;
    let [car] = file_cars(&hub).try_into().expect("one file");
    for damage in 0..3 {
        writing.detach().await;
        match damage {
            0 => assert!(hub.remove_car(&car.cid)),
            1 => assert!(hub.corrupt_car(&car.cid, |bytes| bytes.truncate(5000))),
            _ => assert!(hub.corrupt_car(&car.cid, |bytes| bytes[5000] ^= 1)),
        }
        let there = bed.open(&format!("there-{damage}")).await;
        let reading = there.attach(&url).expect("attaches");
        synced(std::slice::from_ref(&reading)).await;
        match read(&there, "doc", "file").await {
            Err(Error::MissingFile { id, name, .. }) => {
                assert_eq!((id.as_str(), name.as_str()), ("doc", "file"));
            }
            other => panic!("{damage}: {:?}", other.map(|bytes| bytes.len())),
        }
        let missing = until(&reading, "missing", |status| {
            !status.files.missing.is_empty()
        })
        .await;
        assert_eq!(missing.files.missing[0].name, "file");
        // Whoever has it is told, and puts it back; then it is fetched without being asked again.
        let writing = here.attach(&url).expect("attaches");
        until(&reading, "healed", |status| status.files.missing.is_empty()).await;
        assert_eq!(read(&there, "doc", "file").await.expect("reads"), content);
        writing.detach().await;
        there.close().await.expect("closes");
    }
    there.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_faulty_remote_is_not_believed() {
    let bed = Bed::new(Kind::Folder).await;
    let (here, there) = (bed.open("here").await, bed.open("there").await);
    let content = noise(SINGLE + 100, 6);
    here.files("doc")
        .put("file", content.clone())
        .await
        .expect("is stored");
    let url = bed.remote("hub");
    synced(&[here.attach(&url).expect("attaches")]).await;
    here.close().await.expect("closes");
    let (gateway, remote) = faulty(&url, "hub");
    synced(&[there.attach(remote).expect("attaches")]).await;
    let listed = gateway.list_cars().await.expect("lists").expect("can list");
    for fault in [
        CarFault::Missing,
        CarFault::Truncated,
        CarFault::Flipped,
        CarFault::Denied,
    ] {
        for entry in listed.iter().filter(|entry| entry.is_file) {
            gateway.set_car_fault(&entry.cid, Some(fault));
        }
        let error = read(&there, "doc", "file").await.map(|bytes| bytes.len());
        // The name of the key can be what is damaged.
        let refused = matches!(
            error,
            Err(Error::MissingFile { .. } | Error::NeedsKey { .. })
        );
        assert!(refused, "{fault:?}: {error:?}");
    }
    let all = |fault| {
        for entry in &listed {
            gateway.set_car_fault(&entry.cid, fault);
        }
    };
    all(None);
    let files = there.files("doc");
    let reader = files.get("file").await.expect("reads");
    let mut reader = reader.expect("is there");
    all(Some(CarFault::Missing));
    assert!(reader.chunk().await.is_err());
    all(None);
    // Trying again goes on where it failed.
    assert_eq!(reader.remaining(), content.len() as u64);
    assert!(reader.bytes().await.expect("reads") == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_where_it_stopped() {
    let bed = Bed::new(Kind::Memory).await;
    let url = bed.remote("hub");
    let hub = bed.memory_remote("hub");
    let content = noise(10 * PIECE, 8);
    {
        let db = bed.open("db").await;
        db.files("doc")
            .put("file", content.clone())
            .await
            .expect("is stored");
        let (gateway, remote) = faulty(&url, "hub");
        let puts = AtomicUsize::new(0);
        gateway.on_call(move |call| {
            let is_put = call.kind == CallKind::PutFileCar && call.phase == Phase::Before;
            match is_put && puts.fetch_add(1, Ordering::SeqCst) >= 4 {
                true => Step::Fail,
                false => Step::Continue,
            }
        });
        let attachment = db.attach(remote).expect("attaches");
        until(&attachment, "stuck", |status| {
            matches!(status.state, State::Offline { .. })
        })
        .await;
        assert!(file_cars(&hub).len() >= 4);
        assert!(file_cars(&hub).len() < 11);
        // Nothing refers to what is not there yet.
        assert!(hub.dump_cars().iter().all(|(entry, _)| entry.is_file));
        // As if the process had been killed: nothing is closed.
        drop((attachment, db));
    }
    let before = file_cars(&hub).len();
    let db = bed.open("db").await;
    let (gateway, remote) = faulty(&url, "hub");
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&order);
    gateway.on_call(move |call| {
        if call.phase == Phase::Before {
            seen.lock().expect("is sound").push(call.kind);
        }
        Step::Continue
    });
    let attachment = db.attach(remote).expect("attaches");
    synced(std::slice::from_ref(&attachment)).await;
    until_up_to_date(&attachment).await;
    assert!(is_up_to_date(&attachment));
    let order = order.lock().expect("is sound").clone();
    let sent = |kind: CallKind| order.iter().filter(|call| **call == kind).count();
    assert_eq!(
        before + sent(CallKind::PutFileCar),
        11,
        "ten pieces and their list, each once"
    );
    let last_file = order.iter().rposition(|call| *call == CallKind::PutFileCar);
    let first_car = order.iter().position(|call| *call == CallKind::PutCar);
    assert!(
        last_file < first_car,
        "files before what refers to them: {order:?}"
    );
    let there = bed.open("there").await;
    synced(&[there.attach(&url).expect("attaches")]).await;
    assert!(read(&there, "doc", "file").await.expect("reads") == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_passed_on_to_another_remote() {
    let bed = Bed::new(Kind::Memory).await;
    let (first, middle, last) = (
        bed.open("first").await,
        bed.open("middle").await,
        bed.open("last").await,
    );
    let content = noise(SINGLE + 5, 8);
    first
        .files("doc")
        .put("file", content.clone())
        .await
        .expect("is stored");
    let (left, right) = (bed.remote("left"), bed.remote("right"));
    synced(&[first.attach(&left).expect("attaches")]).await;
    first.close().await.expect("closes");
    let attachments = [
        middle.attach(&left).expect("attaches"),
        middle.attach(&right).expect("attaches"),
    ];
    until_here(&middle, "doc").await;
    // What a status says can be older than the document; what a round after it says is not.
    synced(&attachments).await;
    for attachment in &attachments {
        until_up_to_date(attachment).await;
    }
    // It went through without staying.
    let local = middle
        .files("doc")
        .local_bytes("file")
        .await
        .expect("counts");
    assert_eq!(local, Some(0));
    middle.close().await.expect("closes");
    synced(&[last.attach(&right).expect("attaches")]).await;
    assert!(read(&last, "doc", "file").await.expect("reads") == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_files_are_passed_on_than_one_round_looks_for() {
    let bed = Bed::new(Kind::Memory).await;
    let (first, middle) = (bed.open("first").await, bed.open("middle").await);
    let name = |n: usize| format!("file-{n}");
    let files = (0..1100).map(|n| (name(n), noise(40, n as u64)));
    let written = first.put_with_files(&doc("doc", "many"), files).await;
    written.expect("is stored");
    let (left, right) = (bed.remote("left"), bed.remote("right"));
    synced(&[first.attach(&left).expect("attaches")]).await;
    first.close().await.expect("closes");
    synced(&[middle.attach(&left).expect("attaches")]).await;
    until_here(&middle, "doc").await;
    until_up_to_date(&middle.attach(&right).expect("attaches")).await;
    middle.close().await.expect("closes");
    let last = bed.open("last").await;
    synced(&[last.attach(&right).expect("attaches")]).await;
    for n in [0, 499, 500, 999, 1000, 1099] {
        let content = read(&last, "doc", &name(n)).await.expect("reads");
        assert!(content == noise(40, n as u64), "{n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_here_is_fetched_again() {
    let bed = Bed::new(Kind::Memory).await;
    let db = bed.open("db").await;
    let content = noise(1 << 20, 8);
    db.files("doc")
        .put("file", content.clone())
        .await
        .expect("is stored");
    let attachment = db.attach(bed.remote("hub")).expect("attaches");
    synced(std::slice::from_ref(&attachment)).await;
    for at in [50, 500_000] {
        let [path] = at_rest::files(&bed.dir.path().join("db/db/files"))
            .try_into()
            .expect("one");
        let mut bytes = std::fs::read(&path).expect("reads");
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).expect("writes");
        assert_eq!(read(&db, "doc", "file").await.expect("reads"), content);
    }
    attachment.detach().await;
    assert_eq!(read(&db, "doc", "file").await.expect("reads"), content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_says_a_wrong_length_keeps_nothing_back() {
    let bed = Bed::new(Kind::Memory).await;
    let (here, there) = (bed.open("here").await, bed.open("there").await);
    let content = noise(1000, 8);
    let files = here.files("good");
    files.put("file", content.clone()).await.expect("is stored");
    let good: Document = here.get("good").await.expect("reads").expect("is there");
    let Some(Value::Map(mut entries)) = good.get("_files").cloned() else {
        panic!("a map of files");
    };
    let Some(Value::Map(entry)) = entries.get_mut("file") else {
        panic!("a file");
    };
    entry.insert("size".into(), Value::Int(u64::MAX.into()));
    let bad = Document::new().with("_id", "bad");
    let bad = bad.with("_files", Value::Map(entries));
    here.put(&bad).await.expect("is stored");
    let url = bed.remote("hub");
    synced(&[here.attach(&url).expect("attaches")]).await;
    let prefetching = Remote::url(&url).expect("is a URL").prefetch_files(true);
    synced(&[there.attach(prefetching).expect("attaches")]).await;
    assert_eq!(read(&there, "good", "file").await.expect("reads"), content);
    for db in [&here, &there] {
        let wrong = read(db, "bad", "file").await.map(|bytes| bytes.len());
        assert!(matches!(wrong, Err(Error::Malformed { .. })), "{wrong:?}");
        let file = db.files("bad").get("file").await.expect("reads");
        let end = file.expect("is there").range(u64::MAX - 9..);
        let end = end.bytes().await.map(|bytes| bytes.len());
        assert!(matches!(end, Err(Error::Malformed { .. })), "{end:?}");
    }
}
