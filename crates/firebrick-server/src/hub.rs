//! Who is connected.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use firebrick_core::cloud::Conn;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::ids::LedgerId;
use crate::ledgers::Ledger;
use crate::lock::lock;
use crate::metrics::Traffic;
use crate::room::Room;

/// What waits to be sent over a WebSocket. It never blocks: whoever reads too slowly is disconnected, and
/// gets everything when it binds again.
#[derive(Debug)]
pub(crate) struct Outbox {
    sender: mpsc::Sender<String>,
    queued: AtomicUsize,
    limit: usize,
    /// Ends the WebSocket.
    pub(crate) overflow: CancellationToken,
}

impl Outbox {
    pub(crate) fn new(messages: usize, limit: usize) -> (Arc<Self>, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel(messages);
        let outbox = Self {
            sender,
            queued: AtomicUsize::new(0),
            limit,
            overflow: CancellationToken::new(),
        };
        (Arc::new(outbox), receiver)
    }

    /// Whether the message will be sent.
    pub(crate) fn push(&self, text: String) -> bool {
        let len = text.len();
        let before = self.queued.fetch_add(len, Ordering::Relaxed);
        // A single message may be longer than the whole queue.
        let fits = before == 0 || before.saturating_add(len) <= self.limit;
        if fits && self.sender.try_send(text).is_ok() {
            return true;
        }
        self.overflow.cancel();
        false
    }

    /// Messages and bytes that wait.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let messages = self.sender.max_capacity() - self.sender.capacity();
        (messages, self.queued.load(Ordering::Relaxed))
    }

    pub(crate) fn sent(&self, len: usize) {
        self.queued.fetch_sub(len, Ordering::Relaxed);
    }
}

/// A connection of the protocol: a pair of ids that requests name.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) name: Conn,
    /// Only who has opened it can open it again.
    pub(crate) user: String,
    /// How this client reaches the server: what signed URLs begin with.
    pub(crate) base: String,
    /// Without one the client asks by HTTP.
    pub(crate) outbox: Option<Arc<Outbox>>,
    /// Of messages; all connections of a WebSocket have it together.
    pub(crate) traffic: Arc<Traffic>,
    seen: Mutex<Instant>,
    closed: AtomicBool,
    /// The ledgers that it has bound, and until when its token allows that.
    bound: Mutex<BTreeMap<LedgerId, Bound>>,
}

#[derive(Debug)]
struct Bound {
    room: Arc<Room>,
    valid_until: u64,
}

impl Connection {
    pub(crate) fn new(
        name: Conn,
        user: String,
        base: String,
        outbox: Option<Arc<Outbox>>,
        traffic: Arc<Traffic>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            user,
            base,
            outbox,
            traffic,
            seen: Mutex::new(Instant::now()),
            closed: AtomicBool::new(false),
            bound: Mutex::default(),
        })
    }

    pub(crate) fn touch(&self) {
        *lock(&self.seen) = Instant::now();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Whether it is on this WebSocket, or on none like the request.
    pub(crate) fn is_on(&self, outbox: Option<&Arc<Outbox>>) -> bool {
        match (&self.outbox, outbox) {
            (Some(mine), Some(other)) => Arc::ptr_eq(mine, other),
            (None, None) => true,
            _ => false,
        }
    }

    /// Remembers a bind; false if there are too many.
    pub(crate) fn remember(
        &self,
        ledger: LedgerId,
        room: Arc<Room>,
        valid_until: u64,
        limit: usize,
    ) -> bool {
        let mut bound = lock(&self.bound);
        if bound.len() >= limit && !bound.contains_key(&ledger) {
            return false;
        }
        bound.insert(ledger, Bound { room, valid_until });
        true
    }

    /// The room of a ledger that this connection has bound with a token that ends earlier.
    pub(crate) fn outlived(&self, ledger: &LedgerId, valid_until: u64) -> Option<Arc<Room>> {
        let bound = lock(&self.bound);
        let bound = bound.get(ledger)?;
        (bound.valid_until < valid_until).then(|| bound.room.clone())
    }

    pub(crate) fn prolong(&self, ledger: &LedgerId, valid_until: u64) {
        if let Some(bound) = lock(&self.bound).get_mut(ledger) {
            bound.valid_until = valid_until;
        }
    }
}

/// How much waits where.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Queues {
    /// Connections over WebSockets.
    pub(crate) connections: u64,
    /// Connections without.
    pub(crate) polling: u64,
    pub(crate) rooms: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Bytes in the outbox that has the most.
    pub(crate) fullest: u64,
}

/// All connections and rooms.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    connections: Mutex<HashMap<Conn, Arc<Connection>>>,
    /// Rooms live as long as somebody is in them or does something there.
    rooms: Mutex<HashMap<LedgerId, Weak<Room>>>,
}

impl Hub {
    pub(crate) fn find(&self, name: &Conn) -> Option<Arc<Connection>> {
        lock(&self.connections).get(name).cloned()
    }

    /// Adds a connection; returns the one that had its name.
    pub(crate) fn add(&self, connection: Arc<Connection>) -> Option<Arc<Connection>> {
        lock(&self.connections).insert(connection.name.clone(), connection)
    }

    /// How many connections have no WebSocket.
    pub(crate) fn polling(&self) -> usize {
        let connections = lock(&self.connections);
        connections.values().filter(|c| c.outbox.is_none()).count()
    }

    /// All connections.
    pub(crate) fn list(&self) -> Vec<Arc<Connection>> {
        lock(&self.connections).values().cloned().collect()
    }

    pub(crate) fn queues(&self) -> Queues {
        let mut queues = Queues::default();
        let mut outboxes = HashSet::new();
        for connection in self.list() {
            let Some(outbox) = &connection.outbox else {
                queues.polling += 1;
                continue;
            };
            queues.connections += 1;
            // Several connections may be on one WebSocket.
            if outboxes.insert(Arc::as_ptr(outbox)) {
                let (messages, bytes) = outbox.waiting();
                queues.messages += messages as u64;
                queues.bytes += bytes as u64;
                queues.fullest = queues.fullest.max(bytes as u64);
            }
        }
        let rooms = lock(&self.rooms);
        queues.rooms = rooms.values().filter(|r| r.strong_count() > 0).count() as u64;
        queues
    }

    /// Takes a connection out of its rooms and forgets it.
    pub(crate) async fn remove(&self, connection: &Arc<Connection>) {
        connection.closed.store(true, Ordering::SeqCst);
        {
            let mut connections = lock(&self.connections);
            if let Some(current) = connections.get(&connection.name)
                && Arc::ptr_eq(current, connection)
            {
                connections.remove(&connection.name);
            }
        }
        // A bind that comes after this sees that the connection is closed.
        let bound = std::mem::take(&mut *lock(&connection.bound));
        for Bound { room, .. } in bound.into_values() {
            room.leave(connection).await;
        }
    }

    /// Forgets connections without a WebSocket that have not been heard of.
    pub(crate) async fn sweep(&self, idle: Duration) {
        let old: Vec<_> = lock(&self.connections)
            .values()
            .filter(|c| c.outbox.is_none() && lock(&c.seen).elapsed() > idle)
            .cloned()
            .collect();
        for connection in old {
            self.remove(&connection).await;
        }
    }

    pub(crate) fn room(&self, ledger: &Arc<Ledger>) -> Arc<Room> {
        let mut rooms = lock(&self.rooms);
        if let Some(room) = rooms.get(&ledger.id).and_then(Weak::upgrade) {
            return room;
        }
        // Now and then the names of empty rooms go.
        if rooms.len() == rooms.capacity() {
            rooms.retain(|_, room| room.strong_count() > 0);
        }
        let room = Arc::new(Room::new(ledger.clone()));
        rooms.insert(ledger.id.clone(), Arc::downgrade(&room));
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_outbox_ends_its_socket() {
        let (outbox, mut receiver) = Outbox::new(2, 10);
        assert!(outbox.push("longer than ten".into()));
        assert!(!outbox.push("x".into()));
        assert!(outbox.overflow.is_cancelled());
        assert_eq!(receiver.try_recv().as_deref(), Ok("longer than ten"));
        let (outbox, _receiver) = Outbox::new(2, 10);
        assert!(outbox.push("a".into()) && outbox.push("b".into()));
        assert!(!outbox.overflow.is_cancelled());
        assert!(!outbox.push("c".into()));
        assert!(outbox.overflow.is_cancelled());
    }
}
