//! Why a call failed, and what to do about it.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::admin::api::{ErrorBody, ErrorCode};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "cannot reach the gate at {}: is `intermission serve` running, with this gate.admin_socket \
         and for this user?", socket.display()
    )]
    Connect {
        socket: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the gate at {} did not answer within {limit:?}: see its log", socket.display())]
    TimedOut { socket: PathBuf, limit: Duration },
    #[error("the gate at {} broke off: did it stop? see its log", socket.display())]
    Broke {
        socket: PathBuf,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("whatever serves {} does not speak like a gate of this version", socket.display())]
    Foreign {
        socket: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{app:?} is no name of an app; see `intermission status`")]
    AppName { app: String },
    /// The gate understood, and said no; nothing was changed unless the code says otherwise.
    #[error("{}", .0.message)]
    Refused(Box<ErrorBody>),
}

impl ClientError {
    /// What the gate refused with, if it answered at all.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(body) => Some(body.code),
            Self::Connect { .. }
            | Self::TimedOut { .. }
            | Self::Broke { .. }
            | Self::Foreign { .. }
            | Self::AppName { .. } => None,
        }
    }
}
