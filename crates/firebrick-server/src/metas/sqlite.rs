//! Metas in SQLite.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use firebrick_core::cloud::{Conn, KeyText, MetaEntry};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{MetaPut, MetaStore, MetaStoreError, MetaView, StoredMeta};
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

/// Metas in one SQLite file. Each write is on the disk before it returns.
#[derive(Debug, Clone)]
pub struct Sqlite {
    connection: Arc<Mutex<Connection>>,
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
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.busy_timeout(std::time::Duration::from_secs(2))?;
        let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if format > FORMAT {
            return Err(unavailable(&format_args!(
                "{} was made by a newer version",
                path.display()
            )));
        }
        connection.execute_batch(SCHEMA)?;
        connection.pragma_update(None, "user_version", FORMAT)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, MetaStoreError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, MetaStoreError>> {
        let connection = self.connection.clone();
        async move {
            tokio::task::spawn_blocking(move || work(&mut lock(&connection)))
                .await
                .map_err(|error| unavailable(&error))?
        }
        .boxed()
    }
}

impl MetaStore for Sqlite {
    fn put(
        &self,
        ledger: LedgerId,
        put: MetaPut,
    ) -> BoxFuture<'_, Result<MetaView, MetaStoreError>> {
        self.run(move |connection| {
            // Dropped without a commit it is rolled back.
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let view = write(&transaction, &ledger, &put)?;
            transaction.commit()?;
            Ok(view)
        })
    }

    fn after(
        &self,
        ledger: LedgerId,
        position: i64,
    ) -> BoxFuture<'_, Result<MetaView, MetaStoreError>> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            Ok(MetaView {
                metas: metas_after(&transaction, &ledger, position)?,
                keys: all_keys(&transaction, &ledger)?,
                new_keys: false,
            })
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), MetaStoreError>> {
        self.run(|connection| {
            // Takes the lock for writing and writes nothing.
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            Ok(transaction.rollback()?)
        })
    }
}

fn write(
    transaction: &Transaction<'_>,
    ledger: &LedgerId,
    put: &MetaPut,
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
    for entry in &put.metas {
        let text = serde_json::to_string(entry).map_err(|error| unavailable(&error))?;
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
    let full = |table: &str| -> Result<bool, MetaStoreError> {
        let sql = format!("SELECT 1 FROM {table} WHERE tenant = ? AND ledger = ? LIMIT 1 OFFSET ?");
        let limit = i64::try_from(put.limit).unwrap_or(i64::MAX);
        let found = transaction
            .prepare_cached(&sql)?
            .query_row(params![tenant, name, limit], |_| Ok(()))
            .optional()?;
        Ok(found.is_some())
    };
    if full("metas")? || full("keys")? {
        return Err(MetaStoreError::Full);
    }
    Ok(MetaView {
        metas: metas_after(transaction, ledger, last.unwrap_or(0))?,
        keys: all_keys(transaction, ledger)?,
        new_keys,
    })
}

fn metas_after(
    transaction: &Transaction<'_>,
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

fn all_keys(
    transaction: &Transaction<'_>,
    ledger: &LedgerId,
) -> Result<Vec<KeyText>, MetaStoreError> {
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
mod tests {
    use super::*;
    use firebrick_core::Cid;
    use firebrick_core::cid::Codec;
    use firebrick_core::meta::MetaEvent;

    fn meta(n: u8) -> MetaEntry {
        MetaEntry::new(&MetaEvent {
            cars: vec![Cid::of(Codec::Car, &[n])],
            parents: Vec::new(),
        })
    }

    fn put(owner: &str, metas: &[u8], keys: &[&str]) -> MetaPut {
        MetaPut {
            owner: Conn {
                req_id: owner.into(),
                res_id: "s".into(),
            },
            metas: metas.iter().map(|n| meta(*n)).collect(),
            keys: keys
                .iter()
                .map(|key| KeyText::from((*key).to_owned()))
                .collect(),
            supersede: true,
            limit: 3,
        }
    }

    fn entries(view: &MetaView) -> Vec<MetaEntry> {
        view.metas.iter().map(|meta| meta.entry.clone()).collect()
    }

    #[tokio::test]
    async fn merging() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metas");
        let store = Sqlite::open(&path).unwrap();
        let (one, two) = (
            LedgerId::new("t", "one").unwrap(),
            LedgerId::new("t", "two").unwrap(),
        );
        let stored = store
            .put(one.clone(), put("a", &[1], &["zk"]))
            .await
            .unwrap();
        assert_eq!(entries(&stored), [meta(1)]);
        assert!(stored.new_keys && stored.keys.len() == 1);
        // Known ones are not new, and the first owner stays.
        let stored = store
            .put(one.clone(), put("b", &[1, 2], &["zk"]))
            .await
            .unwrap();
        assert_eq!(entries(&stored), [meta(2)]);
        assert!(!stored.new_keys);
        // A connection's own earlier metas go, those of others stay.
        store.put(one.clone(), put("b", &[3], &[])).await.unwrap();
        let all = store.after(one.clone(), 0).await.unwrap();
        assert_eq!(entries(&all), [meta(1), meta(3)]);
        // Unless their CARs may be missing.
        let mut kept = put("b", &[4], &[]);
        kept.supersede = false;
        store.put(one.clone(), kept).await.unwrap();
        let after = store
            .after(one.clone(), all.metas[1].position)
            .await
            .unwrap();
        assert_eq!(entries(&after), [meta(4)]);
        // Too many: nothing of it is stored.
        let full = store.put(one.clone(), put("c", &[5], &["znew"])).await;
        assert_eq!(full.unwrap_err(), MetaStoreError::Full);
        assert_eq!(store.after(one.clone(), 0).await.unwrap().keys.len(), 1);
        // Other ledgers have none of it, and everything is there after a restart.
        assert!(store.after(two, 0).await.unwrap().metas.is_empty());
        drop(store);
        let store = Sqlite::open(&path).unwrap();
        store.check().await.unwrap();
        assert_eq!(entries(&store.after(one, 0).await.unwrap()).len(), 3);
    }
}
