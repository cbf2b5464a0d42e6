//! CARs, and the URLs that are signed for them.

use firebrick_core::cloud::{Access, Body, Operation, Store};
use reqwest::{Client as Http, Method};

use crate::support::{Client, Place, car};

/// What a signed URL says under a name.
fn parameter<'a>(url: &'a str, name: &str) -> &'a str {
    let (_, query) = url.split_once('?').unwrap();
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).unwrap().1
}

async fn status(method: Method, url: &str, body: &str) -> u16 {
    let request = Http::new().request(method, url).body(body.to_owned());
    request.send().await.unwrap().status().as_u16()
}

async fn read(url: &str) -> (u16, String) {
    let response = Http::new().get(url).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn in_and_out() {
    let place = Place::new().await;
    let mut a = place.client("a").await;
    let get = a.url(Operation::Get, "x").await;
    assert!(get.starts_with(&place.http("/store/ten/led/car/")), "{get}");
    assert_eq!(read(&get).await.0, 404);
    let put = a.url(Operation::Put, "x").await;
    assert_eq!(status(Method::PUT, &put, "first").await, 200);
    // Used again within its time: nothing changes.
    assert_eq!(status(Method::PUT, &put, "second").await, 200);
    assert_eq!(read(&get).await, (200, "first".into()));
    let response = Http::new().get(&get).send().await.unwrap();
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    // Whoever wants to replace it deletes it first.
    let delete = a.url(Operation::Delete, "x").await;
    assert_eq!(status(Method::DELETE, &delete, "").await, 200);
    assert_eq!(read(&get).await.0, 404);
    assert_eq!(status(Method::PUT, &put, "second").await, 200);
    assert_eq!(read(&get).await, (200, "second".into()));
    // Another store is another place.
    let request = a.data_request(Operation::Get, Store::File, &car("x").to_string());
    let Body::ResData { signed_url, .. } = a.ask(request).await else {
        panic!("no URL");
    };
    assert_eq!(read(&signed_url).await.0, 404);
}

/// A URL is good for one method, one object and a while.
#[tokio::test]
async fn changed_urls_are_refused() {
    let place = Place::new().await;
    let mut a = place.client("a").await;
    a.upload("x", b"x").await;
    a.upload("y", b"y").await;
    let get = a.url(Operation::Get, "x").await;
    assert_eq!(status(Method::PUT, &get, "evil").await, 403);
    assert_eq!(status(Method::DELETE, &get, "").await, 403);
    let exp = parameter(&get, "x-exp");
    let later = (exp.parse::<u64>().unwrap() + 1).to_string();
    let signature = parameter(&get, "x-sig");
    let (x, y) = (car("x").to_string(), car("y").to_string());
    for changed in [
        get.replace("/ten/", "/other/"),
        get.replace("/led/", "/other/"),
        get.replace("/car/", "/file/"),
        get.replace(&x, &y),
        get.replace(&format!("x-exp={exp}"), &format!("x-exp={later}")),
        get.replace(&format!("x-exp={exp}"), "x-exp=99999999999999999999"),
        get.replace(signature, ""),
        get.replace(signature, &"0".repeat(64)),
        get.replace(&format!("/{x}"), &format!("/%2e%2e%2f{x}")),
        get.replace("/led/car/", "/led%2fcar/car/"),
        get.split('?').next().unwrap().to_owned(),
    ] {
        assert_ne!(changed, get);
        let (status, text) = read(&changed).await;
        assert_eq!(status, 403, "{changed}: {text}");
    }
    // The method that it says to be for does not matter, the signature does.
    let changed = get.replace("x-method=GET", "x-method=PUT");
    assert_eq!(status(Method::PUT, &changed, "evil").await, 403);
    assert_eq!(read(&get).await, (200, "x".into()));
}

#[tokio::test]
async fn urls_expire() {
    let place = Place::new().await;
    let mut a = place.client("a").await;
    a.upload("x", b"x").await;
    let mut request = a.data_request(Operation::Get, Store::Car, &car("x").to_string());
    if let Body::ReqData { scope, .. } = &mut request {
        scope.url.expires = Some(0);
    }
    let Body::ResData { signed_url, .. } = a.ask(request.clone()).await else {
        panic!("no URL");
    };
    let (status, text) = read(&signed_url).await;
    assert!(status == 403 && text.contains("expired"), "{status} {text}");
    // Not longer than the server allows, nor than the token.
    if let Body::ReqData { scope, .. } = &mut request {
        scope.url.expires = Some(u64::MAX);
    }
    let claims = crate::support::claims("a", &[("ten", "led", Access::Write)]);
    a.token = place.server.mint(claims, 100).unwrap();
    let before = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let Body::ResData { signed_url, .. } = a.ask(request).await else {
        panic!("no URL");
    };
    let exp = parameter(&signed_url, "x-exp");
    assert!(exp.parse::<u64>().unwrap() <= before + 105, "{exp}");
}

#[tokio::test]
async fn only_names_of_cars_are_signed() {
    let place = Place::new().await;
    let tricky = [("ten", "..", Access::Write), ("a/b", "led", Access::Write)];
    let token = place.token("t", &[tricky[0], tricky[1], ("ten", "led", Access::Write)]);
    let mut client = Client::open(place.address(), &token).await;
    let cid = car("x").to_string();
    for key in [
        "main",
        "",
        "../../../etc/passwd",
        "..",
        &format!("../{cid}"),
        &cid[1..],
    ] {
        let request = client.data_request(Operation::Put, Store::Car, key);
        let (text, _) = client.refused(request).await;
        assert!(text.contains("not the CID of a CAR"), "{text}");
    }
    for store in [Store::Meta, Store::Wal] {
        let request = client.data_request(Operation::Put, store, &cid);
        client.refused(request).await;
    }
    let mut indexed = client.data_request(Operation::Put, Store::Car, &cid);
    if let Body::ReqData { scope, .. } = &mut indexed {
        scope.url.index = Some("../../x".into());
    }
    let (text, _) = client.refused(indexed).await;
    assert!(text.contains("is no name"), "{text}");
    for (tenant, ledger, _) in tricky {
        let (text, _) = client.refused(client.bind_request(tenant, ledger)).await;
        assert!(text.contains("is no name"), "{text}");
    }
    assert!(!place.dir.path().join("data/x").exists());
}

#[tokio::test]
async fn long_cars_are_refused_and_leave_nothing() {
    let place = Place::with(|config| config.limits.object = 10).await;
    let mut a = place.client("a").await;
    let put = a.url(Operation::Put, "x").await;
    assert_eq!(status(Method::PUT, &put, "eleven long").await, 413);
    let get = a.url(Operation::Get, "x").await;
    assert_eq!(read(&get).await.0, 404);
    assert_eq!(status(Method::PUT, &put, "ten longer").await, 200);
    assert_eq!(read(&get).await.0, 200);
}

/// Behind a proxy, URLs name the outside.
#[tokio::test]
async fn the_public_url_is_what_urls_begin_with() {
    let place =
        Place::with(|config| config.public_url = Some("https://sync.example.com/".into())).await;
    assert_eq!(
        place.server.attach_url().to_string(),
        "fpcloud://sync.example.com"
    );
    let mut a = place.client("a").await;
    let url = a.url(Operation::Get, "x").await;
    assert!(
        url.starts_with("https://sync.example.com/store/ten/led/car/"),
        "{url}"
    );
}
