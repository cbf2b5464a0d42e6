//! The suite that every gateway passes, also one that you write.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! use std::sync::Arc;
//! use std::time::Duration;
//! use firebrick::env::sim::Executor;
//! use firebrick::gateway::{Gateway, MemoryRemote, conformance};
//!
//! let remote = MemoryRemote::unnamed();
//! let executor = Executor::new(1);
//! let env = executor.process("suite");
//! let suite = conformance::check(&env, || Arc::new(remote.clone()) as Arc<dyn Gateway>);
//! executor.run_until(suite, Duration::from_secs(600)).unwrap().unwrap();
//! # }
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use firebrick_core::Cid;
use firebrick_core::cid::Codec;
use firebrick_core::meta::MetaEvent;
use futures_util::StreamExt;
use futures_util::future::join_all;

use super::announcement::{Announcement, MAIN_SLOT, SlotId};
use super::error::GatewayError;
use super::{CarEntry, Gateway};
use crate::env::{Elapsed, Env, timeout};

/// How long a hint may take.
const HINT_LIMIT: Duration = Duration::from_secs(30);

/// A gateway doesn't keep a promise.
///
/// ```
/// use firebrick::gateway::{GatewayError, GatewayErrorKind, conformance::Failure};
/// let error = GatewayError::new(GatewayErrorKind::Denied, "no right to write");
/// let failure = Failure::Call { check: "a CAR can be put", error };
/// assert_eq!(failure.to_string(), "a CAR can be put: no right to write");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A call failed that must not.
    #[error("{check}: {error}")]
    Call {
        /// Which check.
        check: &'static str,
        /// What the gateway said.
        error: GatewayError,
    },
    /// A call gave something else than it must.
    #[error("{check}: {what}")]
    Wrong {
        /// Which check.
        check: &'static str,
        /// What is wrong.
        what: String,
    },
}

/// A check, with what it says when it fails.
struct Check(&'static str);

impl Check {
    fn ok<T>(&self, result: Result<T, GatewayError>) -> Result<T, Failure> {
        let check = self.0;
        result.map_err(|error| Failure::Call { check, error })
    }

    fn that(&self, holds: bool, what: impl Into<String>) -> Result<(), Failure> {
        if holds {
            return Ok(());
        }
        let (check, what) = (self.0, what.into());
        Err(Failure::Wrong { check, what })
    }

    fn same<T: PartialEq + std::fmt::Debug>(&self, found: &T, wanted: &T) -> Result<(), Failure> {
        self.that(found == wanted, format!("{found:?} instead of {wanted:?}"))
    }
}

/// Runs all checks. `make` gives one more gateway to one and the same remote, which is empty at
/// first; nobody else uses it meanwhile.
///
/// ```
/// use std::sync::Arc;
/// use firebrick::env::RealEnv;
/// use firebrick::gateway::{FolderGateway, Gateway, conformance};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), conformance::Failure> {
/// # let dir = tempfile::tempdir().unwrap();
/// let env = Arc::new(RealEnv::new());
/// let make = || -> Arc<dyn Gateway> { Arc::new(FolderGateway::new(dir.path(), env.clone())) };
/// conformance::check(&*env, make).await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// The first promise that isn't kept.
pub async fn check(env: &dyn Env, make: impl Fn() -> Arc<dyn Gateway>) -> Result<(), Failure> {
    let (a, b) = (make(), make());
    let ready = Check("prepare can be repeated");
    ready.ok(a.prepare().await)?;
    ready.ok(b.prepare().await)?;
    ready.ok(a.prepare().await)?;
    ready.same(&a.url(), &b.url())?;
    let text = format!("{a_url} can't be read as a URL", a_url = a.url());
    ready.that(
        super::RemoteUrl::parse(a.url()).is_ok() || a.url() == "memory://",
        text,
    )?;

    empty(&*a).await?;
    cars(&*a, &*b).await?;
    large_car(&*a, &*b).await?;
    slots(&*a, &*b).await?;
    concurrent_slots(&make).await?;
    bad_slots(&*a).await?;
    pointer(&*a, &*b).await?;
    hints(env, &*a, &*b).await?;
    late_joiner(&*make()).await
}

fn car(text: &str) -> (Cid, Bytes) {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    (Cid::of(Codec::Car, &bytes), bytes)
}

fn slot(digit: char) -> SlotId {
    digit.to_string().repeat(32)
}

fn announcement(text: &str) -> Announcement {
    let event = MetaEvent {
        cars: vec![car(text).0],
        parents: Vec::new(),
    };
    Announcement::new(event.to_main_json())
}

/// The slots that Firebrick wrote.
async fn own_slots(
    check: &Check,
    gateway: &dyn Gateway,
) -> Result<BTreeMap<SlotId, Announcement>, Failure> {
    let slots = check.ok(gateway.slots().await)?;
    let sorted = slots.is_sorted_by(|(a, _), (b, _)| a < b);
    check.that(sorted, "the slots aren't sorted, or one comes twice")?;
    Ok(slots
        .into_iter()
        .filter(|(id, _)| id != MAIN_SLOT)
        .collect())
}

async fn empty(gateway: &dyn Gateway) -> Result<(), Failure> {
    let check = Check("an empty remote");
    let (cid, _) = car("nothing");
    check.same(&check.ok(gateway.get_car(&cid).await)?, &None)?;
    check.same(&check.ok(gateway.get_file_car(&cid).await)?, &None)?;
    check.same(&own_slots(&check, gateway).await?.len(), &0)?;
    check.ok(gateway.remove_slot(&slot('9')).await)?;
    if gateway.capabilities().delete {
        check.ok(gateway.delete_car(&cid).await)?;
        check.ok(gateway.delete_file_car(&cid).await)?;
    }
    let listed = check.ok(gateway.list_cars().await)?;
    check.same(&listed.is_some(), &gateway.capabilities().list)?;
    check.same(&listed.unwrap_or_default(), &Vec::new())
}

async fn cars(a: &dyn Gateway, b: &dyn Gateway) -> Result<(), Failure> {
    let check = Check("CARs and file CARs");
    let (cid, bytes) = car("first");
    let (file, content) = car("file");
    check.ok(a.put_car(&cid, bytes.clone()).await)?;
    check.ok(b.put_car(&cid, bytes.clone()).await)?;
    check.ok(a.put_file_car(&file, content.clone()).await)?;
    check.same(&check.ok(b.get_car(&cid).await)?, &Some(bytes.clone()))?;
    check.same(
        &check.ok(b.get_file_car(&file).await)?,
        &Some(content.clone()),
    )?;
    // The two kinds are apart.
    check.same(&check.ok(b.get_file_car(&cid).await)?, &None)?;
    check.same(&check.ok(b.get_car(&file).await)?, &None)?;
    // A damaged copy is repaired by storing it again.
    check.ok(a.put_car(&cid, Bytes::from_static(b"xxxxx")).await)?;
    check.ok(b.put_car(&cid, bytes.clone()).await)?;
    check.same(&check.ok(a.get_car(&cid).await)?, &Some(bytes.clone()))?;
    // An empty one is one, too.
    let (nothing, no_bytes) = car("");
    check.ok(a.put_car(&nothing, no_bytes.clone()).await)?;
    check.same(&check.ok(b.get_car(&nothing).await)?, &Some(no_bytes))?;

    let entry = |cid, len, is_file| CarEntry { cid, len, is_file };
    let mut wanted = vec![
        entry(cid, bytes.len() as u64, false),
        entry(file, content.len() as u64, true),
        entry(nothing, 0, false),
    ];
    wanted.sort_unstable();
    if let Some(mut listed) = check.ok(b.list_cars().await)? {
        listed.sort_unstable();
        check.same(&listed, &wanted)?;
    }
    if a.capabilities().delete {
        check.ok(a.delete_car(&cid).await)?;
        check.ok(a.delete_car(&cid).await)?;
        check.ok(b.delete_file_car(&file).await)?;
        check.ok(b.delete_car(&nothing).await)?;
        check.same(&check.ok(b.get_car(&cid).await)?, &None)?;
        check.same(&check.ok(a.get_file_car(&file).await)?, &None)?;
        check.same(
            &check.ok(a.list_cars().await)?.unwrap_or_default(),
            &Vec::new(),
        )?;
    }
    Ok(())
}

async fn large_car(a: &dyn Gateway, b: &dyn Gateway) -> Result<(), Failure> {
    let check = Check("a CAR of 3 MB");
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let bytes = Bytes::from(bytes);
    let cid = Cid::of(Codec::Car, &bytes);
    check.ok(a.put_car(&cid, bytes.clone()).await)?;
    let read = check.ok(b.get_car(&cid).await)?;
    check.that(read == Some(bytes), "it was read otherwise than written")?;
    if a.capabilities().delete {
        check.ok(a.delete_car(&cid).await)?;
    }
    Ok(())
}

async fn slots(a: &dyn Gateway, b: &dyn Gateway) -> Result<(), Failure> {
    let check = Check("slots");
    let wants = vec![car("wanted").0, car("wanted too").0];
    let first = Announcement {
        wants,
        ..announcement("one")
    };
    check.ok(a.announce(&slot('a'), &first).await)?;
    check.ok(b.announce(&slot('b'), &announcement("two")).await)?;
    let mut wanted = BTreeMap::from([(slot('a'), first), (slot('b'), announcement("two"))]);
    check.same(&own_slots(&check, a).await?, &wanted)?;
    check.same(&own_slots(&check, b).await?, &wanted)?;
    // A slot is overwritten as a whole, also with less.
    check.ok(a.announce(&slot('a'), &announcement("3")).await)?;
    check.ok(a.announce(&slot('a'), &announcement("3")).await)?;
    wanted.insert(slot('a'), announcement("3"));
    check.same(&own_slots(&check, b).await?, &wanted)?;
    // And removed by anybody.
    check.ok(b.remove_slot(&slot('a')).await)?;
    wanted.remove(&slot('a'));
    check.same(&own_slots(&check, b).await?, &wanted)?;
    if a.capabilities().remove_slots {
        check.same(&own_slots(&check, a).await?, &wanted)?;
    }
    check.ok(a.remove_slot(&slot('a')).await)?;
    check.ok(a.remove_slot(&slot('b')).await)?;
    check.same(&own_slots(&check, a).await?.len(), &0)
}

/// Sixteen writers at once; then nothing is lost and everybody's last word counts.
async fn concurrent_slots(make: &impl Fn() -> Arc<dyn Gateway>) -> Result<(), Failure> {
    let check = Check("sixteen writers at once");
    let digits = "0123456789abcdef";
    let writers = digits.chars().map(|digit| {
        let gateway = make();
        async move {
            let check = Check("sixteen writers at once");
            for round in 0..5 {
                let (cid, bytes) = car(&format!("{digit} {round}"));
                check.ok(gateway.put_car(&cid, bytes).await)?;
                let text = format!("{digit}{round}");
                check.ok(gateway.announce(&slot(digit), &announcement(&text)).await)?;
                let seen = own_slots(&check, &*gateway).await?;
                let mine = seen.get(&slot(digit));
                check.same(&mine, &Some(&announcement(&text)))?;
            }
            Ok(())
        }
    });
    for result in join_all(writers).await {
        result?;
    }
    let gateway = make();
    let wanted: BTreeMap<SlotId, Announcement> = digits
        .chars()
        .map(|digit| (slot(digit), announcement(&format!("{digit}4"))))
        .collect();
    check.same(&own_slots(&check, &*gateway).await?, &wanted)?;
    for digit in digits.chars() {
        check.ok(gateway.remove_slot(&slot(digit)).await)?;
        for round in 0..5 {
            let (cid, bytes) = car(&format!("{digit} {round}"));
            check.same(&check.ok(gateway.get_car(&cid).await)?, &Some(bytes))?;
            if gateway.capabilities().delete {
                check.ok(gateway.delete_car(&cid).await)?;
            }
        }
    }
    Ok(())
}

async fn bad_slots(gateway: &dyn Gateway) -> Result<(), Failure> {
    let check = Check("names that can't be slots");
    let before = own_slots(&check, gateway).await?;
    for name in ["", "main", "../x", "A", &"A".repeat(32), &"a".repeat(33)] {
        let result = gateway.announce(&name.to_owned(), &announcement("x")).await;
        check.that(result.is_err(), format!("{name:?} was accepted"))?;
    }
    check.same(&own_slots(&check, gateway).await?, &before)
}

async fn pointer(a: &dyn Gateway, b: &dyn Gateway) -> Result<(), Failure> {
    let check = Check("the pointer for JavaScript");
    if !a.capabilities().shared_pointer {
        check.that(
            a.read_pointer().await.is_err(),
            "read without the capability",
        )?;
        let written = a.write_pointer(Bytes::from_static(b"[]")).await;
        return check.that(written.is_err(), "written without the capability");
    }
    check.same(&check.ok(a.read_pointer().await)?, &None)?;
    for text in ["one", "two"] {
        let meta = announcement(text).meta;
        check.ok(a.write_pointer(meta.clone()).await)?;
        check.same(&check.ok(b.read_pointer().await)?, &Some(meta.clone()))?;
        let slots = check.ok(b.slots().await)?;
        let main = (MAIN_SLOT.to_owned(), Announcement::new(meta));
        check.same(&slots, &vec![main])?;
    }
    Ok(())
}

async fn hints(env: &dyn Env, a: &dyn Gateway, b: &dyn Gateway) -> Result<(), Failure> {
    let check = Check("hints");
    if !a.capabilities().notify {
        return Ok(());
    }
    let mut watch = b.watch();
    // Whatever is pending from before, and the one that may come first anyway.
    while timeout(env, Duration::from_millis(300), watch.next())
        .await
        .is_ok()
    {}
    for text in ["one", "two", "three"] {
        check.ok(a.announce(&slot('a'), &announcement(text)).await)?;
        let hint = timeout(env, HINT_LIMIT, watch.next()).await;
        check.that(hint == Ok(Some(())), format!("no hint of {text}: {hint:?}"))?;
    }
    // One that is announced before the stream is asked for the first time isn't lost either.
    let mut watch = b.watch();
    check.ok(a.announce(&slot('a'), &announcement("four")).await)?;
    let hint: Result<Option<()>, Elapsed> = timeout(env, HINT_LIMIT, watch.next()).await;
    check.that(hint == Ok(Some(())), format!("no hint of four: {hint:?}"))
}

async fn late_joiner(gateway: &dyn Gateway) -> Result<(), Failure> {
    let check = Check("a gateway that comes late");
    check.ok(gateway.prepare().await)?;
    let wanted = BTreeMap::from([(slot('a'), announcement("four"))]);
    let mut seen = own_slots(&check, gateway).await?;
    if !gateway.capabilities().remove_slots {
        // Those from before are still there.
        seen.retain(|id, _| *id == slot('a'));
    }
    check.same(&seen, &wanted)?;
    check.ok(gateway.remove_slot(&slot('a')).await)
}
