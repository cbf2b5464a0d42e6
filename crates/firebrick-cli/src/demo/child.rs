//! The demo's side of a child process.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc::UnboundedSender;

use super::Replica;
use super::events::Report;
use crate::args::Global;
use crate::failure::{Failure, Result};

/// What a child said, or that it ended.
#[derive(Debug)]
pub(super) struct Heard {
    /// Which database, counted from zero.
    pub(super) replica: usize,
    /// Which of its processes: a line of a killed one may come late.
    pub(super) run: u32,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Said(Report),
    Ended,
}

/// A running child; it is killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts the process of a database. Its reports go to `heard`; their number is bounded by
    /// the child's pace, which waits for its pipe.
    pub(super) fn start(
        index: usize,
        replica: &Replica,
        remote: &str,
        expect: u64,
        global: &Global,
        heard: UnboundedSender<Heard>,
    ) -> Result<Process> {
        let cannot =
            |error: std::io::Error| Failure::bad_input(format!("cannot start a process: {error}"));
        let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
        command
            .arg("demo-worker")
            .arg("--db")
            .arg(&replica.folder)
            .arg("--keybag")
            .arg(&replica.keybag);
        command.arg("--share").arg(&replica.share).args([
            "--remote",
            remote,
            "--expect",
            &expect.to_string(),
        ]);
        if global.insecure {
            command.arg("--insecure");
        }
        if replica.run > 0 {
            command.arg("--resume");
        }
        // Options of ours must not become options of theirs.
        for name in ["FIREBRICK_DB", "FIREBRICK_KEYBAG", "FIREBRICK_KEY"] {
            command.env_remove(name);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(cannot)?;
        let stdin = child.stdin.take();
        let run = replica.run;
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(async move {
                let mut lines = BufReader::new(stdout).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    if let Ok(report) = serde_json::from_str(&line) {
                        let _ = heard.send(Heard {
                            replica: index,
                            run,
                            what: What::Said(report),
                        });
                    }
                }
                let _ = heard.send(Heard {
                    replica: index,
                    run,
                    what: What::Ended,
                });
            });
        }
        Ok(Process { child, stdin })
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Says a word. A child that is gone is noticed elsewhere.
    pub(super) async fn say(&mut self, word: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(format!("{word}\n").as_bytes()).await;
        }
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub(super) async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    pub(super) async fn ended(&mut self) {
        self.stdin = None;
        let _ = self.child.wait().await;
    }
}
