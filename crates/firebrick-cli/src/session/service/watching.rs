//! `watch`: what a subscription reports, and what came before it.

use firebrick::{Document, Event, Origin};

use super::super::protocol::{ChangeSet, Changed, Reply};
use super::{Asker, Service, cids, texts};
use crate::failure::Result;

/// Changes in one reply, so that a first sync of a million documents is no single message.
const CHANGES_AT_ONCE: usize = 256;

impl Service {
    /// Subscribes first, then catches up from `since`, so that nothing falls between the two.
    pub(super) async fn watch(
        &self,
        since: Option<Vec<String>>,
        documents: bool,
        asker: &Asker,
    ) -> Result<()> {
        let database = self.database();
        let mut subscription = database.subscribe();
        let mut seen = 0;
        asker
            .reply(Reply::Watching {
                head: texts(&database.head()),
            })
            .await?;
        if let Some(since) = since {
            seen = database.sequence();
            let changes = database.changes(&cids(&since)?);
            let head = texts(changes.head());
            let rows = changes.collect::<Document>().await?.into_iter();
            let changes = rows.map(|row| Changed {
                id: row.id,
                deleted: row.doc.is_none(),
                doc: row
                    .doc
                    .filter(|_| documents)
                    .map(|document| document.to_json()),
            });
            let changes = changes.collect();
            self.report(
                ChangeSet {
                    sequence: seen,
                    origin: "earlier".to_owned(),
                    head,
                    changes,
                },
                asker,
            )
            .await?;
        }
        while let Some(event) = subscription.next().await {
            let set = match event? {
                Event::Changes(set) if set.sequence <= seen => continue,
                Event::Changes(set) => set,
                Event::Lagged { missed } => {
                    asker.reply(Reply::Lagged { missed }).await?;
                    continue;
                }
            };
            let mut changes = Vec::with_capacity(set.changes.len());
            for change in set.changes {
                let doc = if documents && !change.deleted {
                    database
                        .get::<Document>(&change.id)
                        .await?
                        .map(|document| document.to_json())
                } else {
                    None
                };
                changes.push(Changed {
                    id: change.id,
                    deleted: change.deleted,
                    doc,
                });
            }
            let origin = match set.origin {
                Origin::Local => "local".to_owned(),
                Origin::Remote(name) => name,
                Origin::Several => "several".to_owned(),
            };
            self.report(
                ChangeSet {
                    sequence: set.sequence,
                    origin,
                    head: texts(&set.head),
                    changes,
                },
                asker,
            )
            .await?;
        }
        Ok(())
    }

    async fn report(&self, mut set: ChangeSet, asker: &Asker) -> Result<()> {
        while !set.changes.is_empty() {
            let rest = set
                .changes
                .split_off(set.changes.len().min(CHANGES_AT_ONCE));
            let changes = std::mem::replace(&mut set.changes, rest);
            asker
                .reply(Reply::Changes(ChangeSet {
                    changes,
                    ..set.clone()
                }))
                .await?;
        }
        Ok(())
    }
}
