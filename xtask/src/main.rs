//! The project's automation: `cargo xtask COMMAND`. One module per command.

mod fixtures;
mod golden;
mod man;
mod run;
mod tests;
mod vectors;
mod wasm;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The project's automation")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything that CI runs: format, lints, docs, tests, wasm, interop
    Test(tests::Options),
    /// Build firebrick-core for wasm32-unknown-unknown
    Wasm,
    /// Write the manual pages and shell completions
    Man {
        /// The folder to write into
        #[arg(default_value = "target/man")]
        dir: PathBuf,
    },
    /// Check the golden vectors in a folder
    Vectors {
        /// Folder with the vectors' JSON files
        dir: PathBuf,
    },
    /// Check the golden ledger fixtures in a folder
    Fixtures {
        /// Folder with one folder per fixture
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Test(options) => tests::run(&options),
        Command::Wasm => wasm::run(),
        Command::Man { dir } => man::run(&dir),
        Command::Vectors { dir } => vectors::run(&dir),
        Command::Fixtures { dir } => fixtures::run(&dir),
    };
    if let Err(error) = result {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
