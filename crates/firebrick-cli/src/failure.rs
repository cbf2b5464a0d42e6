//! How a command fails: a kind, a cause, a way out and an exit code.

mod library;

use std::fmt;

use serde::{Deserialize, Serialize};

/// The exit codes, as `--help` and the README list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", from = "u8")]
pub(crate) enum Exit {
    Done,
    Negative,
    Usage,
    NotFound,
    BadInput,
    Store,
    Remote,
    Interrupted,
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> u8 {
        match exit {
            Exit::Done => 0,
            Exit::Negative => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::BadInput => 4,
            Exit::Store => 5,
            Exit::Remote => 6,
            Exit::Interrupted => 130,
        }
    }
}

impl From<u8> for Exit {
    fn from(code: u8) -> Exit {
        match code {
            0 => Exit::Done,
            2 => Exit::Usage,
            3 => Exit::NotFound,
            4 => Exit::BadInput,
            5 => Exit::Store,
            6 => Exit::Remote,
            130 => Exit::Interrupted,
            _ => Exit::Negative,
        }
    }
}

/// An error as a person or a program sees it. It crosses the local socket, too.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// A word for programs, such as `not_found`.
    pub(crate) kind: String,
    pub(crate) message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    pub(crate) exit_code: Exit,
}

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) fn new(exit_code: Exit, kind: &str, message: impl Into<String>) -> Failure {
        Failure {
            kind: kind.to_owned(),
            message: message.into(),
            hint: None,
            exit_code,
        }
    }

    /// A command line that clap could not understand; the first line of its text says why.
    pub(crate) fn usage(error: &clap::Error) -> Failure {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or("");
        Failure::new(Exit::Usage, "usage", message.trim_start_matches("error: "))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn bad_input(message: impl Into<String>) -> Failure {
        Failure::new(Exit::BadInput, "bad_input", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Failure {
        Failure::new(Exit::NotFound, "not_found", message)
    }

    /// Nobody reads our output any more: no error worth a message.
    pub(crate) fn output_closed() -> Failure {
        Failure::new(Exit::Done, "output_closed", "nobody reads the output")
    }

    pub(crate) fn is_output_closed(&self) -> bool {
        self.kind == "output_closed"
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.exit_code == Exit::Interrupted
    }

    pub(crate) fn interrupted(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Interrupted, "interrupted", message)
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "error": self })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
