//! `intermission config check`

use crate::cli::{Exit, Printer};
use crate::config::Config;

#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub(crate) enum Command {
    /// Check the configuration and print what it comes to, defaults included
    Check,
}

pub(crate) fn run(command: Command, config: &Config, printer: &Printer) -> anyhow::Result<Exit> {
    match command {
        Command::Check => printer.bytes(config.print()?.as_bytes()),
    }
    Ok(Exit::Done)
}
