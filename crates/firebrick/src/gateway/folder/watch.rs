//! Noticing that somebody announced something.
//!
//! The system's file watcher is quick where it works; network folders and exhausted limits make it
//! silent. So the folder is also polled, often while something happens and seldom when nothing does.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select;
use futures_util::stream::{self, BoxStream, StreamExt};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::layout::{MAX_META_BYTES, is_slot_name, list_names};
use super::{Folder, PollInterval};
use crate::env::{Env, backoff, blocking, named};

/// Polls at the busy rate after the last change before the pauses grow.
const BUSY_POLLS: u32 = 40;

struct State {
    folder: Arc<Folder>,
    env: Arc<dyn Env>,
    poll: PollInterval,
    changed: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    signature: Option<u64>,
    quiet_polls: u32,
}

/// The stream of hints. The first comes at once.
pub(super) fn hints(
    folder: Arc<Folder>,
    env: Arc<dyn Env>,
    poll: PollInterval,
) -> BoxStream<'static, ()> {
    let state = State {
        folder,
        env,
        poll,
        changed: Arc::new(Notify::new()),
        watcher: None,
        signature: None,
        quiet_polls: 0,
    };
    stream::unfold(state, |mut state| async {
        state.next().await;
        Some(((), state))
    })
    .boxed()
}

impl State {
    async fn next(&mut self) {
        if self.signature.is_none() {
            self.start().await;
            self.signature = Some(self.look().await);
            return;
        }
        loop {
            self.pause().await;
            let signature = Some(self.look().await);
            if signature != self.signature {
                self.signature = signature;
                self.quiet_polls = 0;
                return;
            }
            self.quiet_polls = self.quiet_polls.saturating_add(1);
        }
    }

    async fn start(&mut self) {
        if self.env.is_simulated() {
            return;
        }
        let (folder, changed) = (Arc::clone(&self.folder), Arc::clone(&self.changed));
        let watcher = blocking(&*self.env, move || start_watcher(&folder, changed)).await;
        match watcher {
            Ok(Ok(watcher)) => self.watcher = Some(watcher),
            Ok(Err(error)) => tracing::debug!(%error, "no file watcher, polling only"),
            Err(lost) => tracing::debug!(%lost, "no file watcher, polling only"),
        }
    }

    /// Waits until it is time to look again.
    async fn pause(&self) {
        let quiet = self.quiet_polls.saturating_sub(BUSY_POLLS);
        let pause = backoff(self.poll.busy, quiet, self.poll.idle).max(Duration::from_millis(1));
        let wait = select(self.env.sleep(pause), Box::pin(self.changed.notified()));
        named("a change of the folder", wait).await;
    }

    async fn look(&self) -> u64 {
        let folder = Arc::clone(&self.folder);
        let look = blocking(&*self.env, move || signature(&folder)).await;
        look.unwrap_or_default()
    }
}

fn start_watcher(folder: &Folder, changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own looking is no change.
        if !matches!(event, Ok(event) if matches!(event.kind, EventKind::Access(_))) {
            changed.notify_one();
        }
    })?;
    watcher.watch(&folder.layout.meta, RecursiveMode::NonRecursive)?;
    watcher.watch(&folder.layout.heads, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// A number that changes whenever a slot or the pointer does.
fn signature(folder: &Folder) -> u64 {
    let mut hasher = DefaultHasher::new();
    // JavaScript rewrites the file in place, perhaps within one tick of the file system's clock.
    if let Ok(pointer) = folder.read(&folder.layout.pointer, MAX_META_BYTES) {
        pointer.hash(&mut hasher);
    }
    let mut names = list_names(&folder.layout.heads).unwrap_or_default();
    names.retain(|name| is_slot_name(name));
    names.sort_unstable();
    for name in names {
        fingerprint(&folder.layout.heads.join(&name)).hash(&mut hasher);
        name.hash(&mut hasher);
    }
    hasher.finish()
}

/// Slots are replaced by other files, so this changes with every announcement.
fn fingerprint(path: &Path) -> impl Hash {
    let metadata = fs::metadata(path).ok()?;
    #[cfg(unix)]
    let identity = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let identity = 0u64;
    Some((metadata.len(), metadata.modified().ok(), identity))
}
