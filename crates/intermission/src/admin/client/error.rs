//! Why a call failed, and what to do about it.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio_rustls::rustls;

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
    #[error(
        "cannot reach the gate at {gate}: does it run with this gate.admin_listen, and does its firewall let this machine \
         through?"
    )]
    Unreachable {
        gate: String,
        #[source]
        source: io::Error,
    },
    #[error("the certificate that the gate at {gate} shows is not one to believe")]
    Certificate {
        gate: String,
        #[source]
        source: rustls::Error,
    },
    #[error("whatever listens at {gate} does not speak TLS like a gate")]
    NoTls {
        gate: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "the gate at {gate} does not accept the token: it has another one (gate.admin_token_file there)"
    )]
    Unauthorized { gate: String },
    #[error("the gate at {gate} did not answer within {limit:?}: see its log")]
    TimedOut { gate: String, limit: Duration },
    #[error("the gate at {gate} broke off: did it stop? see its log")]
    Broke {
        gate: String,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("whatever serves {gate} does not speak like a gate of this version")]
    Foreign {
        gate: String,
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
            Self::Unauthorized { .. } => Some(ErrorCode::Unauthorized),
            Self::Connect { .. }
            | Self::Unreachable { .. }
            | Self::Certificate { .. }
            | Self::NoTls { .. }
            | Self::TimedOut { .. }
            | Self::Broke { .. }
            | Self::Foreign { .. }
            | Self::AppName { .. } => None,
        }
    }
}
