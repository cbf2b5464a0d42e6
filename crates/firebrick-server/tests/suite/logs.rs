//! What the server logs, and what it does not.

use std::io;
use std::sync::{Arc, Mutex};

use firebrick_core::cloud::{Access, Auth, Body, Message, OpenConn, Operation};
use firebrick_server::AdminToken;
use futures_util::SinkExt;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message as Frame;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{Client, PATIENCE, Place, key, meta};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

impl Log {
    /// All of this thread, as long as the guard lives.
    fn start(level: LevelFilter) -> (Log, DefaultGuard) {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(level)
            .with_writer(log.clone())
            .finish();
        (log.clone(), tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        let text = self.text();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits for a line like this.
    async fn find(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                if let Some(line) = self.lines().into_iter().find(&wanted) {
                    return line;
                }
                tokio::task::yield_now().await;
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(line) => line,
            Err(_) => panic!("not in the log:\n{}", self.text()),
        }
    }
}

/// A field of a line, or of the spans around it.
fn field<'a>(line: &'a Value, name: &str) -> Option<&'a Value> {
    let spans = line["spans"].as_array().into_iter().flatten().rev();
    let mut places = std::iter::once(&line["fields"]).chain(spans);
    places.find_map(|place| place.get(name))
}

fn says(line: &Value, message: &str) -> bool {
    line["fields"]["message"] == message
}

#[tokio::test]
async fn lines_name_their_request() {
    let (log, _guard) = Log::start(LevelFilter::DEBUG);
    let place = Place::new().await;
    let http = reqwest::Client::new();
    let request = http
        .get(place.http("/healthz"))
        .header("x-request-id", "my-own.id_1");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "my-own.id_1");
    response.text().await.unwrap();
    let line = log.find(|line| says(line, "answered")).await;
    assert_eq!(field(&line, "id").unwrap(), "my-own.id_1");
    assert_eq!(field(&line, "path").unwrap(), "/healthz");
    assert_eq!(line["level"], "DEBUG");
    assert_eq!(
        (&line["fields"]["status"], &line["fields"]["sent"]),
        (&200.into(), &2.into())
    );

    // A bad id is replaced, and a request without one gets one.
    for request in [
        http.get(place.http("/nowhere"))
            .header("x-request-id", "a b\"c"),
        http.get(place.http("/nowhere")),
    ] {
        let response = request.send().await.unwrap();
        let id = response.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(
            id.len() == 24 && id.bytes().all(|c| c.is_ascii_hexdigit()),
            "{id}"
        );
        let ours =
            |line: &Value| says(line, "answered") && field(line, "id").unwrap() == id.as_str();
        let line = log.find(ours).await;
        assert_eq!(
            (&line["level"], &line["fields"]["status"]),
            (&"INFO".into(), &404.into())
        );
    }

    // Over a WebSocket: all lines have its id, and name what the message is about.
    let token = place.token("a", &[("ten", "led", Access::Read)]);
    let mut a = Client::open(place.address(), &token).await;
    a.bind("ten", "led").await;
    let tid = a.send(a.put_request(&[meta("x")], &[])).await;
    a.receive().await;
    let line = log.find(|line| says(line, "refused")).await;
    let text = |name: &str| {
        field(&line, name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    assert_eq!(text("kind"), "reqPutMeta");
    assert_eq!(text("tid"), tid);
    assert_eq!(
        text("connection"),
        format!("{}:{}", a.conn.req_id, a.conn.res_id)
    );
    assert!(text("refusal").contains("no write access"));
    let socket = text("id").to_owned();
    let handled = log
        .find(|line| says(line, "handled") && field(line, "tenant").is_some())
        .await;
    let names = ["id", "tenant", "ledger", "kind"].map(|name| field(&handled, name).unwrap());
    assert_eq!(names, [socket.as_str(), "ten", "led", "bindGetMeta"]);
    drop(a);
    let end = log.find(|line| says(line, "a WebSocket ended")).await;
    assert_eq!(field(&end, "id").unwrap(), socket.as_str());
    assert!(end["fields"]["received"].as_u64() > Some(100));
}

/// Everything that happens is logged, and nothing of it lets anybody in.
#[tokio::test]
async fn no_secrets_are_logged() {
    let (log, _guard) = Log::start(LevelFilter::TRACE);
    const ADMIN: &str = "the-token-of-the-admin";
    let place =
        Place::with(|config| config.admin_token = Some(AdminToken::new(ADMIN).unwrap())).await;
    let mut a = place.bound("a").await;
    let mut b = place.bound("b").await;
    a.publish(&["a1"], &[key(1)]).await;
    b.event().await;
    let urls = [
        a.url(Operation::Get, "a1").await,
        a.url(Operation::Put, "a2").await,
        a.url(Operation::Delete, "a1").await,
    ];
    let http = reqwest::Client::new();
    http.get(&urls[0]).send().await.unwrap();
    http.get(&urls[1]).send().await.unwrap();
    http.delete(&urls[2]).send().await.unwrap();
    // Refused in all ways.
    a.refused(a.bind_request("other", "led")).await;
    let forged = format!("{}x", a.token);
    let mut broken = place.client("c").await;
    broken.token.clone_from(&forged);
    broken.refused(broken.bind_request("ten", "led")).await;
    broken.token = a.token.replace('.', "!");
    broken.refused(broken.bind_request("ten", "led")).await;
    let garbage = format!(
        r#"{{"type":"nope","tid":"t","auth":"{}","keys":["{}"]}}"#,
        a.token,
        key(1).as_str()
    );
    a.socket.send(Frame::Text(garbage.into())).await.unwrap();
    a.receive().await;
    let open = Body::ReqOpen {
        conn: OpenConn {
            req_id: "line\nbreak\u{1b}[2J".into(),
            res_id: None,
        },
    };
    let message = Message::new("t\n", Auth::token(&a.token), open);
    let request = http.put(place.http("/fp")).body(message.encode());
    assert_eq!(request.send().await.unwrap().status(), 200);
    for token in [ADMIN, "another-token-of-an-admin"] {
        let request = http.get(place.http(&format!("/metrics?token={token}")));
        request.bearer_auth(token).send().await.unwrap();
    }
    place.server.shutdown().await;

    let text = log.text();
    assert!(text.lines().count() > 20, "{text}");
    let token = |jwt: &str| jwt.rsplit('.').next().unwrap().to_owned();
    let mut secrets = vec![
        token(&a.token),
        token(&b.token),
        token(&broken.token),
        forged,
        key(1).as_str().into(),
        ADMIN.into(),
        "another-token-of-an-admin".into(),
    ];
    for url in &urls {
        let (_, signature) = url.split_once("x-sig=").unwrap();
        secrets.push(signature.into());
    }
    for secret in secrets {
        assert!(
            secret.len() > 16 && !text.contains(&secret),
            "{secret} in\n{text}"
        );
    }
    assert!(
        !text.contains("\\u001b") && !text.contains("line\\n"),
        "{text}"
    );
}
