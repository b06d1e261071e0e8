//! What a person is asked before servers are changed.

use std::io::{BufRead, IsTerminal};

use crate::cli::Printer;

/// # Errors
/// Nobody is there to ask, and the command does not say that nobody need be.
pub(super) fn can_be(yes: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        yes || std::io::stdin().is_terminal(),
        "nobody is there to confirm: use --yes, or --dry-run to see what would be done"
    );
    Ok(())
}

pub(super) fn by_yes(printer: &Printer) -> bool {
    by_typing("type yes to go on:", &["yes"], printer)
}

/// Whether the line typed in answer is one of `accepted`.
pub(super) fn by_typing(question: &str, accepted: &[&str], printer: &Printer) -> bool {
    printer.talk(question);
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).is_ok() && accepted.contains(&answer.trim())
}
