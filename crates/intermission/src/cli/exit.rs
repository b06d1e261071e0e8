//! What an exit code says; the contract of `--help`.

use std::process::ExitCode;

use crate::admin::api::ErrorCode;
use crate::admin::client::ClientError;
use crate::swap::journal::JournalError;
use crate::swap::run::RunError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    /// Refused or rolled back; nothing changed.
    Refused,
    /// Usage, configuration, or something this program depends on is not there.
    Usage,
    NeedsOperator,
    /// That of the command that ran while held.
    Passed(u8),
}

impl Exit {
    /// A gate that said no, or anything else that went wrong.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if let Some(RunError::Journal(JournalError::Locked { .. })) = error.downcast_ref() {
            return Self::Refused;
        }
        match error.downcast_ref::<ClientError>().and_then(ClientError::code) {
            None
            | Some(
                ErrorCode::UnknownApp
                | ErrorCode::BadRequest
                | ErrorCode::Unauthorized
                | ErrorCode::Forbidden
                | ErrorCode::TooManyFailures,
            ) => Self::Usage,
            Some(_) => Self::Refused,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Refused => Self::from(1),
            Exit::Usage => Self::from(2),
            Exit::NeedsOperator => Self::from(3),
            Exit::Passed(code) => Self::from(code),
        }
    }
}
