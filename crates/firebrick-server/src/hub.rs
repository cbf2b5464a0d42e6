//! Who is connected.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use firebrick_core::cloud::Conn;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::now;
use crate::ids::LedgerId;
use crate::ledgers::Ledger;
use crate::lock::lock;
use crate::metrics::Traffic;
use crate::room::Room;
use crate::tenants::Seat;

/// A message as it is sent: a part of its own, and one that others are sent, too.
#[derive(Debug)]
pub(crate) struct Outgoing {
    own: Vec<u8>,
    shared: Bytes,
}

impl Outgoing {
    pub(crate) fn new(own: Vec<u8>, shared: Bytes) -> Self {
        Self { own, shared }
    }

    pub(crate) fn len(&self) -> usize {
        self.own.len() + self.shared.len()
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        let Self { mut own, shared } = self;
        own.reserve_exact(shared.len());
        own.extend_from_slice(&shared);
        own.into()
    }
}

impl From<String> for Outgoing {
    fn from(text: String) -> Self {
        Self::new(text.into(), Bytes::new())
    }
}

/// What waits to be sent over a WebSocket. It never blocks: whoever reads too slowly is disconnected, and
/// gets everything when it binds again.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
    max_messages: usize,
    max_bytes: usize,
    /// Ends the WebSocket.
    pub(crate) overflow: CancellationToken,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Outgoing>,
    /// These include what is being sent.
    messages: usize,
    bytes: usize,
    ended: bool,
}

impl Outbox {
    pub(crate) fn new(max_messages: usize, max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            filled: Notify::new(),
            max_messages,
            max_bytes,
            overflow: CancellationToken::new(),
        })
    }

    /// Whether the message will be sent.
    pub(crate) fn push(&self, message: impl Into<Outgoing>) -> bool {
        let message = message.into();
        let mut queue = lock(&self.queue);
        if queue.ended {
            return false;
        }
        // A single message may be longer than the whole queue.
        let bytes = queue.bytes.saturating_add(message.len());
        let fits = queue.bytes == 0 || bytes <= self.max_bytes;
        if !fits || queue.messages >= self.max_messages {
            drop(queue);
            self.overflow.cancel();
            return false;
        }
        queue.bytes = bytes;
        queue.messages += 1;
        queue.waiting.push(message);
        drop(queue);
        self.filled.notify_one();
        true
    }

    /// Messages and bytes that wait or are being sent.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let queue = lock(&self.queue);
        (queue.messages, queue.bytes)
    }

    /// All that waits, or nothing at the end. For one task only.
    pub(crate) async fn next(&self) -> Option<Vec<Outgoing>> {
        loop {
            {
                let mut queue = lock(&self.queue);
                if !queue.waiting.is_empty() {
                    return Some(std::mem::take(&mut queue.waiting));
                }
                if queue.ended {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    /// A message of this length has been sent.
    pub(crate) fn sent(&self, len: usize) {
        let mut queue = lock(&self.queue);
        queue.messages -= 1;
        queue.bytes -= len;
    }

    /// Takes no more; what waits is sent.
    pub(crate) fn end(&self) {
        lock(&self.queue).ended = true;
        self.filled.notify_one();
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
    /// Among the connections of the tenant that its token selects.
    _seat: Option<Seat>,
    /// How many metas it has published in each ledger: its next ones replace them.
    published: Mutex<HashMap<LedgerId, u64>>,
    /// In seconds since 1970.
    pub(crate) opened: u64,
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
        seat: Option<Seat>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            user,
            base,
            outbox,
            traffic,
            _seat: seat,
            published: Mutex::default(),
            opened: now(),
            seen: Mutex::new(Instant::now()),
            closed: AtomicBool::new(false),
            bound: Mutex::default(),
        })
    }

    /// By how much the metas of a ledger grow if this connection publishes so many.
    pub(crate) fn growth(&self, ledger: &LedgerId, metas: u64, supersede: bool) -> i64 {
        let before = lock(&self.published).get(ledger).copied();
        let replaced = before.filter(|_| supersede).unwrap_or(0);
        metas.cast_signed().saturating_sub(replaced.cast_signed())
    }

    pub(crate) fn published(&self, ledger: &LedgerId, growth: i64) {
        let mut published = lock(&self.published);
        let count = published.entry(ledger.clone()).or_default();
        *count = count.saturating_add_signed(growth);
    }

    pub(crate) fn touch(&self) {
        *lock(&self.seen) = Instant::now();
    }

    /// Since its last request.
    pub(crate) fn idle(&self) -> Duration {
        lock(&self.seen).elapsed()
    }

    /// The ledgers that it subscribes to.
    pub(crate) fn ledgers(&self) -> Vec<LedgerId> {
        lock(&self.bound).keys().cloned().collect()
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

    /// The room of a ledger if somebody is there.
    pub(crate) fn find_room(&self, ledger: &LedgerId) -> Option<Arc<Room>> {
        lock(&self.rooms).get(ledger).and_then(Weak::upgrade)
    }

    /// All rooms where somebody is.
    pub(crate) fn rooms(&self) -> Vec<Arc<Room>> {
        lock(&self.rooms)
            .values()
            .filter_map(Weak::upgrade)
            .collect()
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

    fn push(outbox: &Outbox, text: &str) -> bool {
        outbox.push(text.to_owned())
    }

    #[tokio::test]
    async fn a_full_outbox_ends_its_socket() {
        let outbox = Outbox::new(2, 10);
        assert!(push(&outbox, "longer than ten"));
        assert!(!push(&outbox, "x"));
        assert!(outbox.overflow.is_cancelled());
        let outbox = Outbox::new(2, 10);
        assert!(push(&outbox, "a") && push(&outbox, "b"));
        assert!(!outbox.overflow.is_cancelled());
        // What is being sent counts until it is.
        let batch = outbox.next().await.unwrap();
        assert_eq!(batch.len(), 2);
        outbox.sent(1);
        assert!(push(&outbox, "c"));
        assert!(!push(&outbox, "d"));
        assert!(outbox.overflow.is_cancelled());
    }

    #[tokio::test]
    async fn an_ended_outbox_gives_what_waits() {
        let outbox = Outbox::new(2, 10);
        let shared = Bytes::from_static(b"bc");
        assert!(outbox.push(Outgoing::new(b"a".into(), shared)));
        outbox.end();
        assert!(!push(&outbox, "late"));
        let batch = outbox.next().await.unwrap();
        let sent: Vec<_> = batch.into_iter().map(Outgoing::into_bytes).collect();
        assert_eq!(sent, [Bytes::from_static(b"abc")]);
        assert!(outbox.next().await.is_none());
    }
}
