//! Servers that answer wrongly: every call ends with an error, and nothing wrong is taken in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::State;
use axum::extract::ws::{Message as Frame, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use firebrick::gateway::{CloudGateway, FixedToken, Gateway, GatewayErrorKind};
use firebrick_core::Cid;
use firebrick_core::cid::Codec;
use firebrick_core::cloud::{
    Access, Auth, Body, Claims, Conn, Gestalt, Message, MetaEntry, MetaSet, TenantLedger,
};
use firebrick_core::meta::MetaEvent;

/// A call ends by then, whatever the server does.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    GestaltIsGarbage,
    GestaltIsEndless,
    GestaltIsAnotherMessage,
    GestaltLeadsAstray,
    SocketSaysNothing,
    SocketCloses,
    SocketSendsGarbage,
    SocketSendsTooMuch,
    OpenGivesAnotherConnection,
    BindGetsAnotherMessage,
    /// Events of others, forged metas, and one that is right.
    EventsOfOthers,
    UrlsLeadAstray,
    CarIsEndless,
}

#[derive(Clone)]
struct Liar {
    lie: Lie,
    asked: Arc<AtomicUsize>,
    address: std::net::SocketAddr,
}

fn entry(name: &str) -> MetaEntry {
    MetaEntry::new(&MetaEvent {
        cars: vec![Cid::of(Codec::Car, name.as_bytes())],
        parents: Vec::new(),
    })
}

fn endless() -> HttpBody {
    let piece = Bytes::from(vec![b' '; 1 << 20]);
    let pieces = futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
    HttpBody::from_stream(pieces)
}

async fn gestalt(State(liar): State<Liar>, request: Bytes) -> Response {
    liar.asked.fetch_add(1, Ordering::Relaxed);
    let message = Message::parse(&request).unwrap();
    let list = |word: &str| vec![word.to_owned()];
    let right = Gestalt {
        id: "liar".into(),
        http_endpoints: list("/fp"),
        ws_endpoints: list(match liar.lie {
            Lie::GestaltLeadsAstray => "//elsewhere/ws",
            _ => "/ws",
        }),
        protocol_capabilities: list("stream"),
        req_types: list("reqDelData"),
        ..Gestalt::default()
    };
    let body = match liar.lie {
        Lie::GestaltIsGarbage => return "{\"type\":5".into_response(),
        Lie::GestaltIsEndless => return endless().into_response(),
        Lie::GestaltIsAnotherMessage => Body::ResOpen {
            conn: conn("x", "y"),
        },
        _ => Body::ResGestalt { gestalt: right },
    };
    Message::new(message.tid, message.auth, body)
        .encode()
        .into_response()
}

fn conn(req_id: &str, res_id: &str) -> Conn {
    Conn {
        req_id: req_id.into(),
        res_id: res_id.into(),
    }
}

async fn socket(State(liar): State<Liar>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| async move {
        lie(liar, socket).await;
    })
}

async fn lie(liar: Liar, mut socket: WebSocket) -> Option<()> {
    let text = |message: &Message| Frame::Text(message.encode().into());
    while let Some(Ok(frame)) = socket.recv().await {
        let request = match frame {
            Frame::Binary(bytes) => Message::parse(&bytes).ok()?,
            _ => continue,
        };
        match liar.lie {
            Lie::SocketSaysNothing => continue,
            Lie::SocketCloses => return None,
            Lie::SocketSendsGarbage => {
                for garbage in ["", "[", "5", "{}", "{\"type\":\"resOpen\",\"tid\":[]}"] {
                    socket.send(Frame::Text(garbage.into())).await.ok()?;
                }
                continue;
            }
            Lie::SocketSendsTooMuch => {
                let much = Frame::Binary(vec![b' '; 20 << 20].into());
                socket.send(much).await.ok()?;
                continue;
            }
            _ => {}
        }
        let answer = |body| Message::new(request.tid.clone(), request.auth.clone(), body);
        match request.body.clone() {
            Body::ReqOpen { conn: asked } => {
                let conn = match liar.lie {
                    Lie::OpenGivesAnotherConnection => conn("another", "one"),
                    _ => conn(&asked.req_id, "given"),
                };
                socket
                    .send(text(&answer(Body::ResOpen { conn })))
                    .await
                    .ok()?;
            }
            Body::BindGetMeta { scope } if liar.lie == Lie::BindGetsAnotherMessage => {
                let body = Body::ResOpen { conn: scope.conn };
                socket.send(text(&answer(body))).await.ok()?;
            }
            Body::BindGetMeta { scope } => {
                let event = |scope, metas: Vec<MetaEntry>| Body::EventGetMeta {
                    scope,
                    signed_url: String::new(),
                    meta: MetaSet {
                        metas,
                        keys: Vec::new(),
                    },
                };
                let (mut foreign, mut elsewhere) = (scope.clone(), scope.clone());
                foreign.conn = conn("someone", "else");
                elsewhere.tenant = Some(TenantLedger::new("other", "led"));
                let forged = MetaEntry {
                    cid: Cid::of(Codec::DagCbor, b"forged"),
                    ..entry("forged")
                };
                let nonsense = MetaEntry {
                    data: "M!".into(),
                    ..entry("nonsense")
                };
                for body in [
                    event(foreign, vec![entry("foreign")]),
                    event(elsewhere, vec![entry("elsewhere")]),
                    event(scope, vec![forged, nonsense, entry("right")]),
                ] {
                    socket.send(text(&answer(body))).await.ok()?;
                }
            }
            Body::ReqData {
                operation,
                kind,
                scope,
            } => {
                let signed_url = match liar.lie {
                    Lie::UrlsLeadAstray => "file:///etc/passwd".into(),
                    _ => format!("http://{}/car", liar.address),
                };
                let body = Body::ResData {
                    operation,
                    kind,
                    scope,
                    signed_url,
                };
                socket.send(text(&answer(body))).await.ok()?;
            }
            _ => {
                // No message at all, but with the right transaction.
                let body = Body::ResClose {
                    conn: conn("x", "y"),
                };
                let wrong = Message::new(request.tid.clone(), Auth::none(), body);
                socket.send(text(&wrong)).await.ok()?;
            }
        }
    }
    None
}

async fn gateway(lie: Lie) -> (CloudGateway, Liar) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let liar = Liar {
        lie,
        asked: Arc::default(),
        address,
    };
    let router = Router::new()
        .route("/fp", put(gestalt))
        .route("/ws", get(socket))
        .route("/car", get(|| async { endless() }).put(|| async { "" }))
        .with_state(liar.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let claims = Claims::new("u", "u@example.com", "2026-01-01T00:00:00Z");
    let claims = claims.grant("ten", "led", Access::Write);
    let json = serde_json::to_vec(&claims).unwrap();
    let token = format!("e.{}.s", data_encoding::BASE64URL_NOPAD.encode(&json));
    let url = format!("fpcloud://{address}?protocol=ws");
    (
        CloudGateway::new(&url, FixedToken::new(token)).unwrap(),
        liar,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_answers_end_in_errors() {
    let lies = [
        Lie::GestaltIsGarbage,
        Lie::GestaltIsEndless,
        Lie::GestaltIsAnotherMessage,
        Lie::GestaltLeadsAstray,
        Lie::SocketSaysNothing,
        Lie::SocketCloses,
        Lie::SocketSendsGarbage,
        Lie::SocketSendsTooMuch,
        Lie::OpenGivesAnotherConnection,
        Lie::BindGetsAnotherMessage,
    ];
    let calls = lies.map(|lie| async move {
        let (gateway, liar) = gateway(lie).await;
        let began = Instant::now();
        let error = gateway.prepare().await.expect_err("it lies");
        assert!(began.elapsed() < LIMIT, "{lie:?} {:?}", began.elapsed());
        assert!(error.is_retryable(), "{lie:?}: {error}");
        // Asked once, not in a loop.
        assert!(liar.asked.load(Ordering::Relaxed) <= 2, "{lie:?}");
    });
    futures_util::future::join_all(calls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_ours_is_taken_in() {
    let (gateway, _) = gateway(Lie::EventsOfOthers).await;
    gateway.prepare().await.unwrap();
    let slots = gateway.slots().await.unwrap();
    let metas: Vec<_> = slots.into_iter().map(|(_, said)| said.meta).collect();
    let right = MetaEvent {
        cars: vec![Cid::of(Codec::Car, b"right")],
        parents: Vec::new(),
    };
    assert_eq!(metas, [right.to_main_json()]);
    // An answer of another type is no acknowledgment.
    let slot = "a1".repeat(16);
    let announcement = firebrick::gateway::Announcement::new(right.to_main_json());
    let error = gateway.announce(&slot, &announcement).await.unwrap_err();
    assert_eq!(error.kind(), GatewayErrorKind::Other, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signed_urls_lead_only_to_cars() {
    let (gateway, _) = gateway(Lie::UrlsLeadAstray).await;
    let cid = Cid::of(Codec::Car, b"x");
    let error = gateway.get_car(&cid).await.unwrap_err();
    assert!(error.to_string().contains("not one of HTTP"), "{error}");
    assert!(gateway.put_car(&cid, Bytes::new()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_car_without_end_is_given_up() {
    let (gateway, _) = gateway(Lie::CarIsEndless).await;
    let cid = Cid::of(Codec::Car, b"x");
    let error = gateway.get_car(&cid).await.unwrap_err();
    assert!(error.to_string().contains("brings more than"), "{error}");
}
