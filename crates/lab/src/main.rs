//! The lab's command line.

use std::process::ExitCode;

use clap::Parser;

mod command;

fn main() -> ExitCode {
    match command::Command::parse().run() {
        Ok(code) => code,
        Err(error) => {
            command::complain(&error);
            ExitCode::from(command::EXIT_USAGE)
        }
    }
}
