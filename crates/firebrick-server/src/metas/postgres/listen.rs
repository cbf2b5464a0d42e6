//! Hears what other nodes have written.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_postgres::AsyncMessage;

use super::Connector;
use super::unavailable;
use crate::ids::LedgerId;
use crate::metas::{Change, MetaStoreError};

/// The channel of `NOTIFY`.
pub(super) const CHANNEL: &str = "firebrick";
/// How often the connection is tried: a broken one would be silent.
const HEARTBEAT: Duration = Duration::from_secs(15);
const ANSWER: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Passes on all changes until nobody wants them.
pub(super) async fn run(connector: Connector, changes: mpsc::Sender<Change>) {
    let mut wait = FIRST_RETRY;
    while !changes.is_closed() {
        let cause = match listen(&connector, &changes).await {
            Ok(()) => return,
            Err((cause, lasted)) => {
                if lasted {
                    wait = FIRST_RETRY;
                }
                cause
            }
        };
        tracing::warn!(%cause, "no news of other nodes; trying again");
        tokio::select! {
            () = sleep(wait) => {}
            () = changes.closed() => return,
        }
        wait = (wait * 2).min(LAST_RETRY);
    }
}

/// Until the connection fails, and whether there was one.
async fn listen(
    connector: &Connector,
    changes: &mpsc::Sender<Change>,
) -> Result<(), (String, bool)> {
    let failed = |error: &MetaStoreError, lasted| match error {
        MetaStoreError::Unavailable { cause } => (cause.clone(), lasted),
        other => (other.to_string(), lasted),
    };
    let (client, mut connection) = connector
        .connect()
        .await
        .map_err(|error| failed(&error, false))?;
    let told = changes.clone();
    let mut driver = tokio::spawn(async move {
        let mut messages = stream::poll_fn(|context| connection.poll_message(context));
        while let Some(message) = messages.next().await {
            match message {
                Ok(AsyncMessage::Notification(notification)) => {
                    let Some(change) = parse(notification.payload()) else {
                        continue;
                    };
                    if told.send(change).await.is_err() {
                        return None;
                    }
                }
                Ok(_) => {}
                Err(error) => return Some(error),
            }
        }
        None
    });
    let listening = client.batch_execute("LISTEN firebrick");
    match timeout(ANSWER, listening).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(failed(&unavailable(&error), false)),
        Err(elapsed) => return Err(failed(&unavailable(&elapsed), false)),
    }
    // What came before this nobody has told.
    if changes.send(Change::Unknown).await.is_err() {
        return Ok(());
    }
    loop {
        tokio::select! {
            ended = &mut driver => {
                let cause = match ended {
                    Ok(Some(error)) => failed(&unavailable(&error), true).0,
                    _ => "the connection has ended".into(),
                };
                return Err((cause, true));
            }
            () = changes.closed() => {
                driver.abort();
                return Ok(());
            }
            () = sleep(HEARTBEAT) => {}
        }
        let beat = client.simple_query("");
        if !matches!(timeout(ANSWER, beat).await, Ok(Ok(_))) {
            driver.abort();
            return Err(("it does not answer".into(), true));
        }
    }
}

/// What a put tells: a position and whose it is.
pub(super) fn payload(ledger: &LedgerId, position: i64) -> String {
    format!("{position} {ledger}")
}

fn parse(payload: &str) -> Option<Change> {
    let (position, name) = payload.split_once(' ')?;
    // Names have no slashes.
    let (tenant, ledger) = name.split_once('/')?;
    Some(Change::Ledger {
        ledger: LedgerId::new(tenant, ledger).ok()?,
        position: position.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads() {
        let ledger = LedgerId::new("a tenant", "a ledger").unwrap();
        let change = Change::Ledger {
            ledger: ledger.clone(),
            position: 12,
        };
        assert_eq!(parse(&payload(&ledger, 12)), Some(change));
        for bad in ["", "12", "12 a", "x a/b", "12 a/b/c", "12 /b"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
