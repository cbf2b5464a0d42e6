//! A place of its own for each test, and processes in it.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// The longest that anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A sync server that keeps its data in the place, on any port.
pub(crate) const SERVE: [&str; 5] = ["serve", "--data", "data", "--listen", "127.0.0.1:0"];

/// A folder with a database, a keybag and whatever else a test needs.
pub(crate) struct Place {
    dir: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("file://{}", self.path(name).display())
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }

    /// The command in this place, with the database `db` and the keybag `keys`.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firebrick"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FIREBRICK_") {
                command.env_remove(name);
            }
        }
        command.current_dir(self.dir.path());
        command
            .env("FIREBRICK_DB", self.path("db"))
            .env("FIREBRICK_KEYBAG", self.path("keys"));
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ended(self.command(args).spawn().unwrap())
    }

    pub(crate) fn run_with_input(&self, args: &[&str], input: &str) -> Ran {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        // A command that stops early closes its end: no error of the test.
        let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let ran = ended(child);
        writer.join().unwrap();
        ran
    }

    /// Runs a command that must succeed; returns its output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.stdout
    }

    /// Runs a command with `--json` that must succeed; returns the lines of its output.
    pub(crate) fn json(&self, args: &[&str]) -> Vec<Value> {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        lines(&self.ok(&args))
    }

    /// Runs a command with `--json` that must fail; returns the exit code and the error.
    pub(crate) fn fails(&self, args: &[&str]) -> (i32, Value) {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        self.run(&args).error()
    }

    /// Starts a command that goes on, and reads its output line by line.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::spawn(&mut self.command(args))
    }

    /// Starts a sync server. With what it says once it listens.
    pub(crate) fn serve(&self, args: &[&str]) -> (Running, Value) {
        let server = self.start(&[&SERVE, args, &["--json"]].concat());
        let line = server.line();
        (server, line)
    }

    /// Starts a watch, which misses nothing from now on.
    pub(crate) fn watch(&self, args: &[&str]) -> Running {
        let watch = self.start(&[&["watch", "--json"], args].concat());
        assert_eq!(watch.line()["watching"], true);
        watch
    }
}

impl Ran {
    /// The error object that `--json` puts on stderr.
    pub(crate) fn error(&self) -> (i32, Value) {
        assert_ne!(self.code, 0, "{self:?}");
        let line = self
            .stderr
            .lines()
            .rfind(|line| line.contains("\"error\""))
            .unwrap_or_default();
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        let error = value["error"].clone();
        assert_eq!(error["exit_code"], self.code, "{self:?}");
        assert!(!error["message"].as_str().unwrap().is_empty());
        (self.code, error)
    }
}

pub(crate) fn lines(text: &str) -> Vec<Value> {
    let parse =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parse).collect()
}

fn ended(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn follow(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A command that goes on until it is ended.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    pub(crate) fn spawn(command: &mut Command) -> Running {
        let mut child = command
            .stderr(Stdio::inherit())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = follow(child.stdout.take().unwrap());
        Running { child, lines }
    }

    /// The next line of output.
    pub(crate) fn line(&self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE).expect("no line in time");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Lines until one fits.
    pub(crate) fn line_where(&self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.line();
            if fits(&line) {
                return line;
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    /// Asks it to end, and waits.
    pub(crate) fn terminate(mut self) -> i32 {
        signal("TERM", self.child.id());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    pub(crate) fn wait(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, most of the time.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(name: &str, process: u32) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &process.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}
