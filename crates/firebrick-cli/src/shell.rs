//! `shell`: commands at a prompt.
//!
//! The shell keeps the database open and serves it as `watch` does; each line runs as the command
//! that it names, which finds the database through the shell. So every command works here, and
//! behaves as on the command line.

mod complete;
mod words;

use std::io::{self, IsTerminal};
use std::path::Path;

use clap::{CommandFactory, Parser};
use rustyline::error::ReadlineError;
use rustyline::history::{FileHistory, History as _};
use rustyline::{CompletionType, Config, Editor};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::block_in_place;

use crate::args::{Cli, Command, Global, ShellArgs};
use crate::commands::close;
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;
use crate::session::{Access, Session};
use complete::Completer;

const PROMPT: &str = "firebrick> ";
/// Lines that the history keeps.
const HISTORY_LINES: usize = 1000;

pub(crate) async fn run(args: ShellArgs, global: &Global, output: &Output) -> Result<Exit> {
    let mut shell = Shell {
        global,
        output,
        offline: args.offline,
        session: Mutex::new(None),
    };
    let result = if io::stdin().is_terminal() {
        shell.converse(args.history.as_deref()).await
    } else {
        shell.run_script().await
    };
    let closed = match shell.session.get_mut().take() {
        Some(session) => close(session, output).await,
        None => Ok(()),
    };
    let exit = result?;
    closed?;
    Ok(exit)
}

struct Shell<'a> {
    global: &'a Global,
    output: &'a Output,
    offline: bool,
    /// Open from the first command on that has made or found the database.
    session: Mutex<Option<Session>>,
}

/// What comes after a line.
enum Next {
    Line(Exit),
    End,
}

impl Shell<'_> {
    async fn converse(&self, history: Option<&Path>) -> Result<Exit> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .max_history_size(HISTORY_LINES)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(|error| broken(&error))?
            .history_ignore_space(true)
            .build();
        let mut editor: Editor<Completer<'_>, FileHistory> =
            Editor::with_config(config).map_err(|error| broken(&error))?;
        if let Some(file) = history.filter(|file| file.exists()) {
            editor
                .load_history(file)
                .map_err(|error| bad_history(file, &error))?;
        }
        self.open().await?;
        editor.set_helper(Some(Completer::new(Handle::current(), &self.session)));
        self.output
            .note("Tab completes; `help` lists the commands; `exit` or Ctrl-D ends.");
        loop {
            match block_in_place(|| editor.readline(PROMPT)) {
                Ok(line) => {
                    editor
                        .add_history_entry(&line)
                        .map_err(|error| broken(&error))?;
                    match self.run_line(&line).await {
                        Ok(Next::Line(_)) => {}
                        Ok(Next::End) => break,
                        Err(failure) => self.output.failure(&failure),
                    }
                }
                // Ctrl-C throws the line away.
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(broken(&error)),
            }
        }
        if let Some(file) = history.filter(|_| !editor.history().is_empty()) {
            editor
                .save_history(file)
                .map_err(|error| bad_history(file, &error))?;
        }
        Ok(Exit::Done)
    }

    async fn run_script(&self) -> Result<Exit> {
        self.open().await?;
        for (number, line) in io::stdin().lines().enumerate() {
            let line = line.map_err(|error| {
                Failure::bad_input(format!("the script cannot be read: {error}"))
            })?;
            match self.run_line(&line).await {
                Ok(Next::Line(Exit::Done)) => {}
                Ok(Next::Line(exit)) => return Ok(exit),
                Ok(Next::End) => break,
                Err(failure) => {
                    let message = format!("line {}: {}", number + 1, failure.message);
                    return Err(Failure { message, ..failure });
                }
            }
        }
        Ok(Exit::Done)
    }

    async fn run_line(&self, line: &str) -> Result<Next> {
        let words = words::split(line)?;
        match words.first().map(String::as_str) {
            None => return Ok(Next::Line(Exit::Done)),
            Some("exit" | "quit") => return Ok(Next::End),
            Some(_) => {}
        }
        let Some(cli) = self.parse(&words)? else {
            return Ok(Next::Line(Exit::Done));
        };
        let output = Output::new(&cli.global);
        let result = Box::pin(crate::run(cli, &output)).await;
        let flushed = output.flush();
        let exit = result?;
        flushed?;
        self.open().await?;
        Ok(Next::Line(exit))
    }

    /// The command of a line; `None` if the line asked for help, which is printed.
    fn parse(&self, words: &[String]) -> Result<Option<Cli>> {
        let arguments = std::iter::once("firebrick").chain(words.iter().map(String::as_str));
        match Cli::try_parse_from(arguments) {
            Ok(Cli {
                command: Command::Shell(_),
                ..
            }) => Err(Failure::new(
                Exit::Usage,
                "usage",
                "this is the shell already",
            )),
            Ok(Cli { global, command }) => Ok(Some(Cli {
                global: self.inherit(&global),
                command,
            })),
            Err(error) if error.use_stderr() => Err(Failure::usage(&error)
                .hint("`help` lists the commands, `help COMMAND` shows one with examples")),
            Err(help) => {
                self.output.line(help.to_string())?;
                self.output.flush()?;
                Ok(None)
            }
        }
    }

    /// A line's command works on the shell's database, with the shell's options; a line can ask
    /// for JSON, for silence or for another durability.
    fn inherit(&self, line: &Global) -> Global {
        Global {
            json: line.json || self.global.json,
            quiet: line.quiet || self.global.quiet,
            durability: line.durability.or(self.global.durability),
            ..self.global.clone()
        }
    }

    /// Opens the database if there is one by now, and lets the commands work through this process.
    async fn open(&self) -> Result<()> {
        let mut session = self.session.lock().await;
        if session.is_none() && self.global.db.exists() {
            let mut opened = Session::open(self.global, Access::Write, !self.offline).await?;
            if opened.is_here() {
                opened.serve()?;
            }
            *session = Some(opened);
        }
        Ok(())
    }
}

/// The commands that can be typed.
fn commands() -> clap::Command {
    let mut commands = Cli::command();
    commands.build();
    commands
}

fn broken(error: &ReadlineError) -> Failure {
    Failure::new(
        Exit::Negative,
        "terminal",
        format!("the terminal cannot be used: {error}"),
    )
}

fn bad_history(file: &Path, error: &ReadlineError) -> Failure {
    Failure::bad_input(format!(
        "the history file {} cannot be used: {error}",
        file.display()
    ))
}
