//! `intermission man`

use crate::cli::{self, Exit, Printer};

pub(crate) fn run(printer: &Printer) -> anyhow::Result<Exit> {
    let mut page = Vec::new();
    clap_mangen::Man::new(cli::definition()).render(&mut page)?;
    printer.bytes(&page);
    Ok(Exit::Done)
}
