//! A file that is far larger than the memory it takes.

use std::path::PathBuf;
use std::process::Command;

use super::*;

const PLACE: &str = "FIREBRICK_TEST_LARGE_FILE";
/// The file's length; the memory below does not depend on it.
const LEN: u64 = 2 << 30;
/// That of the one that is sent, many rounds long.
const SENT_LEN: u64 = 300 << 20;
const MEMORY_KIB: u64 = 64 << 10;
const CHUNK: usize = 1 << 20;

/// Bytes that look like nothing, every megabyte another, however they are read.
struct Noise {
    chunk: Vec<u8>,
    at: u64,
}

impl Noise {
    fn new() -> Self {
        let (chunk, at) = (noise(CHUNK, 1), 0);
        Self { chunk, at }
    }
}

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = (self.at % CHUNK as u64) as usize;
        if start == 0 {
            self.chunk[..8].copy_from_slice(&self.at.to_le_bytes());
        }
        let len = buffer.len().min(CHUNK - start);
        buffer[..len].copy_from_slice(&self.chunk[start..start + len]);
        self.at += len as u64;
        Ok(len)
    }
}

/// The most memory that this process has had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("reads");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.expect("is there").parse().expect("is a number")
}

/// Compares the file of a document with the noise that it was made of.
async fn compare(db: &Database, id: &str, len: u64) {
    let file = db.files(id).get("large").await.expect("opens");
    let mut file = file.expect("is listed");
    let (mut expected, mut at) = (Noise::new().take(len), 0);
    let mut buffer = Vec::new();
    while let Some(bytes) = file.chunk().await.expect("reads") {
        buffer.resize(bytes.len(), 0);
        expected.read_exact(&mut buffer).expect("is noise");
        assert!(bytes == buffer, "after {at} bytes");
        at += bytes.len() as u64;
    }
    assert_eq!(at, len);
}

/// Takes a large file in and reads it, sends another to a folder and fetches it from there, and says
/// what that took.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) else {
        return;
    };
    let open = |name: &str| {
        let place = place.join(name);
        let options = Database::builder()
            .path(place.join("db"))
            .keybag(place.join("keys"));
        options.name("large").open()
    };
    let put = async |db: &Database, id: &str, len: u64| {
        let source = FileSource::reader(Noise::new().take(len));
        let put = db.files(id).put("large", source).await;
        put.expect("is stored");
    };
    let alone = open("alone").await.expect("opens");
    put(&alone, "doc", LEN).await;
    compare(&alone, "doc", LEN).await;
    alone.close().await.expect("closes");
    std::fs::remove_dir_all(place.join("alone")).expect("removes");

    let (here, there) = (
        open("here").await.expect("opens"),
        open("there").await.expect("opens"),
    );
    let key = here.keys().export().expect("has a key");
    there.keys().import(&key).expect("is a key");
    put(&here, "doc", SENT_LEN).await;
    let url = format!("file://{}", place.join("hub").display());
    synced(&[here.attach(&url).expect("attaches")]).await;
    here.close().await.expect("closes");
    synced(&[there.attach(&url).expect("attaches")]).await;
    compare(&there, "doc", SENT_LEN).await;
    there.close().await.expect("closes");
    println!("peak {} KiB", peak_kib());
    std::fs::write(place.join("peak"), peak_kib().to_string()).expect("writes");
}

#[test]
fn a_large_file_needs_little_memory() {
    let place = tempfile::tempdir().expect("a directory");
    let status = Command::new(std::env::current_exe().expect("has a path"))
        .args(["--exact", "--nocapture", "files::memory::child"])
        .env(PLACE, place.path())
        .status()
        .expect("starts");
    assert!(status.success());
    let peak = std::fs::read_to_string(place.path().join("peak")).expect("was measured");
    let peak: u64 = peak.parse().expect("is a number");
    assert!(
        peak < MEMORY_KIB,
        "{peak} KiB for a file of {} KiB",
        LEN >> 10
    );
}
