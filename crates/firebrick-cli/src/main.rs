//! The `firebrick` command.

mod args;
mod bench;
mod commands;
mod demo;
mod failure;
mod ndjson;
mod output;
mod session;
mod shell;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use tracing_subscriber::filter::LevelFilter;

use args::{Cli, Command, LogFormat};
use failure::{Exit, Failure, Result};
use output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(&cli.global);
    log(&cli.command);
    let result = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(run(cli, &output)),
        Err(error) => Err(Failure::new(
            Exit::Negative,
            "runtime",
            format!("cannot start threads: {error}"),
        )),
    };
    let exit = match result.and_then(|exit| output.flush().map(|()| exit)) {
        Ok(exit) => exit,
        // `firebrick list | head` is no mistake.
        Err(failure) if failure.is_output_closed() => Exit::Done,
        Err(failure) => {
            // What was printed so far belongs before the error.
            let _ = output.flush();
            output.failure(&failure);
            failure.exit_code
        }
    };
    ExitCode::from(u8::from(exit))
}

async fn run(cli: Cli, output: &Output) -> Result<Exit> {
    let global = &cli.global;
    match cli.command {
        Command::Put(args) => commands::documents::put(args, global, output).await,
        Command::Get(args) => commands::documents::get(args, global, output).await,
        Command::Del(args) => commands::documents::del(args, global, output).await,
        Command::List(args) => commands::documents::list(args, global, output).await,
        Command::Query(args) => commands::queries::run(args, global, output).await,
        Command::Index(command) => commands::queries::index(command, global, output).await,
        Command::Changes(args) => commands::documents::changes(args, global, output).await,
        Command::History(args) => commands::past::history(args, global, output).await,
        Command::Conflicts(args) => commands::past::conflicts(args, global, output).await,
        Command::Diff(args) => commands::past::diff(args, global, output).await,
        Command::Revert(args) => commands::past::revert(args, global, output).await,
        Command::Log(args) => commands::past::log(args, global, output).await,
        Command::Watch(args) => commands::watch::run(args, global, output).await,
        Command::Import(args) => commands::import::run(args, global, output).await,
        Command::Export(args) => commands::export::run(args, global, output).await,
        Command::Attach(args) => commands::remotes::attach(args, global, output).await,
        Command::Detach(args) => commands::remotes::detach(args, global, output).await,
        Command::Remotes => commands::remotes::list(global, output).await,
        Command::Sync(args) => commands::sync::run(args, global, output).await,
        Command::Status => commands::remotes::status(global, output).await,
        Command::Files(command) => commands::files::run(command, global, output).await,
        Command::Backup(args) => commands::backup::run(args, global, output).await,
        Command::Restore(args) => commands::backup::restore(args, global, output).await,
        Command::Verify => commands::verify::run(false, global, output).await,
        Command::Repair => commands::verify::run(true, global, output).await,
        Command::Stats => commands::stats::run(global, output).await,
        Command::Compact(args) => commands::compact::run(args, global, output).await,
        Command::Keys(command) => commands::keys::run(command, global, output).await,
        Command::Serve(args) => commands::serve::run(*args, output).await,
        Command::Token(command) => commands::token::run(command, output),
        Command::Shell(args) => shell::run(args, global, output).await,
        Command::Demo(args) => demo::run(args, global, output).await,
        Command::Bench(args) => bench::run(args, global, output).await,
        Command::Completions { shell } => commands::manual::completions(shell, output),
        Command::ManPages { folder } => commands::manual::man_pages(&folder, output),
        Command::DemoWorker(args) => demo::worker::run(args, global).await,
    }
}

/// Help and version go to stdout; a mistake goes to stderr, as JSON if that was asked for.
fn usage(error: &clap::Error) -> ExitCode {
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if !is_help && std::env::args_os().any(|argument| argument == "--json") {
        let failure = Failure::usage(error).hint("firebrick --help, firebrick COMMAND --help");
        eprintln!("{}", failure.to_json());
    } else {
        let _ = error.print();
    }
    ExitCode::from(if error.use_stderr() {
        u8::from(Exit::Usage)
    } else {
        u8::from(Exit::Done)
    })
}

/// The library's log goes to stderr when `FIREBRICK_LOG` names a level: error, warn, info, debug. A
/// server has nobody who looks at each answer, so it always logs.
fn log(command: &Command) {
    let level = match command {
        Command::Serve(args) => Some(args.log_level),
        _ => std::env::var("FIREBRICK_LOG")
            .ok()
            .and_then(|text| text.parse::<LevelFilter>().ok()),
    };
    let Some(level) = level else { return };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match command {
        Command::Serve(args) if args.log_format == LogFormat::Json => {
            log.json().with_current_span(false).init();
        }
        _ => log.init(),
    }
}
