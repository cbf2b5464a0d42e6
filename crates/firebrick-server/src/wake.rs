//! Rooms hear of what other servers have written to the same store.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::timeout;

use crate::dispatch::App;
use crate::lock::lock;
use crate::metas::Change;
use crate::room::Room;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// What a room has heard and not told yet. However much comes, one task is at it.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Up to where others have written, or 0.
    position: i64,
    busy: bool,
}

impl Heard {
    /// Whether nobody was at it: then the caller is.
    fn add(&self, position: i64) -> bool {
        let mut state = lock(&self.0);
        state.position = state.position.max(position);
        !std::mem::replace(&mut state.busy, true)
    }

    /// What is to be told, or nothing and the caller is done.
    fn take(&self) -> Option<i64> {
        let mut state = lock(&self.0);
        let position = std::mem::take(&mut state.position);
        state.busy = position > 0;
        state.busy.then_some(position)
    }
}

/// Passes on the changes of the store until the server ends.
pub(crate) async fn follow(app: Arc<App>) {
    let Some(mut changes) = app.metas.changes() else {
        return;
    };
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            () = app.drain.cancelled() => return,
        };
        match change {
            None => return,
            Some(Change::Ledger { ledger, position }) => {
                if let Some(room) = app.hub.find_room(&ledger) {
                    wake(&app, room, position);
                }
            }
            Some(Change::Unknown) => {
                for room in app.hub.rooms() {
                    wake(&app, room, i64::MAX);
                }
            }
        }
    }
}

fn wake(app: &Arc<App>, room: Arc<Room>, position: i64) {
    if !room.heard.add(position) {
        return;
    }
    let app = app.clone();
    tokio::spawn(async move {
        let mut wait = FIRST_RETRY;
        while let Some(position) = room.heard.take() {
            let Err(error) = room.catch_up(position, &app.tools()).await else {
                wait = FIRST_RETRY;
                continue;
            };
            tracing::warn!(%error, "subscribers wait for what others wrote");
            room.heard.add(position);
            // A timeout is what it waits for.
            if timeout(wait, app.drain.cancelled()).await.is_ok() {
                return;
            }
            wait = (wait * 2).min(LAST_RETRY);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_nothing_is_forgotten() {
        let heard = Heard::default();
        assert!(heard.add(3));
        assert!(!heard.add(2));
        assert_eq!(heard.take(), Some(3));
        // It comes while that is told.
        assert!(!heard.add(i64::MAX));
        assert_eq!(heard.take(), Some(i64::MAX));
        assert!(!heard.add(i64::MAX));
        assert_eq!(heard.take(), Some(i64::MAX));
        assert_eq!(heard.take(), None);
        assert!(heard.add(1));
    }
}
