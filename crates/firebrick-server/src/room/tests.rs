use super::*;
use crate::ledgers::Ledgers;
use crate::metas::samples::meta;
use crate::metas::{MetaLimit, Sqlite};
use crate::metrics::Traffic;
use crate::tenants::{TenantLimits, Tenants};
use firebrick_core::cloud::{Body, MetaEntry, MethodParam, UrlParam};
use futures_util::FutureExt;

fn put(owner: &Connection, n: u8) -> MetaPut {
    MetaPut {
        owner: owner.name.clone(),
        metas: vec![meta(n)],
        keys: Vec::new(),
        supersede: true,
        limit: MetaLimit {
            entries: 10,
            bytes: 5000,
        },
    }
}

struct Bed {
    room: Arc<Room>,
    tools: Tools,
    _dir: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tenants = Tenants::new(TenantLimits::default(), None).unwrap();
        let ledger = Ledgers::new(tenants, 1).of(&LedgerId::new("ten", "led").unwrap());
        Self {
            room: Arc::new(Room::new(ledger)),
            tools: Tools {
                metas: Arc::new(Sqlite::open(&dir.path().join("metas")).unwrap()),
                signer: Arc::new(Signer::new(&[1; 32])),
                url_seconds: 60,
                ledgers_per_connection: 1,
            },
            _dir: dir,
        }
    }

    /// A subscriber, which has been answered.
    async fn bound(&self, req_id: &str) -> Arc<Connection> {
        let name = Conn {
            req_id: req_id.into(),
            res_id: "s".into(),
        };
        let outbox = Some(Outbox::new(10, 1 << 20));
        let base = "http://h".to_owned();
        let traffic = Arc::new(Traffic::default());
        let connection = Connection::new(name, "u".into(), base, outbox, traffic, None);
        let bind = Bind {
            connection: connection.clone(),
            tid: format!("t-{req_id}"),
            auth: Auth::token("a.b.c"),
            scope: Scope {
                conn: connection.name.clone(),
                tenant: None,
                method: MethodParam {
                    method: Verb::Get,
                    store: Store::Meta,
                },
                url: UrlParam::default(),
            },
            valid_until: u64::MAX,
        };
        assert!(self.room.bind(bind, &self.tools).await.unwrap().is_none());
        assert_eq!(events(&connection).await, [vec![]]);
        connection
    }
}

/// The metas of the events that wait, once there are any.
async fn events(connection: &Connection) -> Vec<Vec<MetaEntry>> {
    let batch = connection.outbox.as_ref().unwrap().next().await.unwrap();
    let metas = |event: Outgoing| {
        let message = Message::parse(&event.into_bytes()).unwrap();
        match message.body {
            Body::EventGetMeta { meta, .. } => meta.metas,
            other => panic!("{other:?}"),
        }
    };
    batch.into_iter().map(metas).collect()
}

#[tokio::test]
async fn puts_that_wait_share_an_event() {
    let bed = Bed::new();
    let (a, b, reader) = (
        bed.bound("a").await,
        bed.bound("b").await,
        bed.bound("r").await,
    );
    let puts = [put(&a, 1), put(&b, 2)].map(|put| bed.room.put(put, &bed.tools));
    for result in join_all(puts).await {
        result.unwrap();
    }
    assert_eq!(events(&reader).await, [vec![meta(1), meta(2)]]);
    assert_eq!(events(&a).await, [vec![meta(2)]]);
    assert_eq!(events(&b).await, [vec![meta(1)]]);
}

#[tokio::test]
async fn a_put_is_told_even_if_its_sender_has_gone() {
    let bed = Bed::new();
    let (writer, reader) = (bed.bound("w").await, bed.bound("r").await);
    let asked = bed.room.put(put(&writer, 1), &bed.tools).now_or_never();
    assert!(asked.is_none());
    assert_eq!(events(&reader).await, [vec![meta(1)]]);
}
