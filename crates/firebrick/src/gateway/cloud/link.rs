//! The connection to the server: opened when it is needed, opened again when it was lost.

use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use firebrick_core::Cid;
use firebrick_core::cid::Codec;
use firebrick_core::cloud::{
    Access, AttachUrl, Auth, Body, Claims, Conn, Gestalt, KeyText, Message, MetaEntry, MetaSet,
    OpenConn, Protocol, TenantLedger, Verb,
};
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::entries::Entries;
use super::feed::Feed;
use super::keys::Sharing;
use super::network::Task;
use super::refusal::{is_lost_connection, judge, wrong_answer};
use super::session::{EndOnDrop, Session, Transport};
use super::socket::Socket;
use super::token::{Token, Tokens};
use super::web::Web;
use crate::env::{Env, backoff};
use crate::gateway::{GatewayError, GatewayErrorKind, GatewayResult, SlotId};
use crate::lock::lock;

/// How long an answer may take.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// How long everything may take until the first metas are here.
const CONNECT: Duration = Duration::from_secs(18);
/// A server that cannot be reached is not tried again for those who ask this soon after it.
const SAME_FAILURE: Duration = Duration::from_millis(300);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How often the server is asked for news without a WebSocket, as JavaScript does.
const POLL: Duration = Duration::from_secs(1);
/// When a WebSocket is tried again where none could be opened.
const UPGRADE: Duration = Duration::from_secs(300);
/// What the client calls itself where the URL has no name, as JavaScript does.
const NAME: &str = "toCloud";

/// A gateway's side of the server.
pub(super) struct Link {
    url: AttachUrl,
    env: Arc<dyn Env>,
    tokens: Tokens,
    pub(super) web: Web,
    pub(super) sharing: Sharing,
    /// What the server has.
    pub(super) entries: Mutex<Entries>,
    /// Counts news.
    pub(super) news: watch::Sender<u64>,
    /// The first ledger that a token selected: another token does not lead elsewhere.
    ledger: OnceLock<TenantLedger>,
    can: Mutex<Option<Can>>,
    session: tokio::sync::Mutex<Sessions>,
    supervisor: OnceLock<Task>,
}

/// What the server says it can.
#[derive(Clone, Copy, Debug)]
pub(super) struct Can {
    pub(super) write: bool,
    pub(super) delete: bool,
}

#[derive(Default)]
struct Sessions {
    present: Option<Arc<Session>>,
    failed: Option<(Instant, GatewayError)>,
}

impl Link {
    pub(super) fn new(
        url: AttachUrl,
        tokens: Tokens,
        sharing: Sharing,
        env: Arc<dyn Env>,
    ) -> GatewayResult<Arc<Self>> {
        let link = Self {
            web: Web::new(url.tls)?,
            url,
            tokens,
            sharing,
            entries: Mutex::default(),
            news: watch::Sender::new(0),
            ledger: OnceLock::new(),
            can: Mutex::default(),
            session: tokio::sync::Mutex::default(),
            supervisor: OnceLock::new(),
            env,
        };
        Ok(Arc::new(link))
    }

    pub(super) fn can(&self) -> Option<Can> {
        *lock(&self.can)
    }

    pub(super) fn tell(&self) {
        self.news
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn id(&self) -> String {
        random_id(&*self.env)
    }

    /// Takes metas and keys that the server sent; false if a fresh look is due.
    pub(super) fn take(&self, meta: &MetaSet, is_all: bool) -> bool {
        self.sharing.receive(&meta.keys);
        let enough = {
            let mut entries = lock(&self.entries);
            if is_all {
                entries.replace(&meta.metas);
            } else {
                entries.add(&meta.metas);
            }
            !entries.is_worn()
        };
        self.tell();
        enough
    }

    /// The open connection, or a new one.
    pub(super) async fn session(self: &Arc<Self>) -> GatewayResult<Arc<Session>> {
        let mut sessions = self.session.lock().await;
        if let Some(session) = sessions.present.as_ref().filter(|session| session.lives()) {
            return Ok(Arc::clone(session));
        }
        if let Some((at, error)) = &sessions.failed
            && at.elapsed() < SAME_FAILURE
        {
            return Err(error.clone());
        }
        sessions.present = None;
        let connected = match timeout(CONNECT, self.connect()).await {
            Ok(connected) => connected,
            Err(_) => Err(GatewayError::new(
                GatewayErrorKind::Unavailable,
                format!("{} gives no answer in time", self.url.authority()),
            )),
        };
        match connected {
            Ok(session) => {
                let session = Arc::new(session);
                sessions.present = Some(Arc::clone(&session));
                sessions.failed = None;
                let weak = Arc::downgrade(self);
                self.supervisor.get_or_init(|| Task::spawn(supervise(weak)));
                Ok(session)
            }
            Err(error) => {
                if error.kind() == GatewayErrorKind::Unavailable {
                    sessions.failed = Some((Instant::now(), error.clone()));
                }
                Err(error)
            }
        }
    }

    /// A token, and the ledger that it is used for.
    async fn token(&self) -> GatewayResult<(Token, TenantLedger)> {
        let token = self.tokens.get().await?;
        let ledger = self.ledger_of(token.claims.as_deref())?;
        Ok((token, ledger))
    }

    fn ledger_of(&self, claims: Option<&Claims>) -> GatewayResult<TenantLedger> {
        let needs = |text: String| GatewayError::new(GatewayErrorKind::NeedsAuth, text);
        let selected = claims.map(|claims| &claims.selected);
        let pick = |named: &Option<String>, selected: Option<&String>| {
            let selected = selected.filter(|id| !id.is_empty());
            named.clone().or_else(|| selected.cloned())
        };
        let tenant = pick(&self.url.tenant, selected.map(|s| &s.tenant));
        let ledger = pick(&self.url.ledger, selected.map(|s| &s.ledger));
        let (Some(tenant), Some(ledger)) = (tenant, ledger) else {
            return Err(needs(
                "the token selects no ledger; add tenant=… and ledger=… to the URL".into(),
            ));
        };
        let found = TenantLedger::new(tenant, ledger);
        if let Some(claims) = claims {
            let checked = claims.check(&found.tenant, &found.ledger, Access::Read);
            checked.map_err(|e| GatewayError::new(GatewayErrorKind::Denied, e.to_string()))?;
        }
        let first = self.ledger.get_or_init(|| found.clone());
        if *first != found {
            return Err(needs(format!(
                "the new token selects the ledger {}/{}, but this remote is {}/{}; a token for that one is needed",
                found.tenant, found.ledger, first.tenant, first.ledger
            )));
        }
        Ok(found)
    }

    /// Gestalt, open, bind; until the first metas are here.
    async fn connect(self: &Arc<Self>) -> GatewayResult<Session> {
        let (token, ledger) = self.token().await?;
        let gestalt = Body::ReqGestalt {
            gestalt: own_gestalt(self.id()),
            publish: None,
        };
        let (endpoint, request) = (self.url.gestalt(), self.message(&token, gestalt));
        let answer = self.web.ask(&endpoint, &request).await?;
        let gestalt = match self.judged(&token, answer)?.body {
            Body::ResGestalt { gestalt } => gestalt,
            other => return Err(wrong_answer(format!("{} to reqGestalt", other.kind()))),
        };
        self.learn(&gestalt, &token, &ledger);
        let feed = Arc::new(Feed::new(Arc::downgrade(self)));
        let (transport, until) = self.transport(&gestalt, &feed).await?;
        let mut session = Session::new(transport, ledger, until);
        let fresh = OpenConn {
            req_id: self.id(),
            res_id: None,
        };
        session.reader = self.open(&session, &token, fresh).await?;
        self.bind(&session, &feed, &token).await?;
        Ok(session)
    }

    fn learn(&self, gestalt: &Gestalt, token: &Token, ledger: &TenantLedger) {
        let writes = |claims: &Arc<Claims>| {
            let checked = claims.check(&ledger.tenant, &ledger.ledger, Access::Write);
            checked.is_ok()
        };
        let can = Can {
            write: token.claims.as_ref().is_none_or(writes),
            delete: gestalt.req_types.iter().any(|kind| kind == "reqDelData"),
        };
        *lock(&self.can) = Some(can);
    }

    /// A WebSocket if there can be one.
    async fn transport(
        self: &Arc<Self>,
        gestalt: &Gestalt,
        feed: &Arc<Feed>,
    ) -> GatewayResult<(Transport, Option<Instant>)> {
        let has = |name: &str| gestalt.protocol_capabilities.iter().any(|can| can == name);
        let (stream, requests) = (has("stream"), has("reqRes"));
        let endpoint = |list: &[String], protocol| {
            let endpoint = list.first().map(|first| self.url.endpoint(first, protocol));
            endpoint.transpose().map_err(wrong_answer)
        };
        let mut failure = wrong_answer("it offers neither requests nor a stream");
        if stream || !requests {
            match endpoint(&gestalt.ws_endpoints, Protocol::WebSocket)? {
                Some(endpoint) => {
                    let mark = if endpoint.contains('?') { '&' } else { '?' };
                    let endpoint = format!("{endpoint}{mark}random={}", self.id());
                    let feed = Arc::clone(feed);
                    match Socket::open(&endpoint, move |event| feed.take(&event)).await {
                        Ok(socket) => return Ok((Transport::Socket(socket), None)),
                        Err(error) => failure = error,
                    }
                }
                None => failure = wrong_answer("it names no endpoint for WebSockets"),
            }
        }
        if !requests {
            return Err(failure);
        }
        if stream {
            tracing::info!(cause = %failure, "asking the server over HTTP instead");
        }
        let endpoint = endpoint(&gestalt.http_endpoints, Protocol::Http)?;
        let transport = Transport::Polling {
            endpoint: endpoint.unwrap_or_else(|| self.url.gestalt()),
            tid: self.id(),
            turn: tokio::sync::Mutex::default(),
        };
        Ok((transport, stream.then(|| Instant::now() + UPGRADE)))
    }

    /// The connection that publishes a slot, opened under the slot's own name.
    async fn writer(&self, session: &Session, token: &Token, slot: &SlotId) -> GatewayResult<Conn> {
        if let Some(open) = session.writer(slot) {
            return Ok(open);
        }
        let request = self.message(
            token,
            Body::ReqOpen {
                conn: writer_name(&session.ledger, slot),
            },
        );
        let opened = match self.exchange(session, &request).await?.body {
            // Somebody else's token goes by that name still. Then it is a new one, once.
            Body::Error(error) if is_lost_connection(&error) => {
                let fresh = OpenConn {
                    req_id: self.id(),
                    res_id: None,
                };
                self.open(session, token, fresh).await?
            }
            Body::Error(error) => return Err(self.refused(token, judge(&error))),
            Body::ResOpen { conn } if !conn.res_id.is_empty() => conn,
            other => return Err(wrong_answer(format!("{} to reqOpen", other.kind()))),
        };
        session.keep_writer(slot.clone(), opened.clone());
        Ok(opened)
    }

    /// Publishes on the connection of a slot what is known from another one, so that nothing of the slot
    /// is left. A writer that is connected with a token of its own keeps its slot.
    pub(super) async fn displace(
        self: &Arc<Self>,
        slot: &SlotId,
        meta: MetaEntry,
    ) -> GatewayResult<()> {
        let session = self.session().await?;
        let (token, _) = self.token().await?;
        let conn = writer_name(&session.ledger, slot);
        let opened = match self.open(&session, &token, conn).await {
            Err(error) if error.kind() == GatewayErrorKind::Unavailable && session.lives() => {
                return Ok(());
            }
            opened => opened?,
        };
        let requests = [
            Body::ReqPutMeta {
                scope: session.metas(&opened, self.name(), Verb::Put),
                meta: MetaSet {
                    metas: vec![meta],
                    keys: self.keys(),
                },
            },
            Body::ReqClose { conn: opened },
        ];
        for request in requests {
            let request = self.message(&token, request);
            self.judged(&token, self.exchange(&session, &request).await?)?;
        }
        Ok(())
    }

    async fn open(&self, session: &Session, token: &Token, conn: OpenConn) -> GatewayResult<Conn> {
        let req_id = conn.req_id.clone();
        let request = self.message(token, Body::ReqOpen { conn });
        match self
            .judged(token, self.exchange(session, &request).await?)?
            .body
        {
            Body::ResOpen { conn } if conn.req_id == req_id && !conn.res_id.is_empty() => Ok(conn),
            other => Err(wrong_answer(format!("{} to reqOpen", other.kind()))),
        }
    }

    /// Subscribes. Returns when what there is has come.
    async fn bind(&self, session: &Session, feed: &Feed, token: &Token) -> GatewayResult<()> {
        let scope = session.metas(&session.reader, self.name(), Verb::Get);
        let mut request = self.message(token, Body::BindGetMeta { scope });
        let socket = match &session.transport {
            Transport::Polling { tid, .. } => {
                request.tid.clone_from(tid);
                let answer = self.judged(token, self.exchange(session, &request).await?)?;
                return self.take_poll(session, &answer, true).map(|_| ());
            }
            Transport::Socket(socket) => socket,
        };
        let answered = feed.expect(session, &request.tid);
        // The answer is an event; only an error comes as an answer.
        tokio::select! {
            refused = socket.ask(&request) => {
                let answer = self.judged(token, refused?)?;
                Err(wrong_answer(format!("{} to bindGetMeta", answer.kind())))
            }
            answered = answered => answered.map_err(|_| wrong_answer("the bind was dropped")),
        }
    }

    /// Asks for news where nobody tells of them.
    pub(super) async fn poll(&self, session: &Session) -> GatewayResult<()> {
        let Transport::Polling { tid, turn, .. } = &session.transport else {
            return Ok(());
        };
        let _turn = turn.lock().await;
        let (token, _) = self.token().await?;
        let scope = session.metas(&session.reader, self.name(), Verb::Get);
        let mut request = self.message(&token, Body::BindGetMeta { scope });
        request.tid.clone_from(tid);
        // What an answer brings that got lost does not come again: after that everything is asked for
        // anew. Also if this future is dropped.
        let doubt = EndOnDrop(Some(session));
        let answer = self.judged(&token, self.exchange(session, &request).await?)?;
        let enough = self.take_poll(session, &answer, false)?;
        if enough {
            doubt.dismiss();
        }
        Ok(())
    }

    fn take_poll(&self, session: &Session, answer: &Message, is_all: bool) -> GatewayResult<bool> {
        match &answer.body {
            Body::EventGetMeta { scope, meta, .. } if scope.conn == session.reader => {
                if is_all || !meta.metas.is_empty() {
                    return Ok(self.take(meta, is_all));
                }
                self.sharing.receive(&meta.keys);
                Ok(true)
            }
            other => Err(wrong_answer(format!("{} to bindGetMeta", other.kind()))),
        }
    }

    /// Sends a request of the open connection and returns the answer to it. A connection that is lost is
    /// opened again once.
    pub(super) async fn ask(
        self: &Arc<Self>,
        make: impl Fn(&Session, &Conn) -> Body + Send + Sync,
    ) -> GatewayResult<Body> {
        self.ask_as(None, make).await
    }

    /// The same on behalf of the connection that publishes a slot.
    pub(super) async fn ask_as(
        self: &Arc<Self>,
        slot: Option<&SlotId>,
        make: impl Fn(&Session, &Conn) -> Body + Send + Sync,
    ) -> GatewayResult<Body> {
        let mut again = true;
        loop {
            let session = self.session().await?;
            let error = match self.ask_once(&session, slot, &make).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let renew = !session.lives() || error.kind() == GatewayErrorKind::NeedsAuth;
            if !(again && renew) {
                return Err(error);
            }
            again = false;
        }
    }

    async fn ask_once(
        &self,
        session: &Session,
        slot: Option<&SlotId>,
        make: impl Fn(&Session, &Conn) -> Body + Send + Sync,
    ) -> GatewayResult<Body> {
        let (token, _) = self.token().await?;
        let conn = match slot {
            Some(slot) => self.writer(session, &token, slot).await?,
            None => session.reader.clone(),
        };
        let request = self.message(&token, make(session, &conn));
        match self.exchange(session, &request).await?.body {
            Body::Error(error) => {
                if is_lost_connection(&error) {
                    session.end();
                }
                Err(self.refused(&token, judge(&error)))
            }
            answer => Ok(answer),
        }
    }

    /// The request and nothing else.
    async fn exchange(&self, session: &Session, request: &Message) -> GatewayResult<Message> {
        let answer = match &session.transport {
            Transport::Socket(socket) => socket.ask(request).await?,
            Transport::Polling { endpoint, .. } => self.web.ask(endpoint, request).await?,
        };
        if answer.tid != request.tid && !matches!(answer.body, Body::Error(_)) {
            return Err(wrong_answer("it answers another request"));
        }
        Ok(answer)
    }

    fn message(&self, token: &Token, body: Body) -> Message {
        Message::new(self.id(), Auth::token(token.jwt.clone()), body)
    }

    fn judged(&self, token: &Token, answer: Message) -> GatewayResult<Message> {
        match answer.body {
            Body::Error(error) => Err(self.refused(token, judge(&error))),
            _ => Ok(answer),
        }
    }

    fn refused(&self, token: &Token, error: GatewayError) -> GatewayError {
        if error.kind() == GatewayErrorKind::NeedsAuth {
            self.tokens.refused(token);
        }
        error
    }

    pub(super) fn name(&self) -> &str {
        self.url.name.as_deref().unwrap_or(NAME)
    }

    /// The keys that go with what is published.
    pub(super) fn keys(&self) -> Vec<KeyText> {
        self.sharing.send()
    }
}

/// Keeps the connection open, or the polls going, as long as the gateway is there.
fn supervise(link: Weak<Link>) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut failures = 0;
        while let Some(strong) = link.upgrade() {
            match strong.session().await {
                Ok(session) => {
                    failures = 0;
                    if session.is_polling() {
                        drop(strong);
                        sleep(POLL).await;
                        let Some(link) = link.upgrade() else { return };
                        if let Err(error) = link.poll(&session).await {
                            tracing::debug!(%error, "asking for news failed");
                            link.tell();
                        }
                    } else {
                        drop(strong);
                        if let Transport::Socket(socket) = &session.transport {
                            socket.ended().await;
                        }
                        // Whoever watches should look, and see what is the matter.
                        if let Some(link) = link.upgrade() {
                            link.tell();
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "the server cannot be reached");
                    let mut random = [0; 2];
                    strong.env.fill_random(&mut random);
                    drop(strong);
                    let wait = backoff(FIRST_RETRY, failures, LAST_RETRY);
                    let jitter = wait.mul_f64(f64::from(u16::from_le_bytes(random)) / 65536.0);
                    failures += 1;
                    sleep((wait + jitter).max(error.retry_after().unwrap_or_default())).await;
                }
            }
        }
    })
}

/// What the connection that publishes a slot is called. Whoever writes to the ledger can tell, so that
/// slots of writers that are gone can be removed. Another ledger's is another one.
fn writer_name(ledger: &TenantLedger, slot: &SlotId) -> OpenConn {
    let text = format!("{}\0{}\0{slot}", ledger.tenant, ledger.ledger);
    let digest = Cid::of(Codec::Raw, text.as_bytes());
    let name = BASE32_NOPAD.encode(digest.digest()).to_ascii_lowercase();
    let (req_id, res_id) = name.split_at(name.len() / 2);
    OpenConn {
        req_id: format!("z{req_id}"),
        res_id: Some(format!("z{res_id}")),
    }
}

/// A name for one request or connection.
fn random_id(env: &dyn Env) -> String {
    let mut random = [0; 15];
    env.fill_random(&mut random);
    format!("z{}", BASE32_NOPAD.encode(&random).to_ascii_lowercase())
}

fn own_gestalt(id: String) -> Gestalt {
    let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    Gestalt {
        id,
        store_types: list(&["meta", "file", "car"]),
        encodings: list(&["JSON"]),
        protocol_capabilities: list(&["reqRes", "stream"]),
        ..Gestalt::default()
    }
}
