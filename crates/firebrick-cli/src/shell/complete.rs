//! What Tab offers: commands, their options, ids of documents.

use std::time::Duration;

use rustyline::completion::{Completer as Complete, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use crate::session::Session;
use crate::session::protocol::{Reply, Request};

/// Ids that are offered at once.
const IDS_OFFERED: usize = 100;
/// Nobody waits longer for a key press.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Completer<'a> {
    runtime: Handle,
    session: &'a Mutex<Option<Session>>,
    commands: clap::Command,
}

impl<'a> Completer<'a> {
    pub(super) fn new(runtime: Handle, session: &'a Mutex<Option<Session>>) -> Self {
        Self {
            runtime,
            session,
            commands: super::commands(),
        }
    }

    /// Ids that begin like this; none if the database doesn't answer in time.
    fn ids(&self, prefix: &str) -> Vec<String> {
        let asked = async {
            let mut session = self.session.lock().await;
            let session = session.as_mut()?;
            let request = Request::List {
                prefix: Some(prefix.to_owned()),
                after: None,
                limit: Some(IDS_OFFERED),
                deleted: false,
                ids: true,
            };
            let mut replies = session.call(request).await.ok()?;
            let mut ids = Vec::new();
            while let Ok(Some(reply)) = replies.next().await {
                if let Reply::Row { id, .. } = reply {
                    ids.push(id);
                }
            }
            Some(ids)
        };
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, asked).await });
        answer.ok().flatten().unwrap_or_default()
    }
}

/// What can stand where `word` is being typed, after `before`. `None` where an id may stand.
fn syntax(commands: &clap::Command, before: &[&str], word: &str) -> Option<Vec<String>> {
    let mut command = commands;
    for step in before {
        match command.find_subcommand(step) {
            Some(found) => command = found,
            None => break,
        }
    }
    let offered: Vec<String> = if word.starts_with('-') {
        let arguments = command
            .get_arguments()
            .filter(|argument| !argument.is_hide_set());
        let long = arguments.filter_map(clap::Arg::get_long);
        long.map(|name| format!("--{name}")).collect()
    } else if command.has_subcommands() {
        let visible = command
            .get_subcommands()
            .filter(|command| !command.is_hide_set());
        let names = visible.map(|command| command.get_name().to_owned());
        let exit = before.is_empty().then(|| "exit".to_owned());
        names.chain(exit).collect()
    } else {
        return None;
    };
    Some(
        offered
            .into_iter()
            .filter(|offer| offer.starts_with(word))
            .collect(),
    )
}

impl Complete for Completer<'_> {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = &line[..position];
        let start = typed.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = &typed[start..];
        let before: Vec<&str> = typed[..start].split_whitespace().collect();
        let offers = syntax(&self.commands, &before, word).unwrap_or_else(|| {
            // An id with a space or a quote in it has to be quoted.
            let ids = self.ids(word).into_iter();
            ids.filter_map(|id| shlex::try_quote(&id).ok().map(String::from))
                .collect()
        });
        let space = if offers.len() == 1 { " " } else { "" };
        let pairs = offers.into_iter().map(|offer| Pair {
            replacement: format!("{offer}{space}"),
            display: offer,
        });
        Ok((start, pairs.collect()))
    }
}

impl Hinter for Completer<'_> {
    type Hint = String;
}
impl Highlighter for Completer<'_> {}
impl Validator for Completer<'_> {}
impl Helper for Completer<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(before: &[&str], word: &str) -> Option<Vec<String>> {
        syntax(&super::super::commands(), before, word)
    }

    #[test]
    fn commands_and_options_are_offered_and_ids_where_they_belong() {
        let commands = offered(&[], "").unwrap();
        assert!(commands.contains(&"put".to_owned()) && commands.contains(&"exit".to_owned()));
        assert!(!commands.iter().any(|name| name == "demo-worker"));
        assert_eq!(offered(&[], "watc"), Some(vec!["watch".to_owned()]));
        assert!(
            offered(&["keys"], "ex")
                .unwrap()
                .contains(&"export".to_owned())
        );
        let options = offered(&["list"], "--").unwrap();
        assert!(options.contains(&"--prefix".to_owned()) && options.contains(&"--json".to_owned()));
        assert_eq!(offered(&["get"], "mi"), None);
    }
}
