//! Metas in PostgreSQL, which several nodes share.

mod connect;
mod listen;
mod schema;

use std::collections::HashMap;
use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool, PoolError, Transaction};
use firebrick_core::cloud::{Conn, KeyText, MetaEntry};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream, try_join};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Row};
use zeroize::Zeroizing;

use self::connect::Connector;
use super::{Change, MetaPut, MetaStore, MetaStoreError, MetaUsage, MetaView, StoredMeta};
use crate::StoreUrl;
use crate::ids::LedgerId;

/// How long anything may take; then it fails, and its connection is given up.
const PATIENCE: Duration = Duration::from_secs(15);
/// Puts of one ledger that have a connection: one that is carried out, and the next.
const PUTS: usize = 2;
/// Ledgers share so many turns.
const TURNS: usize = 64;
/// Changes that wait to be looked at.
const CHANGES: usize = 1024;

type Params<'a, const N: usize> = [&'a (dyn ToSql + Sync); N];

/// Metas in PostgreSQL. Each write is committed before it returns.
///
/// The row of a ledger is locked while metas are added, and counts its positions. So positions come
/// in the order of commits, and who has read up to one has read everything before it.
#[derive(Debug, Clone)]
pub struct Postgres {
    connector: Connector,
    pool: Pool,
    /// Puts of a ledger wait for each other in the database. Here they wait without a connection
    /// that others could use.
    turns: Arc<[Semaphore; TURNS]>,
}

impl From<tokio_postgres::Error> for MetaStoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        unavailable(&error)
    }
}

impl From<PoolError> for MetaStoreError {
    fn from(error: PoolError) -> Self {
        unavailable(&error)
    }
}

fn unavailable(error: &dyn Error) -> MetaStoreError {
    MetaStoreError::Unavailable {
        cause: connect::chain(error),
    }
}

impl Postgres {
    /// Connects, and makes the tables in a schema `firebrick` unless they are there. The URL is
    /// `postgres://user:password@host/database` with the parameters of libpq. Connections to other
    /// machines are encrypted and the server's certificate is checked, unless it says
    /// `sslmode=disable`; `sslrootcert=` names a file of the authority.
    ///
    /// # Errors
    /// [`MetaStoreError::Unavailable`] if it cannot be reached or used, or is of a newer version.
    pub async fn open(url: &StoreUrl) -> Result<Self, MetaStoreError> {
        let this = Self::lazy(url)?;
        this.run(|client| {
            async move {
                let transaction = client.transaction().await?;
                schema::prepare(&transaction).await?;
                Ok(transaction.commit().await?)
            }
            .boxed()
        })
        .await?;
        Ok(this)
    }

    /// Whether [`open`](Self::open) would do, as far as that can be found out without changing anything.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn probe(url: &StoreUrl) -> Result<(), MetaStoreError> {
        let this = Self::lazy(url)?;
        this.run(|client| {
            async move {
                if schema::is_there(&***client).await? {
                    return Ok(());
                }
                let may = "SELECT has_database_privilege(current_database(), 'CREATE')";
                if client.query_one(may, &[]).await?.try_get(0)? {
                    return Ok(());
                }
                let cause = "the user may not make the schema `firebrick` in this database; GRANT CREATE ON DATABASE";
                Err(MetaStoreError::Unavailable { cause: cause.into() })
            }
            .boxed()
        })
        .await
    }

    fn lazy(url: &StoreUrl) -> Result<Self, MetaStoreError> {
        let connector = Connector::new(url)?;
        let pool = connector.pool()?;
        Ok(Self {
            connector,
            pool,
            turns: Arc::new(std::array::from_fn(|_| Semaphore::new(PUTS))),
        })
    }

    fn turn(&self, ledger: &LedgerId) -> &Semaphore {
        let mut hasher = DefaultHasher::new();
        ledger.hash(&mut hasher);
        let [first, ..] = hasher.finish().to_le_bytes();
        &self.turns[usize::from(first) % TURNS]
    }

    async fn run<T>(
        &self,
        work: impl for<'a> FnOnce(&'a mut Object) -> BoxFuture<'a, Result<T, MetaStoreError>>,
    ) -> Result<T, MetaStoreError> {
        let mut client = self.pool.get().await?;
        let done = match timeout(PATIENCE, work(&mut client)).await {
            Ok(done) => done,
            Err(elapsed) => Err(unavailable(&elapsed)),
        };
        if let Err(MetaStoreError::Unavailable { .. }) = &done {
            // Whatever state it is in.
            drop(Object::take(client));
        }
        done
    }
}

impl MetaStore for Postgres {
    fn put(
        &self,
        ledger: LedgerId,
        put: MetaPut,
    ) -> BoxFuture<'_, Result<MetaView, MetaStoreError>> {
        async move {
            // Never closed.
            let _turn = self.turn(&ledger).acquire().await;
            self.run(move |client| {
                async move {
                    // Dropped without a commit it is rolled back.
                    let transaction = client.transaction().await?;
                    let view = write(&transaction, &ledger, put).await?;
                    transaction.commit().await?;
                    Ok(view)
                }
                .boxed()
            })
            .await
        }
        .boxed()
    }

    fn after(
        &self,
        ledger: LedgerId,
        position: i64,
    ) -> BoxFuture<'_, Result<MetaView, MetaStoreError>> {
        self.run(move |client| {
            async move {
                // All of it as of one moment.
                let transaction = client
                    .build_transaction()
                    .isolation_level(IsolationLevel::RepeatableRead)
                    .read_only(true)
                    .start()
                    .await?;
                let view = read(&transaction, &ledger, position).await?;
                transaction.commit().await?;
                Ok(view)
            }
            .boxed()
        })
        .boxed()
    }

    fn usage(&self) -> BoxFuture<'_, Result<HashMap<LedgerId, MetaUsage>, MetaStoreError>> {
        self.run(|client| {
            async move {
                let sql = "SELECT l.tenant, l.ledger, count(*), max(m.created)
                    FROM firebrick.ledgers l JOIN firebrick.metas m ON m.ledger = l.id
                    GROUP BY l.id";
                let mut ledgers = HashMap::new();
                for row in client.query(sql, &[]).await? {
                    let number = |column| -> Result<u64, MetaStoreError> {
                        let number: i64 = row.try_get(column)?;
                        Ok(u64::try_from(number).unwrap_or(0))
                    };
                    if let Ok(id) = LedgerId::new(row.try_get(0)?, row.try_get(1)?) {
                        let usage = MetaUsage {
                            metas: number(2)?,
                            last_write: number(3)?,
                        };
                        ledgers.insert(id, usage);
                    }
                }
                Ok(ledgers)
            }
            .boxed()
        })
        .boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), MetaStoreError>> {
        self.run(|client| {
            async move {
                let sql = "SELECT current_setting('transaction_read_only') FROM firebrick.format";
                let row = client.query_one(sql, &[]).await?;
                match row.try_get::<_, &str>(0)? {
                    "off" => Ok(()),
                    _ => Err(MetaStoreError::Unavailable {
                        cause: "the database can only be read".into(),
                    }),
                }
            }
            .boxed()
        })
        .boxed()
    }

    fn changes(&self) -> Option<BoxStream<'static, Change>> {
        let (sender, receiver) = mpsc::channel(CHANGES);
        tokio::spawn(listen::run(self.connector.clone(), sender));
        let changes = stream::unfold(receiver, |mut receiver| async {
            let change = receiver.recv().await?;
            Some((change, receiver))
        });
        Some(changes.boxed())
    }

    fn secret(
        &self,
        name: &'static str,
        fresh: Zeroizing<Vec<u8>>,
    ) -> BoxFuture<'_, Result<Option<Zeroizing<Vec<u8>>>, MetaStoreError>> {
        self.run(move |client| {
            async move {
                let insert = "INSERT INTO firebrick.secrets VALUES ($1, $2) ON CONFLICT DO NOTHING";
                client.execute(insert, &[&name, &&**fresh]).await?;
                let select = "SELECT value FROM firebrick.secrets WHERE name = $1";
                let row = client.query_one(select, &[&name]).await?;
                Ok(Some(Zeroizing::new(row.try_get(0)?)))
            }
            .boxed()
        })
        .boxed()
    }
}

async fn write(
    transaction: &Transaction<'_>,
    ledger: &LedgerId,
    put: MetaPut,
) -> Result<MetaView, MetaStoreError> {
    let prepare = |sql: &'static str| transaction.prepare_cached(sql);
    // Each meta has its position, and the keys share one. Whoever comes second waits here.
    let taken = count(put.metas.len() + 1);
    let lock = prepare(
        "INSERT INTO firebrick.ledgers AS l (tenant, ledger, position) VALUES ($1, $2, $3)
         ON CONFLICT (tenant, ledger) DO UPDATE SET position = l.position + $3
         RETURNING id, position",
    )
    .await?;
    let add_keys = prepare(
        "INSERT INTO firebrick.keys (ledger, key, position, created)
         SELECT $1, key, $2, $3 FROM unnest($4::text[]) AS fresh (key)
         ON CONFLICT (ledger, key) DO NOTHING",
    )
    .await?;
    let add_metas = prepare(
        "INSERT INTO firebrick.metas (ledger, position, cid, entry, req_id, res_id, created)
         SELECT $1, $2 + n, cid, entry, $3, $4, $5
         FROM unnest($6::text[], $7::text[]) WITH ORDINALITY AS fresh (cid, entry, n)
         ON CONFLICT (ledger, cid) DO NOTHING
         RETURNING position",
    )
    .await?;
    let supersede = prepare(
        "DELETE FROM firebrick.metas
         WHERE $5 AND ledger = $1 AND req_id = $2 AND res_id = $3 AND cid <> ALL ($4::text[])",
    )
    .await?;
    let full = prepare(
        "SELECT greatest(m.count, k.count) > $2 OR m.bytes + k.bytes > $3
         FROM (SELECT count(*), coalesce(sum(octet_length(entry)), 0) AS bytes
               FROM firebrick.metas WHERE ledger = $1) AS m,
              (SELECT count(*), coalesce(sum(octet_length(key)), 0) AS bytes
               FROM firebrick.keys WHERE ledger = $1) AS k",
    )
    .await?;
    let all_keys = prepare(ALL_KEYS).await?;

    let (tenant, name) = (ledger.tenant.as_str(), ledger.ledger.as_str());
    let row = transaction
        .query_one(&lock, &[&tenant, &name, &taken])
        .await?;
    let (id, position): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let before = position - taken;
    let (req_id, res_id) = (put.owner.req_id.as_bytes(), put.owner.res_id.as_bytes());
    let created = i64::try_from(crate::clock::now()).unwrap_or(i64::MAX);
    let keys: Vec<&str> = put.keys.iter().map(KeyText::as_str).collect();
    let cids: Vec<String> = put.metas.iter().map(|e| e.cid.to_string()).collect();
    let entries = put.metas.iter().map(serde_json::to_string);
    let entries: Vec<String> = entries
        .collect::<Result<_, _>>()
        .map_err(|error| unavailable(&error))?;
    let (limit, bytes) = (count(put.limit.entries), count(put.limit.bytes));
    let fresh_keys: Params<'_, 4> = [&id, &position, &created, &keys];
    let fresh_metas: Params<'_, 7> = [&id, &before, &req_id, &res_id, &created, &cids, &entries];
    let superseded: Params<'_, 5> = [&id, &req_id, &res_id, &cids, &put.supersede];
    let (limited, whole): (Params<'_, 3>, Params<'_, 1>) = ([&id, &limit, &bytes], [&id]);
    // Sent together, carried out in this order.
    let (new_keys, added, _, full, keys) = try_join!(
        transaction.execute(&add_keys, &fresh_keys),
        transaction.query(&add_metas, &fresh_metas),
        transaction.execute(&supersede, &superseded),
        transaction.query_one(&full, &limited),
        transaction.query(&all_keys, &whole),
    )?;
    if full.try_get(0)? {
        return Err(MetaStoreError::Full);
    }
    let mut metas = Vec::new();
    let mut entries: Vec<Option<MetaEntry>> = put.metas.into_iter().map(Some).collect();
    for row in &added {
        let position: i64 = row.try_get(0)?;
        let index = usize::try_from(position - before - 1).unwrap_or(usize::MAX);
        if let Some(entry) = entries.get_mut(index).and_then(Option::take) {
            metas.push(StoredMeta {
                position,
                owner: put.owner.clone(),
                entry,
            });
        }
    }
    metas.sort_by_key(|meta| meta.position);
    let new_keys = new_keys > 0;
    if new_keys || !metas.is_empty() {
        let notify = prepare("SELECT pg_notify($1, $2)").await?;
        let payload = listen::payload(ledger, position);
        transaction
            .query_one(&notify, &[&listen::CHANNEL, &payload])
            .await?;
    }
    Ok(MetaView {
        metas,
        keys: key_texts(&keys)?,
        new_keys,
        before,
        position,
    })
}

const ALL_KEYS: &str = "SELECT key FROM firebrick.keys WHERE ledger = $1 ORDER BY position, key";

async fn read(
    transaction: &Transaction<'_>,
    ledger: &LedgerId,
    asked: i64,
) -> Result<MetaView, MetaStoreError> {
    let prepare = |sql: &'static str| transaction.prepare_cached(sql);
    let find =
        prepare("SELECT id, position FROM firebrick.ledgers WHERE tenant = $1 AND ledger = $2")
            .await?;
    let (tenant, name) = (ledger.tenant.as_str(), ledger.ledger.as_str());
    let Some(row) = transaction.query_opt(&find, &[&tenant, &name]).await? else {
        return Ok(MetaView::default());
    };
    let (id, position): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    // Of a database that was set back, everything is news.
    let asked = if asked > position { 0 } else { asked };
    let metas = prepare(
        "SELECT position, req_id, res_id, entry FROM firebrick.metas
         WHERE ledger = $1 AND position > $2 ORDER BY position",
    )
    .await?;
    let keys = prepare(ALL_KEYS).await?;
    let new_keys =
        prepare("SELECT EXISTS (SELECT FROM firebrick.keys WHERE ledger = $1 AND position > $2)")
            .await?;
    let (since, whole): (Params<'_, 2>, Params<'_, 1>) = ([&id, &asked], [&id]);
    let (metas, keys, new_keys) = try_join!(
        transaction.query(&metas, &since),
        transaction.query(&keys, &whole),
        transaction.query_one(&new_keys, &since),
    )?;
    Ok(MetaView {
        metas: metas.iter().map(stored).collect::<Result<_, _>>()?,
        keys: key_texts(&keys)?,
        new_keys: new_keys.try_get(0)?,
        before: asked,
        position,
    })
}

fn stored(row: &Row) -> Result<StoredMeta, MetaStoreError> {
    let text = |column| -> Result<String, MetaStoreError> {
        let bytes: Vec<u8> = row.try_get(column)?;
        String::from_utf8(bytes).map_err(|error| unavailable(&error))
    };
    Ok(StoredMeta {
        position: row.try_get(0)?,
        owner: Conn {
            req_id: text(1)?,
            res_id: text(2)?,
        },
        entry: serde_json::from_str(row.try_get(3)?).map_err(|error| unavailable(&error))?,
    })
}

fn key_texts(rows: &[Row]) -> Result<Vec<KeyText>, MetaStoreError> {
    let text = |row: &Row| Ok(KeyText::from(row.try_get::<_, String>(0)?));
    rows.iter().map(text).collect()
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
