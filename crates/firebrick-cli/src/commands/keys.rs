//! `keys`: the keys that a ledger is encrypted with.

use serde_json::json;

use super::{close, unexpected};
use crate::args::{Global, KeysCommand};
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;
use crate::session::protocol::{KeyAction, Reply, Request};
use crate::session::{Access, Session};

pub(crate) async fn run(command: KeysCommand, global: &Global, output: &Output) -> Result<Exit> {
    let (action, access) = match command {
        KeysCommand::Show => (KeyAction::Show, Access::Look),
        KeysCommand::Export => (KeyAction::Export, Access::Look),
        KeysCommand::Import(args) => (KeyAction::Import(key(args.key, output)?), Access::Create),
        KeysCommand::Add(args) => (KeyAction::Add(key(args.key, output)?), Access::Create),
    };
    let mut session = Session::open(global, access, false).await?;
    match session.ask(Request::Keys { action }).await? {
        Reply::Key { key } if output.json() => output.value(&json!({ "key": key }))?,
        Reply::Key { key } => {
            output.line(key)?;
            if output.terminal() {
                output.note("Whoever has this key can read everything in this ledger.");
            }
        }
        Reply::Keys {
            fingerprint,
            fingerprints,
        } if output.json() => {
            output.value(&json!({ "fingerprint": fingerprint, "fingerprints": fingerprints }))?;
        }
        Reply::Keys {
            fingerprint,
            fingerprints,
        } => {
            output.line(&fingerprint)?;
            fingerprints
                .iter()
                .filter(|other| **other != fingerprint)
                .try_for_each(|other| output.line(other))?;
        }
        other => return Err(unexpected(&other)),
    }
    close(session, output).await?;
    Ok(Exit::Done)
}

/// A key from the command line, or from stdin, where other users of the machine don't see it.
pub(super) fn key(argument: Option<String>, output: &Output) -> Result<String> {
    let text = match argument {
        Some(text) if text != "-" => text,
        _ => {
            output.prompt("paste the key, then Enter");
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line);
            read.map_err(|error| {
                Failure::bad_input(format!("cannot read the key from stdin: {error}"))
            })?;
            line
        }
    };
    let text = text.trim();
    if text.is_empty() {
        return Err(Failure::new(Exit::BadInput, "bad_key", "there is no key")
            .hint("`firebrick keys export` prints one, beginning with z"));
    }
    Ok(text.to_owned())
}
