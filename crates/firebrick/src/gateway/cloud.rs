//! A sync server that speaks the protocol of Fireproof's cloud, `fpcloud://host`.
//!
//! The server keeps *metas*, each of which names a group of CARs, and CARs. How they stand for what a
//! [`Gateway`] has:
//!
//! - **CARs and file CARs** go over URLs that the server signs, one round trip before each transfer.
//!   Nobody can list them; deleting works where the server says so. The first copy of a CAR stays, so
//!   putting it again repairs nothing that is there and damaged.
//! - **A slot is a meta of ours.** The protocol tells no reader who wrote a meta. So ours carry the
//!   slot's name, a number that grows, and what the writer *wants*, as one more field beside the
//!   CARs ([`SlotNote`]); JavaScript ignores it, and every server carries it. Of several metas of a
//!   slot the one with the greatest number counts, in whatever order they come.
//! - **A meta by JavaScript** has no such field and is a slot of its own, named after the meta. Its
//!   writer makes a new one at each commit, and the server drops the former without a word. So once
//!   many have gathered, the connection is opened anew, which brings what there really is.
//! - **Announcing** publishes the slot's meta on a connection of the slot's own, the *writer*, whose name
//!   (`reqId` and `resId`) is made of the slot's. The server drops what the same connection published
//!   before. It is acknowledged by `resPutMeta`, which the server sends when the
//!   meta is stored; the CARs were acknowledged before, one by one. What an announcement without any CAR
//!   asks for cannot be told: JavaScript would look for the first CAR.
//! - **Reading** is done by another connection, the *reader*, that is a new one each time. To a new
//!   one every server sends all metas, even those that mark what was sent; so the answer to its bind
//!   replaces what was known, and a server that has lost metas is noticed.
//! - **A slot disappears** when its writer's connection publishes something else. So to remove one,
//!   [`Gateway::remove_slot`] publishes what this gateway has said last on that connection once more,
//!   which adds nothing. Where that cannot be (nothing was said, the writer is connected, it is
//!   JavaScript's), the slot is left out of the listings of this gateway.
//! - **Listing the slots** first makes a round trip: the server sends in order, so everything that was
//!   there before the call has come by then. It carries a newer token, too, without which the server
//!   would fall silent at the end of the old one.
//!
//! Over a WebSocket if the server has them and one can be opened, else by asking once a second. A
//! lost connection is opened again at once, then at growing intervals; a WebSocket is pinged, and
//! given up after 50 seconds of silence. Failed calls are repeated by whoever called: what is
//! lacking at the remote is computed from the heads, so nothing is forgotten.
//!
//! # Keys
//!
//! JavaScript clients send the keys of the ledger to the server and learn keys from it. Nothing of
//! that is done here, unless the URL says `keys=share`: then all keys of the ledger go with each
//! meta, and keys that arrive are added *for reading only*, at most 256 of one server. What is
//! written stays encrypted with our own key, so a server or another client cannot make us encrypt
//! with theirs. What they can do is to make something readable here that they encrypted themselves;
//! it still has to fit the ledger's hashes. Without `keys=share` keys that arrive are ignored, and
//! what only they open shows as a missing key.

mod entries;
mod feed;
mod keys;
mod link;
mod network;
mod refusal;
mod session;
mod socket;
mod token;
mod web;

use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use firebrick_core::Cid;
use firebrick_core::cloud::{
    AttachUrl, Body, DataKind, MetaEntry, MetaSet, Operation, SlotNote, Store, Verb,
};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use self::keys::Sharing;
use self::link::Link;
use self::network::on_network;
use self::refusal::wrong_answer;
use self::token::Tokens;
pub use self::token::{FixedToken, TokenFile, TokenProvider};
use super::url::{Place, RemoteUrl};
use super::{
    Announcement, Capabilities, CarEntry, Gateway, GatewayError, GatewayErrorKind, GatewayResult,
    KeyExchange, SlotId, check_slot_id,
};
use crate::env::{Env, RealEnv};
use crate::lock::lock;

/// Parameters of the URL, besides those of [`AttachUrl`].
const TOKEN_FILE: &str = "tokenFile";
const KEYS: &str = "keys";

/// A connection to a sync server.
///
/// | parameter of the URL | |
/// |---|---|
/// | `protocol=ws` | without TLS; only where nobody listens |
/// | `tenant=`, `ledger=` | which ledger; else the one that the token selects |
/// | `tokenFile=/path` | where the token is |
/// | `keys=share` | gives the keys to the server, as JavaScript clients do |
/// | `name=` | what this client calls the remote |
///
/// ```
/// use firebrick::gateway::{CloudGateway, Gateway, TokenFile};
/// let token = TokenFile::new("/run/secrets/firebrick");
/// let remote = CloudGateway::new("fpcloud://sync.example.com?ledger=notes&tenant=acme", token)?;
/// assert!(remote.capabilities().notify);
/// # Ok::<(), firebrick::gateway::GatewayError>(())
/// ```
#[derive(Clone)]
pub struct CloudGateway {
    url: Arc<str>,
    link: Arc<Link>,
    /// What was announced last.
    said: Arc<Mutex<Option<MetaEntry>>>,
    /// One announcement after the other, so that the later one has the greater number.
    announcing: Arc<tokio::sync::Mutex<()>>,
}

impl CloudGateway {
    /// The server of a URL, with tokens from `tokens`. Nothing is sent before [`Gateway::prepare`].
    ///
    /// ```
    /// use firebrick::gateway::{CloudGateway, FixedToken};
    /// assert!(CloudGateway::new("fpcloud://user@host", FixedToken::new("a.b.c")).is_err());
    /// ```
    ///
    /// # Errors
    /// [`GatewayErrorKind::InvalidUrl`] if the URL cannot be understood.
    pub fn new(url: &str, tokens: impl TokenProvider) -> GatewayResult<Self> {
        Self::with_env(url, tokens, Arc::new(RealEnv::new()))
    }

    /// The same with the clock and the random numbers of an environment.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use firebrick::{env::RealEnv, gateway::{CloudGateway, FixedToken}};
    /// let env = Arc::new(RealEnv::new());
    /// let remote = CloudGateway::with_env("fpcloud://host", FixedToken::new("a.b.c"), env)?;
    /// # Ok::<(), firebrick::gateway::GatewayError>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`CloudGateway::new`].
    pub fn with_env(
        url: &str,
        tokens: impl TokenProvider,
        env: Arc<dyn Env>,
    ) -> GatewayResult<Self> {
        Self::build(&RemoteUrl::parse(url)?, Arc::new(tokens), env)
    }

    /// The server of a URL that says where the token is.
    pub(super) fn open(url: &RemoteUrl, env: Arc<dyn Env>) -> GatewayResult<Self> {
        let path = url.param(TOKEN_FILE).ok_or_else(|| {
            invalid(
                url,
                "it says nothing about a token; add tokenFile=/path of a file with one, or make a \
                 CloudGateway with a token of your own",
            )
        })?;
        Self::build(url, Arc::new(TokenFile::new(path)), env)
    }

    fn build(
        url: &RemoteUrl,
        tokens: Arc<dyn TokenProvider>,
        env: Arc<dyn Env>,
    ) -> GatewayResult<Self> {
        let text = url.to_string();
        let attach: AttachUrl = match &url.place {
            Place::Cloud(_) => text.parse().map_err(|error| invalid(url, &error))?,
            _ => return Err(invalid(url, "a server's begins with fpcloud://")),
        };
        let share = match url.param(KEYS) {
            None => false,
            Some("share") => true,
            Some(_) => return Err(invalid(url, "keys can only be share")),
        };
        let tokens = Tokens::new(tokens, Arc::clone(&env));
        Ok(Self {
            url: text.into(),
            link: Link::new(attach, tokens, Sharing::new(share), env)?,
            said: Arc::default(),
            announcing: Arc::default(),
        })
    }

    /// A signed URL.
    async fn signed(
        link: &Arc<Link>,
        operation: Operation,
        store: Store,
        cid: Cid,
    ) -> GatewayResult<String> {
        let verb = match operation {
            Operation::Get => Verb::Get,
            Operation::Put => Verb::Put,
            Operation::Delete => Verb::Delete,
        };
        let key = cid.to_string();
        let answer = link.ask(|session, conn| Body::ReqData {
            operation,
            kind: DataKind::Data,
            scope: session.scope(conn, link.name(), verb, store, &key),
        });
        match answer.await? {
            Body::ResData {
                operation: answered,
                kind: DataKind::Data,
                signed_url,
                ..
            } if answered == operation => Ok(signed_url),
            other => Err(wrong_answer(format!(
                "{} to a request of data",
                other.kind()
            ))),
        }
    }

    fn put(&self, cid: &Cid, store: Store, bytes: Bytes) -> BoxFuture<'_, GatewayResult<()>> {
        let (link, cid) = (Arc::clone(&self.link), *cid);
        Box::pin(on_network(async move {
            let url = Self::signed(&link, Operation::Put, store, cid).await?;
            link.web.put(&url, bytes).await
        }))
    }

    fn get(&self, cid: &Cid, store: Store) -> BoxFuture<'_, GatewayResult<Option<Bytes>>> {
        let (link, cid) = (Arc::clone(&self.link), *cid);
        Box::pin(on_network(async move {
            let url = Self::signed(&link, Operation::Get, store, cid).await?;
            link.web.get(&url).await
        }))
    }

    fn delete(&self, cid: &Cid, store: Store) -> BoxFuture<'_, GatewayResult<()>> {
        let (link, cid) = (Arc::clone(&self.link), *cid);
        Box::pin(on_network(async move {
            let url = Self::signed(&link, Operation::Delete, store, cid).await?;
            link.web.delete(&url).await
        }))
    }

    async fn publish(&self, slot: SlotId, announcement: Announcement) -> GatewayResult<()> {
        check_slot_id(&slot)?;
        let Some(event) = entries::event_of(&announcement)? else {
            return Ok(());
        };
        let _turn = self.announcing.lock().await;
        // The number goes on from what is there.
        self.link.session().await?;
        let note = SlotNote {
            number: lock(&self.link.entries).next_number(&slot),
            slot: slot.clone(),
            wants: announcement.wants,
        };
        let meta = MetaEntry::with_note(&event, &note);
        let answer = self
            .link
            .ask_as(Some(&slot), |session, conn| Body::ReqPutMeta {
                scope: session.metas(conn, self.link.name(), Verb::Put),
                meta: MetaSet {
                    metas: vec![meta.clone()],
                    keys: self.link.keys(),
                },
            });
        match answer.await? {
            Body::ResPutMeta { .. } => {}
            other => return Err(wrong_answer(format!("{} to reqPutMeta", other.kind()))),
        }
        lock(&self.link.entries).add(std::slice::from_ref(&meta));
        *lock(&self.said) = Some(meta);
        Ok(())
    }

    /// Returns when everything has come that the server had when it was called.
    async fn catch_up(link: &Arc<Link>) -> GatewayResult<()> {
        let session = link.session().await?;
        if session.is_polling() {
            return link.poll(&session).await;
        }
        drop(session);
        // Any request does that asks for nothing.
        let nothing = Cid::of(firebrick_core::cid::Codec::Car, b"");
        Self::signed(link, Operation::Get, Store::Car, nothing)
            .await
            .map(|_| ())
    }
}

impl fmt::Debug for CloudGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CloudGateway").field(&self.url).finish()
    }
}

fn invalid(url: &RemoteUrl, why: impl fmt::Display) -> GatewayError {
    GatewayError::new(
        GatewayErrorKind::InvalidUrl,
        format!("{:?} can't be the URL of a server: {why}", url.to_string()),
    )
}

fn unsupported(what: &str) -> GatewayError {
    GatewayError::new(GatewayErrorKind::Unsupported, what)
}

impl Gateway for CloudGateway {
    fn url(&self) -> &str {
        &self.url
    }

    fn capabilities(&self) -> Capabilities {
        let can = self.link.can();
        Capabilities {
            write: can.is_none_or(|can| can.write),
            notify: true,
            list: false,
            delete: can.is_some_and(|can| can.delete),
            shared_pointer: false,
            // Without the keys they can read nothing.
            javascript: self.link.sharing.is_allowed(),
            remove_slots: false,
        }
    }

    fn prepare(&self) -> BoxFuture<'_, GatewayResult<()>> {
        let link = Arc::clone(&self.link);
        Box::pin(on_network(async move { Self::catch_up(&link).await }))
    }

    fn put_car<'a>(&'a self, cid: &'a Cid, bytes: Bytes) -> BoxFuture<'a, GatewayResult<()>> {
        self.put(cid, Store::Car, bytes)
    }

    fn put_file_car<'a>(&'a self, cid: &'a Cid, bytes: Bytes) -> BoxFuture<'a, GatewayResult<()>> {
        self.put(cid, Store::File, bytes)
    }

    fn get_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<Option<Bytes>>> {
        self.get(cid, Store::Car)
    }

    fn get_file_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<Option<Bytes>>> {
        self.get(cid, Store::File)
    }

    fn car_len<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<Option<u64>>> {
        let (link, cid) = (Arc::clone(&self.link), *cid);
        Box::pin(on_network(async move {
            let url = Self::signed(&link, Operation::Get, Store::Car, cid).await?;
            link.web.len(&url).await
        }))
    }

    fn delete_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<()>> {
        self.delete(cid, Store::Car)
    }

    fn delete_file_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<()>> {
        self.delete(cid, Store::File)
    }

    fn list_cars(&self) -> BoxFuture<'_, GatewayResult<Option<Vec<CarEntry>>>> {
        Box::pin(async { Ok(None) })
    }

    fn announce<'a>(
        &'a self,
        slot: &'a SlotId,
        announcement: &'a Announcement,
    ) -> BoxFuture<'a, GatewayResult<()>> {
        let (this, slot, announcement) = (self.clone(), slot.clone(), announcement.clone());
        Box::pin(on_network(
            async move { this.publish(slot, announcement).await },
        ))
    }

    fn slots(&self) -> BoxFuture<'_, GatewayResult<Vec<(SlotId, Announcement)>>> {
        let link = Arc::clone(&self.link);
        Box::pin(on_network(async move {
            Self::catch_up(&link).await?;
            Ok(lock(&link.entries).list())
        }))
    }

    fn remove_slot<'a>(&'a self, slot: &'a SlotId) -> BoxFuture<'a, GatewayResult<()>> {
        let (this, slot) = (self.clone(), slot.clone());
        Box::pin(on_network(async move {
            let _turn = this.announcing.lock().await;
            let is_ours = lock(&this.link.entries).hide(&slot);
            let said = lock(&this.said).clone();
            let said = said.filter(|said| {
                !said
                    .noted()
                    .is_ok_and(|(_, note)| note.is_some_and(|note| note.slot == slot))
            });
            match said {
                Some(said) if is_ours => this.link.displace(&slot, said).await,
                _ => Ok(()),
            }
        }))
    }

    fn read_pointer(&self) -> BoxFuture<'_, GatewayResult<Option<Bytes>>> {
        Box::pin(async { Err(unsupported("a server has no pointer for JavaScript")) })
    }

    fn write_pointer(&self, _bytes: Bytes) -> BoxFuture<'_, GatewayResult<()>> {
        Box::pin(async { Err(unsupported("a server has no pointer for JavaScript")) })
    }

    fn watch(&self) -> BoxStream<'static, ()> {
        let receiver = self.link.news.subscribe();
        stream::unfold(receiver, |mut receiver| async {
            receiver.changed().await.ok()?;
            Some(((), receiver))
        })
        .boxed()
    }

    fn share_keys(&self, exchange: Arc<dyn KeyExchange>) -> bool {
        self.link.sharing.connect(exchange)
    }
}
