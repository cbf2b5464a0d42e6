//! `query` and `index`: rows by the values of fields.

use std::ops::Bound;

use firebrick::{Document, Index, IndexRow, Query, Value};
use tokio::sync::mpsc::Sender;

use super::super::protocol::{self, QueryAnswer, Reply, RowChange, Select};
use super::{Asker, Service};
use crate::failure::{Exit, Failure, Result};

impl Service {
    pub(super) async fn query(&self, asked: protocol::Query, asker: &Asker) -> Result<()> {
        let query = self.build(&asked)?;
        match asked.answer {
            QueryAnswer::Rows => rows(query, asker).await,
            QueryAnswer::Watch => watch(query, asker).await,
            QueryAnswer::Count => {
                let documents = query.count().await?;
                asker.reply(Reply::Count { documents }).await
            }
            QueryAnswer::Explain => {
                let plan = json(&query.explain().await?)?;
                asker.reply(Reply::Explained { plan }).await
            }
        }
    }

    fn build(&self, asked: &protocol::Query) -> Result<Query> {
        let mut query = self.database().query(index(&asked.index));
        query = match &asked.select {
            Select::All => query,
            Select::Keys(keys) => query.keys(keys.iter().map(value).collect::<Result<Vec<_>>>()?),
            Select::Range(from, to) => query.range((bound(from)?, bound(to)?)),
            Select::Prefix(prefix) => query.prefix(value(prefix)?),
        };
        query = query.offset(asked.offset);
        if let Some(limit) = asked.limit {
            query = query.limit(limit);
        }
        if asked.descending {
            query = query.descending();
        }
        if asked.documents {
            query = query.include_docs();
        }
        Ok(query)
    }

    pub(super) async fn indexes(&self, asker: &Asker) -> Result<()> {
        let indexes = self.database().indexes();
        let indexes = indexes.iter().map(json).collect::<Result<_>>()?;
        asker.reply(Reply::Indexes { indexes }).await
    }

    pub(super) fn drop_index(&self, name: &str) -> Result<()> {
        let database = self.database();
        if database.drop_index(name)? || database.drop_index(index(name))? {
            return Ok(());
        }
        let failure = Failure::not_found(format!("there is no index {name:?}"));
        Err(failure.hint("`firebrick index list` lists them"))
    }
}

/// The index that a text stands for: `field`, `path.of.fields`, `one,two`, `list[]`.
fn index(text: &str) -> Index {
    let (fields, each) = match text.strip_suffix("[]") {
        Some(fields) => (fields, true),
        None => (text, false),
    };
    let index = match (fields.contains(','), fields.contains('.')) {
        (true, _) => Index::paths(fields.split(',')),
        (false, true) => Index::path(fields),
        (false, false) => Index::field(fields),
    };
    if each { index.each() } else { index }
}

fn value(json: &serde_json::Value) -> Result<Value> {
    Value::from_json(json)
        .map_err(|error| Failure::new(Exit::BadInput, "bad_key_value", error.to_string()))
}

fn bound(bound: &Bound<serde_json::Value>) -> Result<Bound<Value>> {
    Ok(match bound {
        Bound::Unbounded => Bound::Unbounded,
        Bound::Included(json) => Bound::Included(value(json)?),
        Bound::Excluded(json) => Bound::Excluded(value(json)?),
    })
}

fn json(value: &impl serde::Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(value)
        .map_err(|error| Failure::new(Exit::Store, "internal", error.to_string()))
}

fn row_reply(row: IndexRow<Document>, change: Option<RowChange>) -> Reply {
    Reply::IndexRow {
        change,
        id: row.id,
        key: row.key.to_json(),
        value: row.value.to_json(),
        document: row.doc.map(|document| document.to_json()),
    }
}

/// Reading never waits for anything but the disk, so it runs beside the async threads.
async fn rows(query: Query, asker: &Asker) -> Result<()> {
    let (rows, sender) = (query.rows::<Document>().await?, asker.0.clone());
    let send = move |sender: &Sender<Reply>| -> Result<()> {
        for row in rows {
            let reply = row_reply(row?, None);
            let sent = sender.blocking_send(reply);
            sent.map_err(|_| Failure::output_closed())?;
        }
        Ok(())
    };
    let reading = tokio::task::spawn_blocking(move || send(&sender)).await;
    reading.map_err(|error| Failure::new(Exit::Store, "internal", error.to_string()))?
}

async fn watch(query: Query, asker: &Asker) -> Result<()> {
    let mut live = query.watch::<Document>().await?;
    let now: Vec<_> = live.rows().cloned().collect();
    for row in now {
        asker.reply(row_reply(row, None)).await?;
    }
    asker.reply(Reply::WatchingResult).await?;
    while let Some(delta) = live.next().await {
        let delta = delta?;
        for (change, rows) in [
            (RowChange::Removed, delta.removed),
            (RowChange::Added, delta.added),
            (RowChange::Updated, delta.updated),
        ] {
            for row in rows {
                asker.reply(row_reply(row, Some(change))).await?;
            }
        }
    }
    Ok(())
}
