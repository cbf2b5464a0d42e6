//! Tokens that end, are renewed, or are for something else.

use std::sync::{Arc, Mutex};

use firebrick::gateway::{CloudGateway, FixedToken, Gateway, GatewayErrorKind, TokenFile};
use firebrick::{Database, State};
use firebrick_core::cloud::Access;

use crate::bed::{Bed, PATIENCE, attach, converge, wait, write};

fn needs_auth(state: &State) -> bool {
    matches!(state, State::NeedsAuth { .. })
}

/// A gateway whose token the test can change.
fn changing(bed: &Bed, token: &Arc<Mutex<String>>) -> CloudGateway {
    let token = Arc::clone(token);
    let ask = move || {
        let token = token.lock().unwrap().clone();
        async move { Ok(token) }
    };
    CloudGateway::new(&bed.url(), ask).unwrap()
}

async fn renewed(bed: Bed, bad: String, says: &str) {
    let token = Arc::new(Mutex::new(bad));
    let db = bed.open("db").await;
    write(&db, "x", 1).await;
    let attachment = attach(&db, changing(&bed, &token));
    let state = wait(&attachment, needs_auth).await;
    let State::NeedsAuth { cause } = state else {
        panic!("{state:?}")
    };
    assert!(cause.contains(says), "{cause}");
    *token.lock().unwrap() = bed.token();
    let other = bed.open("other").await;
    bed.attach(&other);
    converge(&[db, other], 1).await;
}

#[tokio::test]
async fn an_expired_token_is_renewed() {
    let bed = Bed::new().await;
    let expired = bed.token_for("ten", Access::Write, 0);
    renewed(bed, expired, "the token ended").await;
}

#[tokio::test]
async fn a_token_that_the_server_refuses_is_renewed() {
    let (bed, other) = (Bed::new().await, Bed::new().await);
    let foreign = other.token();
    renewed(bed, foreign, "token rejected").await;
}

#[tokio::test]
async fn a_token_that_is_none_is_renewed() {
    renewed(Bed::new().await, "no token\n".into(), "is none").await;
}

/// A token that ends while the connection is open is noticed, and everything goes on with the next one.
#[tokio::test]
async fn a_token_ends_while_connected() {
    let bed = Bed::new().await;
    let token = Arc::new(Mutex::new(bed.token_for("ten", Access::Write, 2)));
    let db = bed.open("db").await;
    let attachment = attach(&db, changing(&bed, &token));
    write(&db, "first", 1).await;
    converge(std::slice::from_ref(&db), 1).await;
    let mut written = 1;
    let noticed = tokio::time::timeout(PATIENCE, async {
        while !needs_auth(&attachment.status().state) {
            write(&db, &format!("more-{written}"), 1).await;
            written += 1;
            // Up to date again, or not any more.
            let _ = attachment.synced_within(PATIENCE).await;
        }
    });
    noticed.await.unwrap();
    *token.lock().unwrap() = bed.token();
    let other = bed.open("other").await;
    bed.attach(&other);
    converge(&[db, other], written).await;
}

#[tokio::test]
async fn a_token_file_is_read_again() {
    let bed = Bed::new().await;
    let path = bed.data().join("client-token");
    let db = bed.open("db").await;
    let gateway = CloudGateway::new(&bed.url(), TokenFile::new(&path)).unwrap();
    let attachment = attach(&db, gateway);
    wait(&attachment, needs_auth).await;
    std::fs::write(&path, bed.token() + "\n").unwrap();
    converge(&[db], 0).await;

    // The same by URL, as it is remembered.
    let url = format!("{}&tokenFile={}", bed.url(), path.display());
    let db = bed.open("by-url").await;
    write(&db, "x", 1).await;
    assert_eq!(db.attach(url.as_str()).unwrap().url(), url);
    converge(&[db], 1).await;
}

#[tokio::test]
async fn another_tenant_is_refused_by_name() {
    let bed = Bed::new().await;
    let url = format!("{}&tenant=other&ledger=led", bed.url());
    let gateway = CloudGateway::new(&url, FixedToken::new(bed.token())).unwrap();
    let error = gateway.prepare().await.unwrap_err();
    assert_eq!(error.kind(), GatewayErrorKind::Denied);
    assert!(
        error.to_string().contains("no access to tenant \"other\""),
        "{error}"
    );

    let db = bed.open("db").await;
    let attachment = attach(&db, gateway);
    wait(&attachment, needs_auth).await;
}

#[tokio::test]
async fn a_token_that_reads_only() {
    let bed = Bed::new().await;
    let writer = bed.open("writer").await;
    write(&writer, "x", 2).await;
    bed.attach(&writer);
    converge(std::slice::from_ref(&writer), 2).await;
    let token = FixedToken::new(bed.token_for("ten", Access::Read, 3600));
    let gateway = CloudGateway::new(&bed.url(), token).unwrap();
    let reader: Database = bed.open("reader").await;
    let attachment = attach(&reader, gateway);
    converge(std::slice::from_ref(&reader), 2).await;
    write(&reader, "own", 1).await;
    let state = wait(&attachment, |state| matches!(state, State::Failed { .. })).await;
    assert!(
        format!("{state:?}").contains("can only be read"),
        "{state:?}"
    );
}
