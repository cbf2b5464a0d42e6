//! Metas in SQLite.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};

use firebrick_core::cloud::{Conn, KeyText, MetaEntry};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

use super::{MetaLimit, MetaPut, MetaStore, MetaStoreError, MetaUsage, MetaView, StoredMeta};
use crate::ids::LedgerId;
use crate::lock::lock;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS metas (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    ledger TEXT NOT NULL,
    cid TEXT NOT NULL,
    entry TEXT NOT NULL,
    req_id TEXT NOT NULL,
    res_id TEXT NOT NULL,
    created INTEGER NOT NULL,
    UNIQUE (tenant, ledger, cid)
);
CREATE INDEX IF NOT EXISTS metas_of_owner ON metas (tenant, ledger, req_id, res_id);
CREATE INDEX IF NOT EXISTS metas_in_order ON metas (tenant, ledger);
CREATE TABLE IF NOT EXISTS keys (
    tenant TEXT NOT NULL,
    ledger TEXT NOT NULL,
    key TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (tenant, ledger, key)
) WITHOUT ROWID;
";
/// What this code reads and writes.
const FORMAT: i64 = 1;

/// The most puts that share a commit.
const SHARED_COMMIT: usize = 256;

/// Metas in one SQLite file. Each write is on the disk before it returns; writes that wait for each other
/// share one commit. Reads do not wait for them.
#[derive(Debug, Clone)]
pub struct Sqlite {
    reads: Arc<Mutex<Connection>>,
    writes: Arc<Writes>,
}

#[derive(Debug)]
struct Writes {
    writer: Mutex<Writer>,
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Writer {
    connection: Connection,
    most: HashMap<LedgerId, Most>,
}

/// A ledger has no more than this: only when that is above its limit it is counted again.
#[derive(Clone, Copy, Debug)]
struct Most {
    metas: usize,
    keys: usize,
    bytes: usize,
}

impl Most {
    fn fits(self, limit: MetaLimit) -> bool {
        self.metas.max(self.keys) <= limit.entries && self.bytes <= limit.bytes
    }
}

/// As many ledgers are remembered.
const LEDGERS: usize = 10_000;

/// Puts that wait.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// A thread stores them.
    served: bool,
}

#[derive(Debug)]
struct Waiting {
    ledger: LedgerId,
    put: MetaPut,
    done: oneshot::Sender<Result<MetaView, MetaStoreError>>,
}

impl From<rusqlite::Error> for MetaStoreError {
    fn from(error: rusqlite::Error) -> Self {
        unavailable(&error)
    }
}

fn unavailable(cause: &dyn std::fmt::Display) -> MetaStoreError {
    MetaStoreError::Unavailable {
        cause: cause.to_string(),
    }
}

impl Sqlite {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// [`MetaStoreError::Unavailable`] if it cannot be used, or is of a newer version.
    pub fn open(path: &Path) -> Result<Self, MetaStoreError> {
        let writes = connect(path)?;
        let format: i64 = writes.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if format > FORMAT {
            return Err(unavailable(&format_args!(
                "{} was made by a newer version",
                path.display()
            )));
        }
        writes.execute_batch(SCHEMA)?;
        writes.pragma_update(None, "user_version", FORMAT)?;
        Ok(Self {
            reads: Arc::new(Mutex::new(connect(path)?)),
            writes: Arc::new(Writes {
                writer: Mutex::new(Writer {
                    connection: writes,
                    most: HashMap::new(),
                }),
                queue: Mutex::default(),
            }),
        })
    }
}

fn connect(path: &Path) -> Result<Connection, MetaStoreError> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.busy_timeout(std::time::Duration::from_secs(2))?;
    Ok(connection)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MetaStoreError> + Send + 'static,
) -> Result<T, MetaStoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| unavailable(&error))?
}

impl MetaStore for Sqlite {
    fn put(
        &self,
        ledger: LedgerId,
        put: MetaPut,
    ) -> BoxFuture<'_, Result<MetaView, MetaStoreError>> {
        async move {
            let (done, stored) = oneshot::channel();
            let served = {
                let mut queue = lock(&self.writes.queue);
                queue.waiting.push_back(Waiting { ledger, put, done });
                std::mem::replace(&mut queue.served, true)
            };
            if !served {
                let writes = self.writes.clone();
                tokio::task::spawn_blocking(move || writes.serve());
            }
            stored.await.map_err(|error| unavailable(&error))?
        }
        .boxed()
    }

    fn after(
        &self,
        ledger: LedgerId,
        position: i64,
    ) -> BoxFuture<'_, Result<MetaView, MetaStoreError>> {
        let reads = self.reads.clone();
        blocking(move || {
            let mut connection = lock(&reads);
            let transaction = connection.transaction()?;
            view(&transaction, &ledger, position, false)
        })
        .boxed()
    }

    fn usage(&self) -> BoxFuture<'_, Result<HashMap<LedgerId, MetaUsage>, MetaStoreError>> {
        let reads = self.reads.clone();
        blocking(move || {
            let connection = lock(&reads);
            // The inner one needs nothing but an index.
            let mut statement = connection.prepare_cached(
                "SELECT tenant, ledger, count, created FROM metas JOIN
                 (SELECT max(position) AS newest, count(*) AS count FROM metas
                  GROUP BY tenant, ledger) ON position = newest",
            )?;
            let mut rows = statement.query([])?;
            let mut ledgers = HashMap::new();
            while let Some(row) = rows.next()? {
                let (tenant, ledger): (String, String) = (row.get(0)?, row.get(1)?);
                let number = |n: i64| u64::try_from(n).unwrap_or(0);
                if let Ok(id) = LedgerId::new(&tenant, &ledger) {
                    let usage = MetaUsage {
                        metas: number(row.get(2)?),
                        last_write: number(row.get(3)?),
                    };
                    ledgers.insert(id, usage);
                }
            }
            Ok(ledgers)
        })
        .boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), MetaStoreError>> {
        let writes = self.writes.clone();
        blocking(move || {
            // Takes the lock for writing and writes nothing.
            let mut writer = lock(&writes.writer);
            let transaction = begin(&mut writer.connection)?;
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            Ok(transaction.rollback()?)
        })
        .boxed()
    }
}

impl Writes {
    /// Stores until no put waits.
    fn serve(&self) {
        let mut writer = lock(&self.writer);
        loop {
            let batch: Vec<Waiting> = {
                let mut queue = lock(&self.queue);
                let count = queue.waiting.len().min(SHARED_COMMIT);
                queue.served = count > 0;
                queue.waiting.drain(..count).collect()
            };
            if batch.is_empty() {
                return;
            }
            let results = store(&mut writer, &batch);
            for (Waiting { done, .. }, result) in batch.into_iter().zip(results) {
                // Who has asked may be gone.
                let _ = done.send(result);
            }
        }
    }
}

/// One result for each put, each on the disk if it is good.
fn store(writer: &mut Writer, batch: &[Waiting]) -> Vec<Result<MetaView, MetaStoreError>> {
    let all = |error: MetaStoreError| batch.iter().map(|_| Err(error.clone())).collect();
    let transaction = match begin(&mut writer.connection) {
        Ok(transaction) => transaction,
        Err(error) => return all(error),
    };
    match commit(transaction, &mut writer.most, batch) {
        Ok(results) => results,
        // Another one may be why: each for itself.
        Err(_) if batch.len() > 1 => {
            let alone = batch.chunks(1);
            alone.flat_map(|put| store(writer, put)).collect()
        }
        Err(error) => all(error),
    }
}

/// Puts in one transaction, each as a whole or not at all.
fn commit(
    mut transaction: Transaction<'_>,
    most: &mut HashMap<LedgerId, Most>,
    batch: &[Waiting],
) -> Result<Vec<Result<MetaView, MetaStoreError>>, MetaStoreError> {
    let mut results = Vec::with_capacity(batch.len());
    for Waiting { ledger, put, .. } in batch {
        // Dropped without a commit it is rolled back, as the transaction is.
        let savepoint = transaction.savepoint()?;
        let result = write(&savepoint, ledger, put, most);
        if result.is_ok() {
            savepoint.commit()?;
        } else {
            drop(savepoint);
            // After some errors SQLite has ended the transaction by itself.
            if transaction.is_autocommit() {
                return result.map(|_| results);
            }
        }
        results.push(result);
    }
    transaction.commit()?;
    Ok(results)
}

fn begin(connection: &mut Connection) -> Result<Transaction<'_>, MetaStoreError> {
    Ok(connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
}

fn write(
    transaction: &Connection,
    ledger: &LedgerId,
    put: &MetaPut,
    most: &mut HashMap<LedgerId, Most>,
) -> Result<MetaView, MetaStoreError> {
    let (tenant, name) = (ledger.tenant.as_str(), ledger.ledger.as_str());
    let (req_id, res_id) = (&put.owner.req_id, &put.owner.res_id);
    let created = i64::try_from(crate::clock::now()).unwrap_or(i64::MAX);
    let last: Option<i64> = transaction
        .prepare_cached("SELECT max(position) FROM metas")?
        .query_row([], |row| row.get(0))?;
    let mut new_keys = false;
    for key in &put.keys {
        new_keys |= 0 < transaction
            .prepare_cached(
                "INSERT OR IGNORE INTO keys (tenant, ledger, key, created) VALUES (?, ?, ?, ?)",
            )?
            .execute(params![tenant, name, key.as_str(), created])?;
    }
    let mut bytes: usize = put.keys.iter().map(|key| key.as_str().len()).sum();
    for entry in &put.metas {
        let text = serde_json::to_string(entry).map_err(|error| unavailable(&error))?;
        bytes = bytes.saturating_add(text.len());
        transaction
            .prepare_cached(
                "INSERT OR IGNORE INTO metas (tenant, ledger, cid, entry, req_id, res_id, created)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                tenant,
                name,
                entry.cid.to_string(),
                text,
                req_id,
                res_id,
                created
            ])?;
    }
    if put.supersede {
        let kept: BTreeSet<String> = put.metas.iter().map(|e| e.cid.to_string()).collect();
        let owned: Vec<(i64, String)> = transaction
            .prepare_cached(
                "SELECT position, cid FROM metas
                 WHERE tenant = ? AND ledger = ? AND req_id = ? AND res_id = ?",
            )?
            .query_map(params![tenant, name, req_id, res_id], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<Result<_, _>>()?;
        for (position, _) in owned.iter().filter(|(_, cid)| !kept.contains(cid)) {
            transaction
                .prepare_cached("DELETE FROM metas WHERE position = ?")?
                .execute([position])?;
        }
    }
    let before = most.get(ledger).copied();
    let now = before.map(|before| Most {
        metas: before.metas.saturating_add(put.metas.len()),
        keys: before.keys.saturating_add(put.keys.len()),
        bytes: before.bytes.saturating_add(bytes),
    });
    let now = match now.filter(|now| now.fits(put.limit)) {
        Some(now) => now,
        None => count(transaction, ledger)?,
    };
    if !now.fits(put.limit) {
        return Err(MetaStoreError::Full);
    }
    if most.len() >= LEDGERS {
        most.clear();
    }
    most.insert(ledger.clone(), now);
    view(transaction, ledger, last.unwrap_or(0), new_keys)
}

fn view(
    transaction: &Connection,
    ledger: &LedgerId,
    after: i64,
    new_keys: bool,
) -> Result<MetaView, MetaStoreError> {
    let metas = metas_after(transaction, ledger, after)?;
    Ok(MetaView {
        position: metas.last().map_or(after, |meta| meta.position),
        metas,
        keys: all_keys(transaction, ledger)?,
        new_keys,
        before: 0,
    })
}

fn count(connection: &Connection, ledger: &LedgerId) -> Result<Most, MetaStoreError> {
    let count = |table: &str, column: &str| -> Result<(usize, usize), MetaStoreError> {
        let sql = format!(
            "SELECT count(*), coalesce(sum(octet_length({column})), 0) FROM {table}
             WHERE tenant = ? AND ledger = ?"
        );
        let names = params![ledger.tenant.as_str(), ledger.ledger.as_str()];
        let (count, bytes): (i64, i64) = connection
            .prepare_cached(&sql)?
            .query_row(names, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let number = |n| usize::try_from(n).unwrap_or(usize::MAX);
        Ok((number(count), number(bytes)))
    };
    let (metas, meta_bytes) = count("metas", "entry")?;
    let (keys, key_bytes) = count("keys", "key")?;
    Ok(Most {
        metas,
        keys,
        bytes: meta_bytes.saturating_add(key_bytes),
    })
}

fn metas_after(
    transaction: &Connection,
    ledger: &LedgerId,
    position: i64,
) -> Result<Vec<StoredMeta>, MetaStoreError> {
    let mut statement = transaction.prepare_cached(
        "SELECT position, req_id, res_id, entry FROM metas
         WHERE tenant = ? AND ledger = ? AND position > ? ORDER BY position",
    )?;
    let mut rows = statement.query(params![
        ledger.tenant.as_str(),
        ledger.ledger.as_str(),
        position
    ])?;
    let mut metas = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(3)?;
        let entry: MetaEntry = serde_json::from_str(&text).map_err(|error| unavailable(&error))?;
        metas.push(StoredMeta {
            position: row.get(0)?,
            owner: Conn {
                req_id: row.get(1)?,
                res_id: row.get(2)?,
            },
            entry,
        });
    }
    Ok(metas)
}

fn all_keys(transaction: &Connection, ledger: &LedgerId) -> Result<Vec<KeyText>, MetaStoreError> {
    let mut statement =
        transaction.prepare_cached("SELECT key FROM keys WHERE tenant = ? AND ledger = ?")?;
    let keys = statement.query_map(
        params![ledger.tenant.as_str(), ledger.ledger.as_str()],
        |row| row.get::<_, String>(0),
    )?;
    Ok(keys
        .map(|key| key.map(KeyText::from))
        .collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests;
