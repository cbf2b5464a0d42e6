//! A file that is far larger than the memory it takes.

use std::path::PathBuf;
use std::process::Command;

use super::*;

const PLACE: &str = "FIREBRICK_TEST_LARGE_FILE";
/// The file's length; the memory below does not depend on it.
const LEN: u64 = 600 << 20;
const MEMORY_KIB: u64 = 64 << 10;

/// Noise without end, the same however it is read.
struct Noise(u64);

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let word = (self.0 / 8 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let word = (word ^ (word >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let bytes = &word.to_le_bytes()[(self.0 % 8) as usize..];
            let len = bytes.len().min(buffer.len() - filled);
            buffer[filled..filled + len].copy_from_slice(&bytes[..len]);
            filled += len;
            self.0 += len as u64;
        }
        Ok(filled)
    }
}

/// The most memory that this process has had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("reads");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.expect("is there").parse().expect("is a number")
}

/// Takes a large file in, sends it to a folder, fetches it from there, and says what that took.
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
        options.name("large").memory(4 << 20).open()
    };
    let (here, there) = (
        open("here").await.expect("opens"),
        open("there").await.expect("opens"),
    );
    let key = here.keys().export().expect("has a key");
    there.keys().import(&key).expect("is a key");
    let source = FileSource::reader(Noise(0).take(LEN));
    here.files("doc")
        .put("large", source)
        .await
        .expect("is stored");
    let url = format!("file://{}", place.join("hub").display());
    synced(&[here.attach(&url).expect("attaches")]).await;
    here.close().await.expect("closes");
    synced(&[there.attach(&url).expect("attaches")]).await;
    let mut file = there
        .files("doc")
        .get("large")
        .await
        .expect("opens")
        .expect("is listed");
    let (mut expected, mut len) = (Noise(0).take(LEN), 0);
    let mut buffer = Vec::new();
    while let Some(bytes) = file.chunk().await.expect("reads") {
        buffer.resize(bytes.len(), 0);
        expected.read_exact(&mut buffer).expect("is noise");
        assert!(bytes == buffer, "after {len} bytes");
        len += bytes.len() as u64;
    }
    assert_eq!(len, LEN);
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
