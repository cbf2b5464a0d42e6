//! JavaScript and Firebrick clients on one ledger. Both give their keys to the server, as JavaScript does.

use firebrick_core::cloud::Access;
use serde_json::json;

use crate::site::{Setup, assert_not_ready, converge, del, everywhere, put, put_file};
use crate::team::{Team, write};

everywhere!(online at_the_same_time offline_and_back files a_restart refused compactions);

/// Live in both directions: changes of the other's documents, deletions, newcomers of both kinds.
async fn online(setup: Setup) {
    let mut team = Team::new(setup).await;
    let js = team.client("js");
    let db = team.database("rust").await;
    put(team.js(js), "by-js", 1);
    write(team.db(db), "before", 2).await;
    team.all_have(&[("before", 2), ("by-js", 1)]).await;
    write(team.db(db), "by-js", 10).await;
    team.all_have(&[("before", 2), ("by-js", 10)]).await;
    put(team.js(js), "before", 20);
    team.all_have(&[("before", 20), ("by-js", 10)]).await;
    team.db(db).delete("before").await.unwrap();
    put(team.js(js), "more", 3);
    team.all_have(&[("by-js", 10), ("more", 3)]).await;
    del(team.js(js), "more");
    team.all_have(&[("by-js", 10)]).await;

    let late = team.database("late").await;
    let late_js = team.client("late-js");
    write(team.db(late), "late", 4).await;
    put(team.js(late_js), "late-js", 5);
    team.all_have(&[("by-js", 10), ("late", 4), ("late-js", 5)])
        .await;
    team.ends_alike().await;
}

/// Writes that meet: nothing is lost, whoever wins.
async fn at_the_same_time(setup: Setup) {
    let mut team = Team::new(setup).await;
    let js = [
        team.client("js-1"),
        team.client("js-2"),
        team.client("js-3"),
    ];
    let db = [team.database("db-1").await, team.database("db-2").await];
    let mut all = Vec::new();
    for round in 0..4 {
        for (who, &js) in js.iter().enumerate() {
            let (id, n) = (format!("js-{who}-{round}"), 10 * round + who as i64);
            put(team.js(js), &id, n);
            all.push((id, n));
        }
        for (who, &db) in db.iter().enumerate() {
            let (id, n) = (format!("db-{who}-{round}"), 100 + 10 * round + who as i64);
            write(team.db(db), &id, n).await;
            all.push((id, n));
        }
    }
    let all: Vec<(&str, i64)> = all.iter().map(|(id, n)| (id.as_str(), *n)).collect();
    team.all_have(&all).await;
    team.client("late-js");
    team.database("late").await;
    team.all_have(&all).await;
    team.ends_alike().await;
}

/// What was written while nobody was attached goes out with the next attach, and one of two versions of a
/// document wins everywhere.
async fn offline_and_back(setup: Setup) {
    let mut team = Team::new(setup).await;
    let (js, stays) = (team.client("js"), team.client("stays"));
    let db = team.database("rust").await;
    write(team.db(db), "shared", 1).await;
    write(team.db(db), "kept", 2).await;
    team.all_have(&[("kept", 2), ("shared", 1)]).await;

    team.leave_js(js);
    team.leave_db(db).await;
    let mut alone = team.offline_js("js");
    put(&mut alone, "shared", 10);
    put(&mut alone, "js-alone", 3);
    alone.ask(&json!({"op": "idle"}));
    alone.close();
    let alone = team.offline_db("rust").await;
    write(&alone, "shared", 20).await;
    write(&alone, "rust-alone", 4).await;
    alone.delete("kept").await.unwrap();
    alone.close().await.unwrap();
    put(team.js(stays), "meanwhile", 5);

    team.client("js");
    let db = team.database("rust").await;
    let winner = team.value_of("shared", db, &[10, 20]).await;
    team.all_have(&[
        ("js-alone", 3),
        ("meanwhile", 5),
        ("rust-alone", 4),
        ("shared", winner),
    ])
    .await;
    team.ends_alike().await;
}

/// Firebrick's files travel between its databases. JavaScript sends none and fetches none
/// (`clients::a_file_stays_where_it_was_put`): with it, the document comes, and reading the file says that
/// it is not there.
async fn files(setup: Setup) {
    let mut team = Team::new(setup).await;
    let js = team.client("js");
    let (db, other) = (team.database("rust").await, team.database("other").await);
    let content: Vec<u8> = (0..70_000u32).map(|n| (n ^ (n >> 7)) as u8).collect();
    team.put_file(db, "ours", "ours.bin", &content).await;
    put_file(team.js(js), "theirs");
    team.all_have(&[("ours", 1), ("theirs", 2)]).await;
    assert_eq!(team.file(other, "ours", "ours.bin").await.unwrap(), content);
    let missing = team.file(db, "theirs", "a.txt").await.unwrap_err();
    assert!(missing.contains("theirs"), "{missing}");
    assert_not_ready(team.js(js), "ours", "ours.bin");
    // Its own it reads.
    let own = json!({"op": "file", "id": "theirs", "name": "a.txt"});
    assert_eq!(team.js(js).ask(&own)["length"], 13);
    team.ends_alike().await;
}

/// Firebrick reconnects by itself, JavaScript with its next write.
async fn a_restart(setup: Setup) {
    let mut team = Team::new(setup).await;
    let (a, b) = (team.client("js-a"), team.client("js-b"));
    let db = team.database("rust").await;
    put(team.js(a), "before", 1);
    team.all_have(&[("before", 1)]).await;
    team.stop().await;
    write(team.db(db), "meanwhile", 2).await;
    team.start().await;
    put(team.js(a), "after-a", 3);
    put(team.js(b), "after-b", 4);
    let all = [
        ("after-a", 3),
        ("after-b", 4),
        ("before", 1),
        ("meanwhile", 2),
    ];
    team.all_have(&all).await;
    // And live again.
    write(team.db(db), "before", 10).await;
    del(team.js(b), "after-a");
    team.all_have(&[("after-b", 4), ("before", 10), ("meanwhile", 2)])
        .await;
    team.ends_alike().await;
}

/// One of two servers goes and comes back. Those at the other one do not notice, and none of those that
/// wrote meanwhile loses anything.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs interop/node_modules: cargo xtask test --only interop"]
async fn a_node_goes_and_comes_back() {
    let mut team = Team::new(Setup::TwoNodes).await;
    let (here, there) = (team.client("here"), team.client("there"));
    let (db_here, db_there) = (
        team.database("db-here").await,
        team.database("db-there").await,
    );
    put(team.js(here), "here", 1);
    put(team.js(there), "there", 2);
    let before = [("here", 1), ("there", 2)];
    team.all_have(&before).await;
    team.stop_node(0).await;
    write(team.db(db_here), "db-here", 3).await;
    write(team.db(db_there), "db-there", 4).await;
    put(team.js(there), "meanwhile", 5);
    let alive = [("db-there", 4), ("here", 1), ("meanwhile", 5), ("there", 2)];
    team.has(team.db(db_there), &alive).await;
    converge(&mut [team.js(there)], &alive);
    team.start_node(0).await;
    // Only now does it notice.
    put(team.js(here), "again", 6);
    let all = [
        ("again", 6),
        ("db-here", 3),
        ("db-there", 4),
        ("here", 1),
        ("meanwhile", 5),
        ("there", 2),
    ];
    team.all_have(&all).await;
    team.ends_alike().await;
}

/// Who has no valid token, or none that may write, changes nothing for the others.
async fn refused(setup: Setup) {
    let mut team = Team::new(setup).await;
    let js = team.client("js");
    let db = team.database("rust").await;
    write(team.db(db), "ours", 1).await;
    let expired = team.token_of("old", Access::Write, 0);
    let outsider = team.outsider("outsider", &expired).await;
    write(&outsider, "never", 7).await;
    let reader = team.token_of("reader", Access::Read, 3600);
    let reader = team.outsider("reader", &reader).await;
    write(&reader, "mine", 8).await;
    put(team.js(js), "theirs", 2);
    team.all_have(&[("ours", 1), ("theirs", 2)]).await;
    team.has(&reader, &[("mine", 8), ("ours", 1), ("theirs", 2)])
        .await;
    team.has(&outsider, &[("never", 7)]).await;
    team.ends_alike().await;
}

/// Compactions of both kinds, with writers of both kinds before, after and elsewhere.
async fn compactions(setup: Setup) {
    let mut team = Team::new(setup).await;
    let (js, other) = (team.client("js"), team.client("other"));
    let db = team.database("rust").await;
    for n in 0..3 {
        write(team.db(db), "rust", n).await;
        put(team.js(js), "js", 10 + n);
    }
    team.all_have(&[("js", 12), ("rust", 2)]).await;
    team.js(js).ask(&json!({"op": "compact"}));
    put(team.js(js), "after-js", 1);
    team.all_have(&[("after-js", 1), ("js", 12), ("rust", 2)])
        .await;
    team.db(db).compact().run().await.unwrap();
    write(team.db(db), "js", 20).await;
    put(team.js(other), "rust", 30);
    let all = [("after-js", 1), ("js", 20), ("rust", 30)];
    team.all_have(&all).await;
    team.client("late-js");
    team.database("late").await;
    team.all_have(&all).await;
    team.ends_alike().await;
}
