//! The sync server as a process, and its tokens.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{Place, SERVE};

fn get(address: &str, path: &str) -> String {
    get_with(address, path, "accept: */*")
}

fn get_with(address: &str, path: &str, header: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\n{header}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_starts_without_settings_and_ends_when_asked() {
    let place = Place::new();
    let (server, line) = place.serve(&[]);
    let address = line["listening"].as_str().unwrap();
    assert_eq!(line["url"], format!("fpcloud://{address}?protocol=ws"));
    assert!(get(address, "/healthz").contains("200 OK"));
    assert!(get(address, "/readyz").contains("ready"));
    // Metrics are for who has read the file.
    let file = line["adminTokenFile"].as_str().unwrap();
    let admin = std::fs::read_to_string(place.path(file)).unwrap();
    let metrics = get_with(
        address,
        "/metrics",
        &format!("authorization: Bearer {admin}"),
    );
    assert!(metrics.contains("firebrick_build_info"), "{metrics}");
    assert!(get(address, "/metrics").contains("401 Unauthorized"));
    assert_eq!(line["admin"], format!("http://{address}/admin"));
    assert!(get(address, "/admin/").contains("<title>Firebrick server</title>"));
    // The token is good, and says what was granted.
    let token = line["token"].as_str().unwrap();
    let found = &place.json(&["token", "inspect", token, "--data", "data"])[0];
    assert_eq!(found["signature"], "good");
    assert_eq!(found["claims"]["selected"]["tenant"], "default");
    // Nobody else takes the directory meanwhile.
    assert_eq!(place.fails(&SERVE).0, 5);
    assert_eq!(server.terminate(), 0);
    // The keys stay.
    let (again, second) = place.serve(&["--grant", "acme/notes:read"]);
    let second = second["token"].as_str().unwrap();
    assert_eq!(
        place.json(&["token", "inspect", token, "--data", "data"])[0]["signature"],
        "good"
    );
    let found = &place.json(&["token", "inspect", second, "--data", "data"])[0];
    assert_eq!(found["claims"]["ledgers"][0]["right"], "read");
    assert_eq!(again.terminate(), 0);
    #[cfg(unix)]
    for name in [
        "",
        "token-key.json",
        "url-key",
        "admin-token",
        "metas.sqlite",
    ] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = place
            .path("data")
            .join(name)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}

#[test]
fn tokens() {
    let place = Place::new();
    let token = place.ok(&[
        "token",
        "mint",
        "acme/notes",
        "acme/wiki:read",
        "--data",
        "data",
    ]);
    let found = &place.json(&["token", "inspect", token.trim(), "--data", "data"])[0];
    assert_eq!(found["expired"], false);
    assert_eq!(found["claims"]["ledgers"][1]["id"], "wiki");
    assert!(found["claims"]["created"].as_str().unwrap().ends_with('Z'));
    let text = place.run_with_input(&["token", "inspect", "--data", "data"], &token);
    assert!(
        text.code == 0 && text.stdout.contains("Signature: good"),
        "{text:?}"
    );
    // Another key, no key, an old token, no token.
    place.ok(&["token", "mint", "a/b", "--data", "other"]);
    let inspect = |args: &[&str]| place.run(&[&["token", "inspect", token.trim()], args].concat());
    let foreign = inspect(&["--data", "other"]);
    assert!(
        foreign.code == 1 && foreign.stdout.contains("by another key"),
        "{foreign:?}"
    );
    assert!(inspect(&["--data", "none"]).stdout.contains("unchecked"));
    let old = place.ok(&["token", "mint", "a/b", "--days", "0", "--data", "data"]);
    let old = place.run(&["token", "inspect", old.trim(), "--data", "data"]);
    assert!(old.code == 1 && old.stdout.contains("Ended"), "{old:?}");
    assert_eq!(place.fails(&["token", "inspect", "a.b.c"]).0, 4);
    // A key of its own.
    let key = place.path("data/token-key.json").display().to_string();
    let minted = place.ok(&["token", "mint", "a/b", "--key", &key]);
    let found = &place.json(&["token", "inspect", minted.trim(), "--key", &key])[0];
    assert_eq!(found["signature"], "good");
}

#[test]
fn settings_are_checked() {
    let place = Place::new();
    let base = [&SERVE[..], &["--check-config"]].concat();
    let run = |args: &[&str]| place.fails(&[&base[..], args].concat());
    place.ok(&base);
    assert!(!place.path("data").exists());
    assert_eq!(run(&["--public-url", "ftp://x"]).0, 4);
    assert_eq!(run(&["--jwks-url", "file:///x"]).0, 4);
    assert_eq!(run(&["--token-key", "none"]).0, 4);
    let (code, error) = run(&["--token-key", &place.write("key", "no key")]);
    assert!(
        code == 4 && error["message"].as_str().unwrap().contains("JWK"),
        "{error}"
    );
    assert_eq!(run(&["--grant", "nothing"]).0, 2);
    assert_eq!(run(&["--admin-token", "short"]).0, 4);
    assert_eq!(run(&["--admin-token-file", "none"]).0, 4);
    assert_eq!(run(&["--tenants", "none"]).0, 5);
    assert_eq!(run(&["--tls-cert", "none"]).0, 2);
    assert_eq!(run(&["--tls-cert", "none", "--tls-key", "none"]).0, 4);
    assert_eq!(run(&["--tenants", &place.write("tenants", "{")]).0, 4);
    assert_eq!(run(&["--log-level", "loud"]).0, 2);
    assert_eq!(run(&["--log-format", "xml"]).0, 2);
    place.write("file", "");
    assert_eq!(
        place
            .fails(&["serve", "--check-config", "--data", "file/x"])
            .0,
        5
    );
    assert_eq!(place.fails(&["token", "mint", "acme"]).0, 2);
    assert_eq!(
        place.fails(&["token", "mint", "a/b", "--email", "none"]).0,
        4
    );
}

/// A database trusts the server because its certificate is by somebody whom this process is told to
/// trust.
#[test]
fn it_encrypts() {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let place = Place::new();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let cert = params.signed_by(&key, &authority).unwrap();
    let cert = place.write("cert.pem", &cert.pem());
    let key = place.write("key.pem", &key.serialize_pem());
    let roots = place.write("roots.pem", &authority.pem());
    let (server, line) = place.serve(&["--tls-cert", &cert, "--tls-key", &key]);
    let url = line["url"].as_str().unwrap();
    assert!(!url.contains("protocol="), "{url}");
    let token = place.write("token", line["token"].as_str().unwrap());
    let remote = format!("{url}?tokenFile={token}");
    let trusting = |args: &[&str]| {
        let mut command = place.command(args);
        let done = command.env("SSL_CERT_FILE", &roots).output().unwrap();
        assert!(done.status.success(), "{args:?}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    place.ok(&["put", "--id", "kept", r#"{"n":1}"#]);
    trusting(&["attach", &remote]);
    trusting(&["sync", "--timeout", "30"]);
    let key = place.ok(&["keys", "export"]);
    trusting(&["--db", "copy", "attach", &remote, "--key", key.trim()]);
    trusting(&["--db", "copy", "sync", "--timeout", "30"]);
    assert!(
        place
            .ok(&["--db", "copy", "get", "kept"])
            .contains("\"n\":1")
    );
    assert_eq!(server.terminate(), 0);
}
