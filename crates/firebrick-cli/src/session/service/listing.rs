//! `list` and `export`: documents in the order of their ids.

use firebrick::{AllDocs, Document};
use tokio::sync::mpsc::Sender;

use super::super::protocol::Reply;
use super::{Asker, Service};
use crate::failure::{Exit, Failure, Result};

/// Which documents.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) prefix: Option<String>,
    pub(super) after: Option<String>,
    pub(super) limit: Option<usize>,
    pub(super) deleted: bool,
}

impl Service {
    pub(super) async fn list(&self, selection: Selection, ids: bool, asker: &Asker) -> Result<()> {
        if ids {
            for id in self.listing(&selection).ids().await? {
                asker.reply(Reply::Row { id, document: None }).await?;
            }
            return Ok(());
        }
        // Reading never waits for anything but the disk, so it runs beside the async threads.
        let (listing, sender) = (self.listing(&selection), asker.0.clone());
        let reading = tokio::task::spawn_blocking(move || read(listing, &sender)).await;
        match reading.map_err(|error| Failure::new(Exit::Store, "internal", error.to_string()))? {
            Ok(()) => Ok(()),
            Err(Stop::Asker) => Err(Failure::output_closed()),
            Err(Stop::Damage { after, read }) => {
                let after = after.or(selection.after);
                let limit = selection.limit.map(|limit| limit.saturating_sub(read));
                self.list_one_by_one(
                    Selection {
                        after,
                        limit,
                        ..selection
                    },
                    asker,
                )
                .await
            }
        }
    }

    fn listing(&self, selection: &Selection) -> AllDocs {
        let mut listing = self
            .database()
            .all_docs()
            .include_deleted(selection.deleted);
        if let Some(prefix) = &selection.prefix {
            listing = listing.prefix(prefix);
        }
        if let Some(after) = &selection.after {
            listing = listing.after(after);
        }
        if let Some(limit) = selection.limit {
            listing = listing.limit(limit);
        }
        listing
    }

    /// Documents are read together for speed; where one of them is damaged, each is read alone,
    /// so that only that one is left out.
    async fn list_one_by_one(&self, selection: Selection, asker: &Asker) -> Result<()> {
        for id in self.listing(&selection).ids().await? {
            let reply = match self.database().get::<Document>(&id).await {
                Ok(document) => {
                    let document = document.map(|document| document.to_json());
                    Reply::Row { id, document }
                }
                Err(error) => Reply::Unreadable {
                    id,
                    failure: error.into(),
                },
            };
            asker.reply(reply).await?;
        }
        Ok(())
    }
}

/// Why reading in order ended early.
enum Stop {
    /// Nobody wants more.
    Asker,
    /// Something could not be read after this id, and after this many documents.
    Damage { after: Option<String>, read: usize },
}

fn read(listing: AllDocs, sender: &Sender<Reply>) -> Result<(), Stop> {
    let mut after = None;
    for (read, row) in listing.rows::<Document>().enumerate() {
        let Ok(row) = row else {
            return Err(Stop::Damage { after, read });
        };
        let document = row.doc.map(|document| document.to_json());
        after = Some(row.id.clone());
        sender
            .blocking_send(Reply::Row {
                id: row.id,
                document,
            })
            .map_err(|_| Stop::Asker)?;
    }
    Ok(())
}
