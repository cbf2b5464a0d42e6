//! Encrypted connections.

use std::path::Path;

use firebrick_core::cloud::{Auth, Body, Message, OpenConn};
use firebrick_server::{AdminToken, Server, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::support::{Place, config};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a certificate for this machine.
fn issue(authority: &Authority, folder: &Path) -> TlsFiles {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let cert = params.signed_by(&key, authority).unwrap();
    let files = TlsFiles {
        cert: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    std::fs::write(&files.cert, cert.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

fn trusting(authority: &Authority) -> reqwest::Client {
    let root = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    reqwest::Client::builder()
        .tls_certs_only([root])
        .build()
        .unwrap()
}

#[tokio::test]
async fn https_and_a_new_certificate() {
    let (first, second) = (authority(), authority());
    let folder = tempfile::tempdir().unwrap();
    let files = issue(&first, folder.path());
    let place = Place::with(|config| {
        config.tls = Some(files.clone());
        config.admin_token = Some(AdminToken::new("the-token-of-the-tests").unwrap());
    })
    .await;
    let address = place.address();
    let url = |path: &str| format!("https://{address}{path}");
    assert_eq!(
        place.server.attach_url().to_string(),
        format!("fpcloud://{address}")
    );
    let http = trusting(&first);
    let ready = http.get(url("/readyz")).send().await.unwrap();
    assert_eq!(ready.text().await.unwrap(), "ready");
    // Signed URLs are encrypted ones.
    let open = Body::ReqOpen {
        conn: OpenConn {
            req_id: "r".into(),
            res_id: None,
        },
    };
    let ask = async |body: Body| {
        let message = Message::new("t", Auth::token(place.writer("a")), body);
        let answer = http
            .put(url("/fp"))
            .body(message.encode())
            .send()
            .await
            .unwrap();
        Message::parse(&answer.bytes().await.unwrap()).unwrap().body
    };
    let Body::ResOpen { conn } = ask(open).await else {
        panic!("not opened");
    };
    let scope = crate::support::scope(
        &conn,
        "ten",
        "led",
        firebrick_core::cloud::Verb::Put,
        firebrick_core::cloud::Store::Car,
        &crate::support::car("x").to_string(),
    );
    let data = Body::ReqData {
        operation: firebrick_core::cloud::Operation::Put,
        kind: firebrick_core::cloud::DataKind::Data,
        scope,
    };
    let Body::ResData { signed_url, .. } = ask(data).await else {
        panic!("no URL");
    };
    assert!(
        signed_url.starts_with(&url("/store/ten/led/car/")),
        "{signed_url}"
    );
    let put = http.put(&signed_url).body("x").send().await.unwrap();
    assert_eq!(put.status(), 200);

    // Neither without encryption, nor for whom does not trust it.
    reqwest::get(format!("http://{address}/healthz"))
        .await
        .unwrap_err();
    trusting(&second)
        .get(url("/healthz"))
        .send()
        .await
        .unwrap_err();

    // A key that does not belong to the certificate changes nothing.
    let right = std::fs::read(&files.key).unwrap();
    std::fs::write(&files.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let error = place.server.reload().unwrap_err().to_string();
    assert!(error.contains("key.pem"), "{error}");
    std::fs::write(&files.key, right).unwrap();
    trusting(&first).get(url("/healthz")).send().await.unwrap();

    issue(&second, folder.path());
    place.server.reload().unwrap();
    trusting(&second).get(url("/healthz")).send().await.unwrap();
    trusting(&first)
        .get(url("/healthz"))
        .send()
        .await
        .unwrap_err();
    // The connection of before goes on.
    let page = http
        .get(url("/metrics"))
        .bearer_auth("the-token-of-the-tests");
    let page = page.send().await.unwrap().text().await.unwrap();
    let refused = page.lines().find_map(|line| {
        line.strip_prefix("firebrick_network_connections_refused_total{reason=\"tls\"} ")
    });
    assert!(refused.unwrap().parse::<u32>().unwrap() >= 1, "{page}");
}

#[tokio::test]
async fn mistakes_are_found_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let good = issue(&authority(), folder.path());
    let bad = folder.path().join("bad.pem");
    std::fs::write(&bad, "no certificate").unwrap();
    let missing = folder.path().join("missing.pem");
    for (cert, key, named) in [
        (&bad, &good.key, "bad.pem"),
        (&missing, &good.key, "missing.pem"),
        (&good.cert, &bad, "bad.pem"),
        (&good.cert, &missing, "missing.pem"),
    ] {
        let mut config = config(&folder);
        config.tls = Some(TlsFiles {
            cert: cert.clone(),
            key: key.clone(),
        });
        for error in [
            Server::check(&config).await.unwrap_err(),
            Server::start(config.clone()).await.unwrap_err(),
        ] {
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
