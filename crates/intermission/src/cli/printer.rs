//! stdout is data, stderr is talk. Nothing else in the program writes to either.

use std::fmt;
use std::io::{IsTerminal, Write, stderr, stdout};

#[derive(Debug)]
pub(crate) struct Printer {
    stdout_is_terminal: bool,
}

impl Printer {
    pub(crate) fn new() -> Self {
        Self { stdout_is_terminal: stdout().is_terminal() }
    }

    pub(crate) const fn stdout_is_terminal(&self) -> bool {
        self.stdout_is_terminal
    }

    /// Whoever reads has gone if this fails, and then nobody is left to be told.
    pub(crate) fn data(&self, text: impl fmt::Display) {
        drop(writeln!(stdout(), "{text}"));
    }

    pub(crate) fn bytes(&self, bytes: &[u8]) {
        drop(stdout().write_all(bytes));
    }

    pub(crate) fn talk(&self, text: impl fmt::Display) {
        drop(writeln!(stderr(), "{text}"));
    }
}
