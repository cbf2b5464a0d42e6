//! Folders that can't be used, and what is said then.

use super::*;

async fn refusal(path: &Path) -> GatewayError {
    folder(path).prepare().await.unwrap_err()
}

#[tokio::test]
async fn a_file_is_no_folder() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = refusal(&path).await;
        assert_eq!(error.kind(), GatewayErrorKind::Foreign);
        assert!(
            error.to_string().contains("give the path of a folder"),
            "{error}"
        );
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn other_peoples_folders_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::create_dir(path.join("data")).unwrap();
    fs::write(path.join("data/holiday.jpg"), "x").unwrap();
    fs::write(path.join("letter.txt"), "x").unwrap();
    let before = snapshot(path);
    let error = refusal(path).await;
    assert_eq!(error.kind(), GatewayErrorKind::Foreign);
    let text = error.to_string();
    assert!(
        text.contains("letter.txt") && text.contains("nothing was written"),
        "{text}"
    );
    assert_eq!(snapshot(path), before);
    // The folder above a ledger's is a likely mistake.
    let base = tempfile::tempdir().unwrap();
    fireproof_folder(&base.path().join("shopping"));
    let text = refusal(base.path()).await.to_string();
    assert!(text.contains("such folders: shopping"), "{text}");
}

#[tokio::test]
async fn clutter_and_an_interrupted_start_are_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(".DS_Store"), "x").unwrap();
    fs::create_dir(directory.path().join(".stfolder")).unwrap();
    fs::create_dir(directory.path().join("data")).unwrap();
    folder(directory.path()).prepare().await.unwrap();
    fs::write(directory.path().join("data/version"), "v0.20-file").unwrap();
    folder(directory.path()).prepare().await.unwrap();
    let version = fs::read(directory.path().join("data/version")).unwrap();
    assert_eq!(version, b"v0.20-file");
}

#[tokio::test]
async fn a_folder_that_vanishes_is_not_an_empty_one() {
    let (directory, gateway) = prepared().await;
    let (cid, bytes) = car("x");
    gateway.put_car(&cid, bytes.clone()).await.unwrap();
    let path = directory.path();
    fs::rename(path.join("meta"), path.join("away meta")).unwrap();
    fs::rename(path.join("data"), path.join("away data")).unwrap();
    let answers = [
        gateway.get_car(&cid).await.map(|_| ()),
        gateway.slots().await.map(|_| ()),
        gateway.list_cars().await.map(|_| ()),
        gateway.read_pointer().await.map(|_| ()),
        gateway.put_car(&cid, bytes.clone()).await,
        gateway.announce(&slot("a"), &announcement("y")).await,
        gateway.write_pointer(Bytes::from_static(b"[]")).await,
    ];
    for (at, answer) in answers.into_iter().enumerate() {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), GatewayErrorKind::Unavailable, "{at}: {error}");
        assert!(error.to_string().contains("is its drive"), "{error}");
    }
    fs::rename(path.join("away meta"), path.join("meta")).unwrap();
    fs::rename(path.join("away data"), path.join("data")).unwrap();
    assert_eq!(gateway.get_car(&cid).await.unwrap(), Some(bytes));
    gateway
        .announce(&slot("a"), &announcement("y"))
        .await
        .unwrap();
}

/// Whether permissions mean anything to us; they don't to root.
#[cfg(unix)]
fn obeys_permissions(read_only: &Path) -> bool {
    let probe = read_only.join("probe");
    let obeys = fs::write(&probe, "x").is_err();
    let _ = fs::remove_file(probe);
    obeys
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_without_permission() {
    let directory = tempfile::tempdir().unwrap();
    set_mode(directory.path(), 0o555);
    if obeys_permissions(directory.path()) {
        let error = refusal(directory.path()).await;
        assert_eq!(error.kind(), GatewayErrorKind::Denied);
        assert!(
            error.to_string().contains("permissions of the folder"),
            "{error}"
        );
    }
    set_mode(directory.path(), 0o755);
}

#[cfg(unix)]
#[tokio::test]
async fn a_ledger_that_can_only_be_read_is_still_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fireproof_folder(path);
    let closed = [path.join("data"), path.join("meta"), path.to_owned()];
    for path in &closed {
        set_mode(path, 0o555);
    }
    if obeys_permissions(path) {
        let gateway = folder(path);
        gateway.prepare().await.unwrap();
        assert!(!gateway.capabilities().write && !gateway.capabilities().delete);
        assert_eq!(slot_ids(&gateway).await, [MAIN_SLOT]);
        let (cid, bytes) = car("new");
        let error = gateway.put_car(&cid, bytes).await.unwrap_err();
        assert_eq!(error.kind(), GatewayErrorKind::Denied);
        let error = gateway.announce(&slot("a"), &announcement("y")).await;
        assert_eq!(error.unwrap_err().kind(), GatewayErrorKind::Denied);
        // Attaching it again finds out that it is open now.
        for path in &closed {
            set_mode(path, 0o755);
        }
        gateway.prepare().await.unwrap();
        assert!(gateway.capabilities().write);
        gateway
            .announce(&slot("a"), &announcement("y"))
            .await
            .unwrap();
    }
    for path in &closed {
        set_mode(path, 0o755);
    }
}

#[tokio::test]
async fn every_error_of_the_system_says_what_to_do() {
    use io::ErrorKind as E;
    let (directory, gateway) = prepared().await;
    let path = directory.path().join("data/x.car");
    let cases = [
        (E::StorageFull, GatewayErrorKind::Full, "make room", true),
        (E::QuotaExceeded, GatewayErrorKind::Full, "make room", true),
        (
            E::ReadOnlyFilesystem,
            GatewayErrorKind::ReadOnly,
            "can still be read",
            false,
        ),
        (
            E::PermissionDenied,
            GatewayErrorKind::Denied,
            "permissions",
            false,
        ),
        (
            E::StaleNetworkFileHandle,
            GatewayErrorKind::Unavailable,
            "tried again",
            true,
        ),
        (
            E::IsADirectory,
            GatewayErrorKind::Foreign,
            "move it away",
            false,
        ),
        (E::Other, GatewayErrorKind::Other, "tried again", true),
    ];
    for (cause, kind, advice, retryable) in cases {
        let error = gateway
            .folder
            .explain("can't be written", &path, cause.into());
        assert_eq!((error.kind(), error.is_retryable()), (kind, retryable));
        let text = error.to_string();
        assert!(text.contains(advice) && text.contains("x.car"), "{text}");
        assert!(std::error::Error::source(&error).is_some());
    }
}

/// A file system of three megabytes, unmounted at the end. Only root can have one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        mount
            .is_ok_and(|ended| ended.success())
            .then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let ended = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status();
        assert!(ended.is_ok_and(|ended| ended.success()), "it stays mounted");
    }
}

#[tokio::test]
async fn a_full_disk() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("not root: no file system to fill");
        return;
    };
    let gateway = folder(&disk.0.path().join("ledger"));
    gateway.prepare().await.unwrap();
    gateway
        .announce(&slot("a"), &announcement("before"))
        .await
        .unwrap();
    let mut stored = Vec::new();
    let error = loop {
        let (cid, bytes) = car(&format!("{:>60000}", stored.len()));
        match gateway.put_car(&cid, bytes.clone()).await {
            Ok(()) => stored.push((cid, bytes)),
            Err(error) => break error,
        }
        assert!(stored.len() < 100_000, "the file system isn't small");
    };
    assert_eq!(error.kind(), GatewayErrorKind::Full);
    let large = Announcement::new(format!("[{:?}]", "x".repeat(200_000)));
    let error = gateway.announce(&slot("a"), &large).await.unwrap_err();
    assert_eq!(error.kind(), GatewayErrorKind::Full);
    let slots = gateway.slots().await.unwrap();
    assert_eq!(slots, [(slot("a"), announcement("before"))]);
    for (cid, bytes) in &stored {
        assert_eq!(gateway.get_car(cid).await.unwrap().as_ref(), Some(bytes));
        gateway.delete_car(cid).await.unwrap();
    }
    gateway
        .announce(&slot("a"), &announcement("after"))
        .await
        .unwrap();
}
