//! `keys`: the keys that a ledger is encrypted with.

use std::io::IsTerminal as _;

use firebrick::core::keys::wrapped;
use serde_json::{Value, json};

use super::states::{number, text};
use super::{close, unexpected};
use crate::args::{Global, KeysCommand, PassphraseArgs};
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;
use crate::session::protocol::{KeyAction, Reply, Request, Secret};
use crate::session::{Access, Session};

pub(crate) async fn run(command: KeysCommand, global: &Global, output: &Output) -> Result<Exit> {
    let (action, access) = match command {
        KeysCommand::List => (KeyAction::List, Access::Look),
        KeysCommand::Show => (KeyAction::Show, Access::Look),
        KeysCommand::Rotate => (KeyAction::Rotate, Access::Write),
        KeysCommand::Export(args) if args.passphrase || args.source.passphrase_file.is_some() => {
            let passphrase = passphrase(args.source, true, output)?;
            (KeyAction::ExportWrapped(passphrase), Access::Look)
        }
        KeysCommand::Export(_) => (KeyAction::Export, Access::Look),
        KeysCommand::Import(args) => {
            let key = key(args.key.key, output)?;
            let action = if wrapped::is_wrapped(&key) {
                KeyAction::ImportWrapped {
                    passphrase: passphrase(args.source, false, output)?,
                    text: key.into(),
                }
            } else {
                KeyAction::Import(key.into())
            };
            (action, Access::Create)
        }
        KeysCommand::Add(args) => (
            KeyAction::Add(key(args.key, output)?.into()),
            Access::Create,
        ),
    };
    let mut session = Session::open(global, access, false).await?;
    match session.ask(Request::Keys { action }).await? {
        Reply::Key { key } if output.json() => output.value(&json!({ "key": key }))?,
        Reply::Key { key } => {
            output.line(key.as_str())?;
            if output.terminal() && !wrapped::is_wrapped(key.as_str()) {
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
        Reply::KeyList { keys } if output.json() => {
            keys.iter().try_for_each(|key| output.value(key))?;
        }
        Reply::KeyList { keys } => table(&keys, output)?,
        other => return Err(unexpected(&other)),
    }
    close(session, output).await?;
    Ok(Exit::Done)
}

fn table(keys: &[Value], output: &Output) -> Result<()> {
    let mut table = output.table(&["KEY", "USE", "BITS", "FROM", "SINCE"]);
    for key in keys {
        let flag = |name: &str| key.get(name).and_then(Value::as_bool).unwrap_or(false);
        let role = match (flag("is_here"), flag("is_default")) {
            (false, _) => "missing",
            (true, true) => "writes",
            (true, false) => "reads",
        };
        let bits = match number(key, "bits") {
            0 => String::new(),
            bits => bits.to_string(),
        };
        let since = match number(key, "added_ms") {
            0 => String::new(),
            added => date(added),
        };
        table.add_row([
            text(key, "fingerprint"),
            role,
            &bits,
            text(key, "origin"),
            &since,
        ]);
    }
    output.print_table(&table)
}

/// Milliseconds of Unix time as `2026-01-31 12:00` (UTC).
pub(super) fn date(unix_ms: u64) -> String {
    let minutes = unix_ms / 60_000;
    let days = (minutes / 1440) as i64;
    // Days are counted in years that begin in March, so that the leap day is the last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day = shifted.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!(
        "{:04}-{month:02}-{date:02} {:02}:{:02}",
        era * 400 + year + carry,
        minutes / 60 % 24,
        minutes % 60
    )
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

/// A passphrase from a file, the environment or the terminal. A new one is asked for twice.
fn passphrase(source: PassphraseArgs, is_new: bool, output: &Output) -> Result<Secret> {
    if let Some(file) = source.passphrase_file {
        let text = std::fs::read_to_string(&file).map_err(|error| {
            Failure::bad_input(format!("cannot read {}: {error}", file.display()))
        })?;
        return Ok(text.lines().next().unwrap_or_default().to_owned().into());
    }
    if let Ok(text) = std::env::var("FIREBRICK_PASSPHRASE") {
        return Ok(text.into());
    }
    if !std::io::stderr().is_terminal() || output.quiet() {
        return Err(
            Failure::bad_input("there is no passphrase and nobody to ask")
                .hint("--passphrase-file FILE, or FIREBRICK_PASSPHRASE"),
        );
    }
    let ask = |prompt: &str| -> Result<Secret> {
        let read = rpassword::prompt_password(prompt);
        read.map(Secret::from).map_err(|error| {
            Failure::bad_input(format!("cannot read the passphrase: {error}"))
                .hint("--passphrase-file FILE, or FIREBRICK_PASSPHRASE")
        })
    };
    let first = ask("passphrase: ")?;
    if is_new && ask("once more: ")?.as_str() != first.as_str() {
        return Err(Failure::bad_input("the two passphrases differ"));
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01 00:00");
        assert_eq!(date(951_782_400_000), "2000-02-29 00:00");
        assert_eq!(date(1_798_761_599_000), "2026-12-31 23:59");
    }
}
