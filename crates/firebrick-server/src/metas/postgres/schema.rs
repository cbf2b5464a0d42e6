//! The tables.

use tokio_postgres::{GenericClient, Transaction};

use super::unavailable;
use crate::metas::MetaStoreError;

/// What this code reads and writes.
const FORMAT: i32 = 1;

/// Ids of connections are bytes: clients choose them, and text has no zeros here.
const TABLES: &str = "
CREATE TABLE firebrick.ledgers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text COLLATE \"C\" NOT NULL,
    ledger text COLLATE \"C\" NOT NULL,
    position bigint NOT NULL,
    UNIQUE (tenant, ledger)
);
CREATE TABLE firebrick.metas (
    ledger bigint NOT NULL REFERENCES firebrick.ledgers,
    position bigint NOT NULL,
    cid text COLLATE \"C\" NOT NULL,
    entry text NOT NULL,
    req_id bytea NOT NULL,
    res_id bytea NOT NULL,
    created bigint NOT NULL,
    PRIMARY KEY (ledger, position),
    UNIQUE (ledger, cid)
);
CREATE INDEX metas_of_owner ON firebrick.metas (ledger, req_id, res_id);
CREATE TABLE firebrick.keys (
    ledger bigint NOT NULL REFERENCES firebrick.ledgers,
    key text COLLATE \"C\" NOT NULL,
    position bigint NOT NULL,
    created bigint NOT NULL,
    PRIMARY KEY (ledger, key)
);
CREATE TABLE firebrick.secrets (name text PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE firebrick.format (version integer NOT NULL);
";

/// Makes the tables unless they are there. Of several nodes that start at once one does it.
pub(super) async fn prepare(transaction: &Transaction<'_>) -> Result<(), MetaStoreError> {
    transaction
        .execute("SELECT pg_advisory_xact_lock(hashtext('firebrick'))", &[])
        .await?;
    if is_there(transaction).await? {
        return Ok(());
    }
    transaction
        .batch_execute("CREATE SCHEMA IF NOT EXISTS firebrick")
        .await?;
    transaction.batch_execute(TABLES).await?;
    transaction
        .execute("INSERT INTO firebrick.format VALUES ($1)", &[&FORMAT])
        .await?;
    Ok(())
}

/// Whether the tables are there and of this version.
pub(super) async fn is_there(client: &impl GenericClient) -> Result<bool, MetaStoreError> {
    let found = client
        .query_one("SELECT to_regclass('firebrick.format') IS NOT NULL", &[])
        .await?;
    if !found.try_get::<_, bool>(0)? {
        return Ok(false);
    }
    let row = client
        .query_one("SELECT max(version) FROM firebrick.format", &[])
        .await?;
    match row.try_get::<_, Option<i32>>(0)? {
        Some(version) if version <= FORMAT => Ok(true),
        version => Err(unavailable(&Newer(version))),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the database has tables of the version {0:?}, made by a newer server")]
struct Newer(Option<i32>);
