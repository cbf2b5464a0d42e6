//! History, conflicts, and the database as it was.

use firebrick::{Cid, Conflict, Content, Document, Origin};
use serde_json::{Value, json};

use super::{Asker, Service, cids, texts};
use crate::failure::Result;
use crate::session::protocol::Reply;

impl Service {
    pub(super) async fn history(
        &self,
        id: String,
        limit: Option<usize>,
        asker: &Asker,
    ) -> Result<()> {
        let history = self.database().history(id);
        for version in history.limit(limit.unwrap_or(usize::MAX)).versions() {
            let version = version?;
            let mut item = json!({
                "event": version.event.to_string(),
                "parents": texts(&version.parents),
                "origin": origin(version.origin.as_ref()),
                "current": version.current,
                "wins": version.wins,
            });
            add_content(&mut item, &version.content);
            asker.reply(Reply::Item { item }).await?;
        }
        Ok(())
    }

    pub(super) async fn conflicts(&self, id: Option<String>, asker: &Asker) -> Result<()> {
        let database = self.database();
        if let Some(id) = id {
            if let Some(conflict) = database.conflicts::<Document>(&id).await? {
                let item = conflict_item(&conflict);
                asker.reply(Reply::Item { item }).await?;
            }
            return Ok(());
        }
        let found = database.conflicted().await?;
        for id in &found.ids {
            let item = json!({ "id": id });
            asker.reply(Reply::Item { item }).await?;
        }
        if !found.complete {
            let item = json!({ "complete": false });
            asker.reply(Reply::Item { item }).await?;
        }
        Ok(())
    }

    pub(super) async fn diff(
        &self,
        before: &[String],
        after: &[String],
        asker: &Asker,
    ) -> Result<()> {
        let database = self.database();
        let after = match after {
            [] => database.head(),
            after => cids(after)?,
        };
        for row in database.diff(&cids(before)?, &after).await?.rows() {
            let row = row?;
            let json = |doc: &Option<Document>| doc.as_ref().map(Document::to_json);
            let item = json!({
                "id": row.id,
                "before": json(&row.before),
                "after": json(&row.after),
            });
            asker.reply(Reply::Item { item }).await?;
        }
        Ok(())
    }

    pub(super) async fn get_at(&self, id: String, head: &[String], asker: &Asker) -> Result<()> {
        let head = cids(head)?;
        let found = self.database().get_at::<Document>(&id, &head).await?;
        let document = found.map(|document| document.to_json());
        asker.reply(Reply::Row { id, document }).await
    }

    pub(super) async fn log(&self, limit: Option<usize>, asker: &Asker) -> Result<()> {
        let log = self.database().log().limit(limit.unwrap_or(usize::MAX));
        for entry in log.events() {
            let entry = entry?;
            let item = json!({
                "event": entry.event.to_string(),
                "parents": texts(&entry.parents),
                "generation": entry.generation,
                "origin": origin(entry.origin.as_ref()),
                "ids": entry.ids,
                "deleted": entry.deleted,
                "head": entry.head,
                "merge": entry.merge,
            });
            asker.reply(Reply::Item { item }).await?;
        }
        Ok(())
    }

    pub(super) async fn revert(&self, id: &str, version: &str, asker: &Asker) -> Result<()> {
        let version: Vec<Cid> = cids(&[version.to_owned()])?;
        for version in &version {
            let written = self.database().restore(id, version).await?;
            asker.reply(self.written(written)).await?;
        }
        Ok(())
    }
}

fn conflict_item(conflict: &Conflict<Document>) -> Value {
    let versions = conflict.versions.iter().map(|version| {
        let mut item = json!({
            "event": version.event.to_string(),
            "origin": origin(version.origin.as_ref()),
            "weight": version.weight.map(|weight| weight.to_string()),
            "wins": version.wins,
        });
        add_content(&mut item, &version.content);
        item
    });
    json!({
        "id": conflict.id,
        "versions": versions.collect::<Vec<_>>(),
        "why": conflict.why,
        "merged": texts(&conflict.merged),
        "ancestor": conflict.ancestor.to_string(),
    })
}

/// `local`, a remote's name, or null where it was not recorded.
fn origin(origin: Option<&Origin>) -> Value {
    match origin {
        Some(Origin::Local) => "local".into(),
        Some(Origin::Remote(name)) => name.as_str().into(),
        Some(Origin::Several) | None => Value::Null,
    }
}

fn add_content(item: &mut Value, content: &Content<Document>) {
    match content {
        Content::Document(doc) => item["doc"] = doc.to_json(),
        Content::Deleted => item["deleted"] = true.into(),
        Content::Missing(cid) => item["missing"] = cid.to_string().into(),
    }
}
