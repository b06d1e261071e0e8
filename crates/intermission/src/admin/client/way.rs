//! How a gate is reached: by its socket, or by TCP with TLS and a token or a certificate.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::header::InvalidHeaderValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio_rustls::rustls::{self};

use super::ClientError;
use crate::admin::keep_alive::watch_over;
use crate::admin::tls::connector;
use crate::config::cluster::{GateAddress, RemoteGate};
use crate::config::pem::PemError;
use crate::config::secret::Secret;
use crate::config::token::TokenError;

/// Name, connection and TLS handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A machine that has acknowledged nothing for this long is gone: a hold is given up well before its drain is over, and one
/// lost packet (Linux sends it again after 0.2, 0.6 and 1.4 s) ends nothing.
const VANISHED_AFTER: Duration = Duration::from_secs(2);

/// Why a remote gate's settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error(transparent)]
    Tls(#[from] PemError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(
        "{key}: {name:?} is no name that a certificate can be made out to; write name = \"gate1.internal\""
    )]
    Name {
        key: String,
        name: String,
        #[source]
        source: InvalidDnsNameError,
    },
    #[error("{key}.token: is no header's value")]
    Header { key: String, source: InvalidHeaderValue },
}

/// Where a client's connections lead.
#[derive(Debug)]
pub(super) enum Way {
    Socket(PathBuf),
    Remote(Box<Remote>),
}

/// A gate on another machine.
pub(super) struct Remote {
    address: GateAddress,
    name: ServerName<'static>,
    connector: TlsConnector,
    /// None where a certificate has to do.
    authorization: Option<HeaderValue>,
}

/// A connection of either kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Way {
    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        match self {
            Self::Socket(path) => {
                let connected = UnixStream::connect(path).await;
                let unreachable = |source| ClientError::Connect { socket: path.clone(), source };
                Ok(Box::new(connected.map_err(unreachable)?))
            }
            Self::Remote(remote) => match timeout(CONNECT_TIMEOUT, remote.connect()).await {
                Ok(connected) => connected,
                Err(_) => {
                    let gate = remote.address.to_string();
                    let late = format!("no connection within {CONNECT_TIMEOUT:?}");
                    let source = io::Error::new(io::ErrorKind::TimedOut, late);
                    Err(ClientError::Unreachable { gate, source })
                }
            },
        }
    }

    /// What a call has to show.
    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        match self {
            Self::Socket(_) => None,
            Self::Remote(remote) => remote.authorization.as_ref(),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Remote(remote) => write!(f, "{}", remote.address),
        }
    }
}

impl Remote {
    /// Reads the token or the certificate, and who vouches for the gate. `key` names the gate in errors.
    pub(super) fn new(gate: &RemoteGate, key: &str) -> Result<Self, RemoteError> {
        let name = gate.name.as_ref().unwrap_or(&gate.address.host).clone();
        let no_name =
            |source| RemoteError::Name { key: key.to_owned(), name: name.clone(), source };
        let server = ServerName::try_from(name.clone()).map_err(no_name)?;
        let connector = connector(key, gate)?;
        let value = |token: Secret| HeaderValue::try_from(format!("Bearer {}", token.reveal()));
        let mut authorization = gate
            .token(key)?
            .map(value)
            .transpose()
            .map_err(|source| RemoteError::Header { key: key.to_owned(), source })?;
        // Its `Debug` shows nothing then.
        authorization.iter_mut().for_each(|value| value.set_sensitive(true));
        Ok(Self { address: gate.address.clone(), name: server, connector, authorization })
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        let GateAddress { host, port } = &self.address;
        let unreachable =
            |source| ClientError::Unreachable { gate: self.address.to_string(), source };
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
        watch_over(&stream, VANISHED_AFTER).map_err(unreachable)?;
        let connected = self.connector.connect(self.name.clone(), stream).await;
        Ok(Box::new(connected.map_err(|error| self.no_handshake(error))?))
    }

    fn no_handshake(&self, error: io::Error) -> ClientError {
        let gate = self.address.to_string();
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(
                rejected @ (rustls::Error::InvalidCertificate(_)
                | rustls::Error::NoCertificatesPresented
                | rustls::Error::UnsupportedNameType),
            ) => ClientError::Certificate { gate, source: rejected.clone() },
            Some(_) => ClientError::NoTls { gate, source: error },
            None => ClientError::Unreachable { gate, source: error },
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("address", &self.address).finish_non_exhaustive()
    }
}
