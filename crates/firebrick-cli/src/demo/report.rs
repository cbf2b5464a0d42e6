//! What the demo shows: progress while it runs, the proof at its end.

use std::collections::BTreeSet;

use comfy_table::{Cell, CellAlignment, Color};
use indicatif::{MultiProgress, ProgressBar};
use serde_json::json;

use super::data::Deal;
use super::events::Proof;
use super::{Kill, Replica};
use crate::failure::Result;
use crate::output::{Output, bytes, grouped, short, style};

/// A bar per database on a terminal, a line per step elsewhere.
#[derive(Debug)]
pub(super) struct Show {
    bars: MultiProgress,
    by_replica: Vec<ProgressBar>,
    drawn: bool,
}

impl Show {
    pub(super) fn new(output: &Output, replicas: usize, records: u64) -> Show {
        let bars = output.bars();
        let template = "{prefix:12} {bar:28.green/dim} {human_pos:>7}/{human_len}  {wide_msg}";
        let by_replica = (1..=replicas)
            .map(|number| {
                let bar = bars.add(ProgressBar::new(records).with_style(style(template)));
                bar.set_prefix(format!("database {number}"));
                bar
            })
            .collect();
        Show {
            bars,
            by_replica,
            drawn: output.draws_bars(),
        }
    }

    pub(super) fn documents(&self, replica: usize, documents: u64, what: &str) {
        self.by_replica[replica].set_position(documents);
        self.by_replica[replica].set_message(what.to_owned());
    }

    pub(super) fn started(&self, output: &Output, replica: usize, process: Option<u32>, run: u32) {
        let again = if run > 0 { " again" } else { "" };
        let event =
            json!({ "event": "started", "database": replica + 1, "process": process, "run": run });
        self.step(output, &event, || {
            format!("database {}: started{again}", replica + 1)
        });
    }

    pub(super) fn imported(&self, output: &Output, replica: usize, documents: u64) {
        self.documents(replica, documents, "imported");
        let event = json!({ "event": "imported", "database": replica + 1, "documents": documents });
        self.step(output, &event, || {
            format!(
                "database {}: holds {} documents",
                replica + 1,
                grouped(documents)
            )
        });
    }

    pub(super) fn killed(&self, output: &Output, replica: usize, kill: &Kill) {
        self.by_replica[replica].set_message("killed");
        let event = json!({ "event": "killed", "database": kill.database, "bytes": kill.bytes });
        self.step(output, &event, || {
            let moved = bytes(kill.bytes);
            format!("database {}: killed (SIGKILL) after {moved}", kill.database)
        });
    }

    pub(super) fn complete(&self, output: &Output, replica: usize, proof: &Proof) {
        self.documents(replica, proof.documents, "✔ up to date");
        let event = json!({ "event": "complete", "database": replica + 1, "documents": proof.documents, "root": proof.root });
        self.step(output, &event, || {
            format!(
                "database {}: holds {} documents, up to date",
                replica + 1,
                grouped(proof.documents)
            )
        });
    }

    fn step(&self, output: &Output, event: &serde_json::Value, words: impl FnOnce() -> String) {
        if output.json() {
            if !output.quiet() {
                let _ = output.value(event).and_then(|()| output.flush());
            }
        } else if self.drawn {
            if event["event"] == "killed" && !output.quiet() {
                let _ = self.bars.println(words());
            }
        } else {
            output.note(words());
        }
    }

    pub(super) fn end(&self) {
        for bar in &self.by_replica {
            bar.finish_and_clear();
        }
        let _ = self.bars.clear();
    }
}

/// Whether every database holds exactly the records, and all have the same root.
pub(super) fn agree(deal: &Deal, replicas: &[Replica]) -> bool {
    let roots: BTreeSet<_> = replicas
        .iter()
        .map(|replica| replica.proof.as_ref().map(|proof| &proof.root))
        .collect();
    roots.len() == 1 && replicas.iter().all(|replica| holds_all(deal, replica))
}

fn holds_all(deal: &Deal, replica: &Replica) -> bool {
    replica
        .proof
        .as_ref()
        .is_some_and(|proof| proof.documents == deal.records && proof.hash == deal.hash)
}

/// How it ended.
pub(super) struct Outcome<'a> {
    pub(super) deal: &'a Deal,
    pub(super) replicas: &'a [Replica],
    pub(super) kill: Option<&'a Kill>,
    pub(super) remote: &'a str,
    pub(super) seconds: f64,
    pub(super) sync_seconds: f64,
    pub(super) trouble: Option<String>,
}

impl Outcome<'_> {
    /// Prints the proof; returns whether there is one.
    pub(super) fn print(&self, output: &Output) -> Result<bool> {
        let converged = self.trouble.is_none() && agree(self.deal, self.replicas);
        if output.json() {
            output.value(&self.json(converged))?;
            return Ok(converged);
        }
        self.print_table(output)?;
        self.print_words(converged, output)?;
        Ok(converged)
    }

    fn traffic(&self) -> (u64, u64) {
        self.replicas.iter().fold((0, 0), |(up, down), replica| {
            let (more_up, more_down) = sent_and_received(replica);
            (up + more_up, down + more_down)
        })
    }

    fn json(&self, converged: bool) -> serde_json::Value {
        let (up, down) = self.traffic();
        let replicas: Vec<_> = (1..)
            .zip(self.replicas)
            .map(|(number, replica)| {
                let (up, down) = sent_and_received(replica);
                json!({
                    "database": number,
                    "documents": replica.proof.as_ref().map_or(replica.progress.documents, |proof| proof.documents),
                    "root": replica.proof.as_ref().map(|proof| &proof.root),
                    "hash": replica.proof.as_ref().map(|proof| &proof.hash),
                    "complete": holds_all(self.deal, replica),
                    "seconds": replica.done_after.map(rounded),
                    "bytes_up": up,
                    "bytes_down": down,
                })
            })
            .collect();
        json!({
            "converged": converged,
            "databases": self.replicas.len(),
            "records": self.deal.records,
            "seconds": rounded(self.seconds),
            "sync_seconds": rounded(self.sync_seconds),
            "bytes": up + down,
            "bytes_up": up,
            "bytes_down": down,
            "source": self.deal.source,
            "hash": self.deal.hash,
            "remote": self.remote,
            "killed": self.kill,
            "replicas": replicas,
            "trouble": self.trouble,
        })
    }

    fn print_table(&self, output: &Output) -> Result<()> {
        let mut table = output.table(&[
            "",
            "documents",
            "root",
            "hash of all documents",
            "sent",
            "received",
            "complete after",
        ]);
        for (number, replica) in (1..).zip(self.replicas) {
            let (up, down) = sent_and_received(replica);
            let mark = Cell::new(if holds_all(self.deal, replica) {
                "✔"
            } else {
                "✘"
            });
            let colour = if holds_all(self.deal, replica) {
                Color::Green
            } else {
                Color::Red
            };
            let mark = if output.colour() {
                mark.fg(colour)
            } else {
                mark
            };
            let (documents, root, hash) = match &replica.proof {
                Some(proof) => (proof.documents, short(&proof.root), short(&proof.hash)),
                None => (replica.progress.documents, "-".to_owned(), "-".to_owned()),
            };
            let after = replica
                .done_after
                .map_or("-".to_owned(), |seconds| format!("{seconds:.2} s"));
            let killed = self.kill.is_some_and(|kill| kill.database == number);
            table.add_row([
                Cell::new(format!(
                    "database {number}{}",
                    if killed { " (killed once)" } else { "" }
                )),
                Cell::new(grouped(documents)).set_alignment(CellAlignment::Right),
                Cell::new(root),
                Cell::new(hash),
                Cell::new(bytes(up)).set_alignment(CellAlignment::Right),
                Cell::new(bytes(down)).set_alignment(CellAlignment::Right),
                Cell::new(after).set_alignment(CellAlignment::Right),
                mark,
            ]);
        }
        table.add_row([
            Cell::new(format!(
                "the {}",
                if self.deal.source == "airports" {
                    "airports"
                } else {
                    "file"
                }
            )),
            Cell::new(grouped(self.deal.records)).set_alignment(CellAlignment::Right),
            Cell::new(""),
            Cell::new(short(&self.deal.hash)),
        ]);
        output.line("")?;
        output.print_table(&table)?;
        output.line("")
    }

    fn print_words(&self, converged: bool, output: &Output) -> Result<()> {
        let (up, down) = self.traffic();
        if let Some(kill) = self.kill {
            let held = kill.documents.map_or("unknown".to_owned(), grouped);
            let when = if kill.mid_sync {
                "in the middle of its sync"
            } else {
                "when its sync was over"
            };
            output.line(format!(
                "Database {} was killed {when}, after {}. Started again, it held {held} documents, and went on.",
                kill.database,
                bytes(kill.bytes),
            ))?;
        }
        if converged {
            output.line(format!(
                "Every database holds all {} records: {} databases, {:.2} s ({:.2} s of it sync), {} sent, {} received.",
                grouped(self.deal.records),
                self.replicas.len(),
                self.seconds,
                self.sync_seconds,
                bytes(up),
                bytes(down),
            ))
        } else {
            let lacking: Vec<String> = (1..)
                .zip(self.replicas)
                .filter(|(_, replica)| !holds_all(self.deal, replica))
                .map(|(number, _)| number.to_string())
                .collect();
            output.line(format!(
                "NOT CONVERGED: database {} {} not proven to hold every record. {}",
                lacking.join(", "),
                if lacking.len() == 1 { "is" } else { "are" },
                self.trouble.as_deref().unwrap_or("The roots differ."),
            ))
        }
    }
}

fn sent_and_received(replica: &Replica) -> (u64, u64) {
    let proof = replica
        .proof
        .as_ref()
        .map_or((0, 0), |proof| (proof.bytes_up, proof.bytes_down));
    (
        proof.0.max(replica.progress.bytes_up),
        proof.1.max(replica.progress.bytes_down),
    )
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
