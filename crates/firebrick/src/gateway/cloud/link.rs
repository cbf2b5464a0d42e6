//! The connection to the server: opened when it is needed, opened again when it was lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use firebrick_core::cloud::{
    Access, AttachUrl, Auth, Body, Claims, Conn, Gestalt, KeyText, META_KEY, Message, MetaSet,
    MethodParam, OpenConn, Protocol, Scope, Store, TenantLedger, UrlParam, Verb,
};
use futures_util::future::BoxFuture;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::entries::Entries;
use super::keys::Sharing;
use super::refusal::{is_lost_connection, judge, wrong_answer};
use super::socket::Socket;
use super::token::{Token, Tokens};
use super::web::Web;
use crate::env::{Env, backoff};
use crate::gateway::{GatewayError, GatewayErrorKind, GatewayResult};
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

/// The threads of the network: whoever calls a gateway may be on any executor or none.
fn runtime() -> GatewayResult<&'static Handle> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2).thread_name("firebrick-cloud");
        builder.enable_all().build().map_err(|e| e.to_string())
    });
    runtime.as_ref().map(Runtime::handle).map_err(|cause| {
        let text = format!("the system refuses threads for the network: {cause}");
        GatewayError::new(GatewayErrorKind::Other, text)
    })
}

/// Runs a call on the threads of the network. Dropping the future ends the call.
pub(super) async fn on_network<T: Send + 'static>(
    call: impl Future<Output = GatewayResult<T>> + Send + 'static,
) -> GatewayResult<T> {
    let mut task = Aborting(runtime()?.spawn(call));
    (&mut task.0).await.unwrap_or_else(|error| {
        let text = format!("a call to the server ended in the middle: {error}");
        Err(GatewayError::new(GatewayErrorKind::Other, text))
    })
}

struct Aborting<T>(JoinHandle<T>);

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A task that ends with its owner.
pub(super) struct Task {
    _task: Aborting<()>,
}

impl Task {
    /// Only on the threads of the network.
    pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            _task: Aborting(tokio::spawn(task)),
        }
    }
}

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
    /// Whose metas replace each other. Kept when the connection is opened again.
    writer: Mutex<OpenConn>,
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

/// An open connection.
pub(super) struct Session {
    transport: Transport,
    /// Publishes.
    pub(super) writer: Conn,
    /// Is told. A new one each time, so that the answer to its bind is everything there is.
    reader: Conn,
    ledger: TenantLedger,
    ended: AtomicBool,
    /// Where a WebSocket should be, when to try again.
    until: Option<Instant>,
}

enum Transport {
    Socket(Socket),
    Polling {
        endpoint: String,
        tid: String,
        /// One at a time: asking again says that the last answer has arrived.
        turn: tokio::sync::Mutex<()>,
    },
}

/// Where events go: in order, the first to the bind as the full set.
struct Feed {
    link: Weak<Link>,
    expected: Mutex<Expected>,
}

#[derive(Default)]
struct Expected {
    reader: Option<Conn>,
    ledger: Option<TenantLedger>,
    tid: String,
    bound: Option<tokio::sync::oneshot::Sender<()>>,
    answered: bool,
}

impl Feed {
    /// Takes an event; false if there are too many.
    fn take(&self, message: &Message) -> bool {
        let Some(link) = self.link.upgrade() else {
            return false;
        };
        let Body::EventGetMeta { scope, meta, .. } = &message.body else {
            return true;
        };
        let mut expected = lock(&self.expected);
        let same_ledger = |told: &TenantLedger| {
            let ours = expected.ledger.as_ref();
            ours.is_some_and(|ours| (&ours.tenant, &ours.ledger) == (&told.tenant, &told.ledger))
        };
        let ours = expected.reader.as_ref() == Some(&scope.conn)
            && scope.tenant.as_ref().is_none_or(same_ledger);
        if !ours {
            tracing::debug!(conn = %scope.conn, "an event for somebody else is left out");
            return true;
        }
        let is_answer = !expected.answered;
        if is_answer && message.tid != expected.tid {
            return true;
        }
        expected.answered = true;
        let enough = link.take(meta, is_answer);
        if let Some(bound) = expected.bound.take() {
            // Whoever bound may have given up.
            let _ = bound.send(());
        }
        enough
    }
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
            writer: Mutex::new(OpenConn {
                req_id: random_id(&*env),
                res_id: None,
            }),
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
    fn take(&self, meta: &MetaSet, is_all: bool) -> bool {
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
        let feed = Arc::new(Feed {
            link: Arc::downgrade(self),
            expected: Mutex::default(),
        });
        let (transport, until) = self.transport(&gestalt, &feed).await?;
        let mut session = Session {
            transport,
            writer: Conn {
                req_id: String::new(),
                res_id: String::new(),
            },
            reader: Conn {
                req_id: String::new(),
                res_id: String::new(),
            },
            ledger,
            ended: AtomicBool::new(false),
            until,
        };
        session.writer = self.open_writer(&session, &token).await?;
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

    /// Opens the writer's connection, under its old name if it has one.
    async fn open_writer(&self, session: &Session, token: &Token) -> GatewayResult<Conn> {
        let known = lock(&self.writer).clone();
        let again = known.res_id.is_some();
        let opened = match self.open(session, token, known).await {
            // A server that does not want the old name gets a new one.
            Err(error) if again && error.kind() == GatewayErrorKind::Other => {
                let fresh = OpenConn {
                    req_id: self.id(),
                    res_id: None,
                };
                self.open(session, token, fresh).await?
            }
            opened => opened?,
        };
        *lock(&self.writer) = OpenConn {
            req_id: opened.req_id.clone(),
            res_id: Some(opened.res_id.clone()),
        };
        Ok(opened)
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
        let scope = session.scope(
            &session.reader,
            self.name(),
            Verb::Get,
            Store::Meta,
            META_KEY,
        );
        let mut request = self.message(token, Body::BindGetMeta { scope });
        let socket = match &session.transport {
            Transport::Polling { tid, .. } => {
                request.tid.clone_from(tid);
                let answer = self.judged(token, self.exchange(session, &request).await?)?;
                return self.take_poll(session, &answer, true).map(|_| ());
            }
            Transport::Socket(socket) => socket,
        };
        let (bound, answered) = tokio::sync::oneshot::channel();
        *lock(&feed.expected) = Expected {
            reader: Some(session.reader.clone()),
            ledger: Some(session.ledger.clone()),
            tid: request.tid.clone(),
            bound: Some(bound),
            answered: false,
        };
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
        let scope = session.scope(
            &session.reader,
            self.name(),
            Verb::Get,
            Store::Meta,
            META_KEY,
        );
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
        make: impl Fn(&Session) -> Body + Send + Sync,
    ) -> GatewayResult<Body> {
        let mut again = true;
        loop {
            let session = self.session().await?;
            let (token, _) = self.token().await?;
            let request = self.message(&token, make(&session));
            let (error, renew) = match self.exchange(&session, &request).await {
                Ok(Message {
                    body: Body::Error(error),
                    ..
                }) => {
                    let judged = self.refused(&token, judge(&error));
                    let lost = is_lost_connection(&error);
                    if lost {
                        session.end();
                    }
                    let needs_token = judged.kind() == GatewayErrorKind::NeedsAuth;
                    (judged, lost || needs_token)
                }
                Ok(answer) => return Ok(answer.body),
                Err(error) => (error, !session.lives()),
            };
            if !(again && renew) {
                return Err(error);
            }
            again = false;
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

/// Ends a session unless all went well.
struct EndOnDrop<'a>(Option<&'a Session>);

impl EndOnDrop<'_> {
    fn dismiss(mut self) {
        self.0 = None;
    }
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.0 {
            session.end();
        }
    }
}

impl Session {
    fn lives(&self) -> bool {
        let closed = match &self.transport {
            Transport::Socket(socket) => socket.is_closed(),
            Transport::Polling { .. } => false,
        };
        let over = self.until.is_some_and(|until| Instant::now() >= until);
        !closed && !over && !self.ended.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        if let Transport::Socket(socket) = &self.transport {
            socket.end();
        }
    }

    /// Whether news have to be asked for.
    pub(super) fn is_polling(&self) -> bool {
        matches!(self.transport, Transport::Polling { .. })
    }

    /// Which object, on whose behalf.
    pub(super) fn scope(
        &self,
        conn: &Conn,
        name: &str,
        method: Verb,
        store: Store,
        key: &str,
    ) -> Scope {
        let TenantLedger { tenant, ledger, .. } = &self.ledger;
        Scope {
            conn: conn.clone(),
            tenant: Some(self.ledger.clone()),
            method: MethodParam { method, store },
            url: UrlParam {
                key: key.into(),
                store: Some(store.as_str().into()),
                tenant: Some(tenant.clone()),
                ledger: Some(ledger.clone()),
                name: Some(name.into()),
                ..UrlParam::default()
            },
        }
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
