//! A ledger and those who subscribe to it.
//!
//! What changes a ledger's metas and what answers a bind happens under the room's lock. So whoever has
//! bound has been sent everything, in order, and nothing has to be remembered as delivered: a message
//! that did not arrive is gone with its WebSocket, and the next bind gets the full set again.
//! Only those without a WebSocket have a position. They move on when they ask again with the same
//! transaction, because that says that the last answer has arrived.
//!
//! Puts that wait while others are stored are then stored together, and told in one event.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use firebrick_core::cloud::{Auth, Conn, META_KEY, Message, MetaSet, Scope, Store, Verb};
use futures_util::future::join_all;
use tokio::sync::{Mutex, oneshot};

use crate::clock::now;
use crate::dispatch::Refusal;
use crate::event::{self, Envelope, News};
use crate::hub::{Connection, Outbox, Outgoing};
use crate::ids::LedgerId;
use crate::ledgers::Ledger;
use crate::lock::lock;
use crate::metas::{MetaPut, MetaStore, MetaStoreError, MetaView, StoredMeta};
use crate::signed::{Signature, Signer, Target};
use crate::wake::Heard;

/// The most puts that share an event, and the bytes from which on no more join it.
const SHARED_PUTS: usize = 256;
const SHARED_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Room {
    ledger: LedgerId,
    account: Arc<Ledger>,
    members: Mutex<HashMap<Conn, Member>>,
    puts: std::sync::Mutex<Puts>,
    pub(crate) heard: Heard,
}

/// Puts that wait for the room's lock.
#[derive(Debug, Default)]
struct Puts {
    waiting: VecDeque<Put>,
    /// Somebody stores them.
    served: bool,
}

#[derive(Debug)]
struct Put {
    put: MetaPut,
    done: oneshot::Sender<Result<(), MetaStoreError>>,
}

/// A bind.
#[derive(Debug)]
pub(crate) struct Member {
    connection: Arc<Connection>,
    tid: String,
    scope: Scope,
    /// With the subscriber's own token, never the writer's.
    envelope: Envelope,
    /// When its token ends, in seconds since 1970. From then on it is sent nothing.
    valid_until: u64,
    /// The last meta that it was sent.
    position: i64,
}

impl Member {
    /// Where it is told what is new, unless it asks by itself or its token has ended. Once the token is
    /// renewed it gets what it has missed.
    fn listens(&self, now: u64) -> Option<&Outbox> {
        let outbox = self.connection.outbox.as_deref();
        outbox.filter(|_| self.valid_until > now)
    }
}

/// What asks for a bind.
#[derive(Debug)]
pub(crate) struct Bind {
    pub(crate) connection: Arc<Connection>,
    pub(crate) tid: String,
    pub(crate) auth: Auth,
    pub(crate) scope: Scope,
    pub(crate) valid_until: u64,
}

/// What rooms need of the server.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) metas: Arc<dyn MetaStore>,
    pub(crate) signer: Arc<Signer>,
    pub(crate) url_seconds: u64,
    pub(crate) ledgers_per_connection: usize,
}

impl Tools {
    /// For the signed URL of an event, which is present, but nobody uses it.
    fn signature(&self, ledger: &LedgerId) -> Signature {
        self.signer.sign(&Target {
            verb: Verb::Get,
            ledger,
            store: Store::Meta.as_str(),
            key: META_KEY,
            expires: now() + self.url_seconds,
        })
    }
}

impl Room {
    pub(crate) fn new(account: Arc<Ledger>) -> Self {
        Self {
            ledger: account.id.clone(),
            account,
            members: Mutex::default(),
            puts: std::sync::Mutex::default(),
            heard: Heard::default(),
        }
    }

    /// Adds a subscriber, or one that binds again, and answers it: over its WebSocket, else by the
    /// message that is returned.
    pub(crate) async fn bind(
        self: &Arc<Self>,
        bind: Bind,
        tools: &Tools,
    ) -> Result<Option<Message>, Refusal> {
        let Bind {
            connection,
            tid,
            auth,
            scope,
            valid_until,
        } = bind;
        let mut members = self.members.lock().await;
        let before = members.get(&connection.name);
        let goes_on = before.filter(|before| {
            connection.outbox.is_none()
                && before.tid == tid
                && Arc::ptr_eq(&before.connection, &connection)
        });
        let position = goes_on.map_or(0, |before| before.position);
        let view = tools.metas.after(self.ledger.clone(), position).await?;
        let remembered = connection.remember(
            self.ledger.clone(),
            self.clone(),
            valid_until,
            tools.ledgers_per_connection,
        );
        if !remembered {
            return Err(Refusal::TooManyBinds);
        }
        let member = Member {
            connection: connection.clone(),
            envelope: Envelope::new(&tid, &auth, &scope),
            tid: tid.clone(),
            scope: scope.clone(),
            valid_until,
            position: view.position,
        };
        members.insert(connection.name.clone(), member);
        if connection.is_closed() {
            members.remove(&connection.name);
            return Err(Refusal::UnknownConnection);
        }
        // Its own it has, unless it begins anew.
        let foreign = |meta: &StoredMeta| position == 0 || meta.owner != connection.name;
        let metas = view.metas.into_iter().filter(foreign);
        let meta = MetaSet {
            metas: metas.map(|meta| meta.entry).collect(),
            keys: view.keys,
        };
        let url = tools.signature(&self.ledger).url(&connection.base, &tid);
        let event = event::message(&tid, auth, scope, url, meta);
        Ok(match &connection.outbox {
            Some(outbox) => {
                self.send(outbox, event.encode());
                None
            }
            None => Some(event),
        })
    }

    pub(crate) async fn leave(&self, connection: &Arc<Connection>) {
        let mut members = self.members.lock().await;
        if let Some(member) = members.get(&connection.name)
            && Arc::ptr_eq(&member.connection, connection)
        {
            members.remove(&connection.name);
        }
    }

    /// Stores metas and tells all others.
    pub(crate) async fn put(
        self: &Arc<Self>,
        put: MetaPut,
        tools: &Tools,
    ) -> Result<(), MetaStoreError> {
        let (done, stored) = oneshot::channel();
        let served = {
            let mut puts = lock(&self.puts);
            puts.waiting.push_back(Put { put, done });
            std::mem::replace(&mut puts.served, true)
        };
        if !served {
            // A task of its own: what is stored is told, even if who has sent it is gone by then.
            tokio::spawn(self.clone().serve(tools.clone()));
        }
        let gone = |_| MetaStoreError::Unavailable {
            cause: "the server ends".into(),
        };
        stored.await.map_err(gone)?
    }

    /// Stores and tells until no put waits.
    async fn serve(self: Arc<Self>, tools: Tools) {
        loop {
            let mut members = self.members.lock().await;
            let (puts, done) = self.waiting();
            if puts.is_empty() {
                return;
            }
            let put = |put| tools.metas.put(self.ledger.clone(), put);
            let owners: Vec<_> = puts.iter().map(|put| put.owner.clone()).collect();
            let results = join_all(puts.into_iter().map(put)).await;
            let mut metas = Vec::new();
            let mut keys = Vec::new();
            let mut key_owners = HashSet::new();
            let mut spans = Vec::new();
            let mut answers = Vec::new();
            for (result, owner) in results.into_iter().zip(owners) {
                answers.push(result.map(|fresh| {
                    spans.push((fresh.before, fresh.position));
                    metas.extend(fresh.metas);
                    // Each has all keys of its time, and keys are only added.
                    if fresh.keys.len() >= keys.len() {
                        keys = fresh.keys;
                    }
                    // Keys alone are told, too: somebody may wait for one.
                    if fresh.new_keys {
                        key_owners.insert(owner);
                    }
                }));
            }
            metas.sort_by_key(|meta: &StoredMeta| meta.position);
            if !(metas.is_empty() && key_owners.is_empty()) {
                match reached(&members, spans) {
                    Some(position) => {
                        let news = News::new(&metas, &keys, key_owners);
                        self.tell(&mut members, &news, position, &tools);
                    }
                    // What fails here is made up for when the others' writing is heard.
                    None => {
                        if let Err(error) = self.tell_missed(&mut members, &tools).await {
                            tracing::warn!(%error, "subscribers wait for what others wrote");
                        }
                    }
                }
            }
            drop(members);
            for (answer, done) in answers.into_iter().zip(done) {
                // Who has asked may be gone.
                let _ = done.send(answer);
            }
        }
    }

    /// Puts that can share an event, and who waits for them. Without any, nobody serves any more.
    fn waiting(
        &self,
    ) -> (
        Vec<MetaPut>,
        Vec<oneshot::Sender<Result<(), MetaStoreError>>>,
    ) {
        let mut puts = lock(&self.puts);
        let (mut count, mut bytes) = (0, 0);
        for Put { put, .. } in puts.waiting.iter().take(SHARED_PUTS) {
            if bytes >= SHARED_BYTES {
                break;
            }
            bytes += put.metas.iter().map(|meta| meta.data.len()).sum::<usize>();
            count += 1;
        }
        puts.served = count > 0;
        let taken = puts.waiting.drain(..count);
        taken.map(|Put { put, done }| (put, done)).unzip()
    }

    fn tell(&self, members: &mut HashMap<Conn, Member>, news: &News, position: i64, tools: &Tools) {
        let now = now();
        let signature = tools.signature(&self.ledger);
        for member in members.values_mut() {
            let Some(outbox) = member.listens(now) else {
                continue;
            };
            if let Some(content) = news.for_reader(&member.connection.name) {
                let url = signature.url(&member.connection.base, &member.tid);
                self.send(outbox, member.envelope.seal(&url, content));
            }
            member.position = position;
        }
    }

    /// Somebody has written elsewhere, up to this position: tells what has not been told.
    pub(crate) async fn catch_up(
        &self,
        position: i64,
        tools: &Tools,
    ) -> Result<(), MetaStoreError> {
        let mut members = self.members.lock().await;
        if listening(&members).all(|member| member.position >= position) {
            return Ok(());
        }
        self.tell_missed(&mut members, tools).await
    }

    /// Tells each member what came after its position.
    async fn tell_missed(
        &self,
        members: &mut HashMap<Conn, Member>,
        tools: &Tools,
    ) -> Result<(), MetaStoreError> {
        let Some(first) = listening(members).map(|member| member.position).min() else {
            return Ok(());
        };
        let view = tools.metas.after(self.ledger.clone(), first).await?;
        let now = now();
        let signature = tools.signature(&self.ledger);
        let mut news_since = BTreeMap::new();
        for member in members.values_mut() {
            let Some(outbox) = member.listens(now) else {
                continue;
            };
            let news = news_since
                .entry(member.position)
                .or_insert_with(|| missed(&view, member.position));
            let news = news.as_ref();
            if let Some(content) = news.and_then(|news| news.for_reader(&member.connection.name)) {
                let url = signature.url(&member.connection.base, &member.tid);
                self.send(outbox, member.envelope.seal(&url, content));
            }
            member.position = view.position;
        }
        Ok(())
    }

    /// A subscriber has a new token. What it missed while the old one had ended is sent now.
    pub(crate) async fn renew(
        &self,
        connection: &Arc<Connection>,
        auth: &Auth,
        valid_until: u64,
        tools: &Tools,
    ) -> Result<(), MetaStoreError> {
        let mut members = self.members.lock().await;
        let Some(member) = members.get_mut(&connection.name) else {
            return Ok(());
        };
        member.envelope = Envelope::new(&member.tid, auth, &member.scope);
        if let (true, Some(outbox)) = (member.valid_until <= now(), &connection.outbox) {
            let ledger = self.ledger.clone();
            let view = tools.metas.after(ledger, member.position).await?;
            let news = News::new(&view.metas, &view.keys, HashSet::new());
            if let Some(content) = news.for_reader(&connection.name) {
                let url = tools
                    .signature(&self.ledger)
                    .url(&connection.base, &member.tid);
                self.send(outbox, member.envelope.seal(&url, content));
            }
            member.position = view.position;
        }
        // Only now: what fails above is tried again with the next message.
        member.valid_until = valid_until;
        connection.prolong(&self.ledger, valid_until);
        Ok(())
    }

    fn send(&self, outbox: &Outbox, event: impl Into<Outgoing>) {
        let event = event.into();
        let len = event.len() as u64;
        if outbox.push(event) {
            self.account.events.add(1);
            self.account.traffic.sent.add(len);
        }
    }
}

/// Those who are told what is new.
fn listening(members: &HashMap<Conn, Member>) -> impl Iterator<Item = &Member> {
    let now = now();
    members
        .values()
        .filter(move |member| member.listens(now).is_some())
}

/// The position after these puts, each with those before and after it. Nothing if others have put
/// something in between that the members have not been told.
fn reached(members: &HashMap<Conn, Member>, mut spans: Vec<(i64, i64)>) -> Option<i64> {
    let positions = listening(members).map(|member| member.position);
    let mut reached = positions.min().unwrap_or(i64::MAX);
    spans.sort_unstable();
    let mut last = 0;
    for (before, position) in spans {
        if before > reached {
            return None;
        }
        reached = reached.max(position);
        last = position.max(last);
    }
    Some(last)
}

/// What is to be told to who has read up to a position.
fn missed(view: &MetaView, position: i64) -> Option<News> {
    // The store may have been set back.
    let is_new = |meta: &&StoredMeta| meta.position > position || view.position < position;
    let metas: Vec<_> = view.metas.iter().filter(is_new).cloned().collect();
    let keys_too = view.new_keys && view.position > position;
    // Nobody knows whose keys they are: everybody is told.
    let nobody = Conn {
        req_id: String::new(),
        res_id: String::new(),
    };
    let key_owners = keys_too.then_some(nobody).into_iter().collect();
    (keys_too || !metas.is_empty()).then(|| News::new(&metas, &view.keys, key_owners))
}

#[cfg(test)]
mod tests;
