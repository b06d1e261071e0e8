//! `intermission completions SHELL`

use clap_complete::Shell;

use crate::cli::{self, Exit, Printer};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    shell: Shell,
}

pub(crate) fn run(args: &Args, printer: &Printer) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::definition(), "intermission", &mut script);
    printer.bytes(&script);
    Exit::Done
}
