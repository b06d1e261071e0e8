//! Why a call failed, and what to do about it.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio_rustls::rustls::{self, AlertDescription};

use crate::admin::api::{ErrorBody, ErrorCode, Role};

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
    /// 401
    #[error(
        "the gate at {gate} does not know whoever calls: it has another token (gate.admin_token_file there), or asks for no \
         certificates (gate.admin_tls.client_ca_file)"
    )]
    Unauthorized { gate: String },
    /// The gate ended the connection because of what this program showed.
    #[error(
        "the gate at {gate} does not accept this program's certificate: it must be signed with gate.admin_tls.client_ca_file \
         there, and be in force"
    )]
    OwnCertificate {
        gate: String,
        #[source]
        source: rustls::Error,
    },
    /// 403
    #[error("the gate at {gate} refuses: {message}; {}", mend_of(*needs))]
    Forbidden { gate: String, message: String, needs: Option<Role> },
    /// 429
    #[error(
        "the gate at {gate} accepts no token from this machine's address for {retry_after_s} s: too many wrong ones came from \
         there (see the gate's log); correct whoever sends them, and try again"
    )]
    TooManyFailures { gate: String, retry_after_s: u64 },
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
            Self::Forbidden { .. } => Some(ErrorCode::Forbidden),
            Self::TooManyFailures { .. } => Some(ErrorCode::TooManyFailures),
            Self::Connect { .. }
            | Self::Unreachable { .. }
            | Self::Certificate { .. }
            | Self::OwnCertificate { .. }
            | Self::NoTls { .. }
            | Self::TimedOut { .. }
            | Self::Broke { .. }
            | Self::Foreign { .. }
            | Self::AppName { .. } => None,
        }
    }
}

const fn mend_of(needs: Option<Role>) -> &'static str {
    match needs {
        Some(Role::Operate) | None => {
            "use the token of gate.admin_token_file, or a certificate that gate.admin_tls.operators names"
        }
        Some(Role::Read) => {
            "let gate.admin_tls.readers or operators there name what the certificate is made out to"
        }
    }
}

/// What the gate said of this program's certificate, if that is why a connection ended. TLS 1.3 tells it after the handshake.
pub(super) fn alert_about_certificate(error: &(dyn Error + 'static)) -> Option<rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = io.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(alert) = inner.or_else(|| error.downcast_ref()) {
            return is_about_certificate(alert).then(|| alert.clone());
        }
        cause = error.source();
    }
    None
}

fn is_about_certificate(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError
                | AlertDescription::CertificateRequired
        )
    )
}
