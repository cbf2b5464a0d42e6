//! The JavaScript client as a process of its own (`interop/peer.mjs`).

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use serde_json::{Value, json};
use tokio::task::block_in_place;

/// A ledger directory as the client sees it: `dir/ledger`, its keys in `dir/keybag`.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    dir: PathBuf,
    ledger: String,
    options: Vec<String>,
}

impl Peer {
    pub(crate) fn new(dir: &Path, ledger: &str) -> Peer {
        Peer {
            dir: dir.to_path_buf(),
            ledger: ledger.to_owned(),
            options: Vec::new(),
        }
    }

    /// Gives the client another key name, or `insecure`.
    pub(crate) fn storekey(mut self, name: &str) -> Peer {
        self.options.extend(["--storekey".into(), name.into()]);
        self
    }

    pub(crate) fn keybag(&self) -> PathBuf {
        self.dir.join("keybag")
    }

    /// Opens the ledger in a new process, runs the operations and ends it. The values in order;
    /// an operation that fails is a panic with what the client said.
    pub(crate) fn run(&self, operations: &[Value]) -> Vec<Value> {
        self.answers(operations).iter().map(value_of).collect()
    }

    /// Like [`run`](Self::run), with the answers as they are; those with `mayFail` may be errors.
    pub(crate) fn answers(&self, operations: &[Value]) -> Vec<Value> {
        block_in_place(|| {
            let mut child = self.spawn(&["-"]);
            let mut stdin = child.stdin.take().expect("piped");
            let script = json!(operations).to_string();
            let writer = thread::spawn(move || stdin.write_all(script.as_bytes()));
            let answers: Vec<Value> = BufReader::new(child.stdout.take().expect("piped"))
                .lines()
                .map(|line| serde_json::from_str(&line.expect("utf-8")).expect("a JSON line"))
                .collect();
            writer.join().expect("writes").expect("takes the script");
            let status = child.wait().expect("ends");
            let last = answers.last();
            assert!(
                status.success(),
                "the client ended with {status} after {last:?}"
            );
            answers
        })
    }

    /// Like [`run`](Self::run) with one operation.
    pub(crate) fn ask(&self, operation: &Value) -> Value {
        self.run(std::slice::from_ref(operation)).remove(0)
    }

    /// Starts a process that stays open and keeps what it has read in memory.
    pub(crate) fn open(&self) -> OpenPeer {
        let mut peer = OpenPeer::of(self.spawn(&["--serve"]));
        peer.ask(&json!({"op": "open"}));
        peer
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/peer.mjs");
        Command::new("node")
            .arg(script)
            .args(&self.options)
            .arg(&self.dir)
            .arg(&self.ledger)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("node starts: `cargo xtask test --only interop` sets everything up")
    }
}

/// A client that stays open. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct OpenPeer {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl OpenPeer {
    /// A process that answers requests line by line.
    pub(crate) fn of(mut child: Child) -> OpenPeer {
        OpenPeer {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().expect("piped")),
            child,
        }
    }

    pub(crate) fn ask(&mut self, operation: &Value) -> Value {
        value_of(&self.answer(operation))
    }

    /// The answer as it is; it may be an error.
    pub(crate) fn answer(&mut self, operation: &Value) -> Value {
        block_in_place(|| {
            let stdin = self.stdin.as_mut().expect("open");
            writeln!(stdin, "{operation}").expect("takes the request");
            let mut line = String::new();
            self.stdout.read_line(&mut line).expect("answers");
            serde_json::from_str(&line).expect("a JSON line")
        })
    }

    /// Closes the ledger and waits for the process to end.
    pub(crate) fn close(mut self) {
        drop(self.stdin.take());
        let status = block_in_place(|| self.child.wait()).expect("ends");
        assert!(status.success(), "the client ended with {status}");
    }
}

impl Drop for OpenPeer {
    fn drop(&mut self) {
        // Already gone after `close`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn value_of(answer: &Value) -> Value {
    assert_eq!(
        answer["ok"], true,
        "the client failed at {}: {}",
        answer["op"], answer["error"]
    );
    answer["value"].clone()
}
