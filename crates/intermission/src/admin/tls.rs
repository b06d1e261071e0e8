//! The certificates and keys of the admin API over TCP. TLS 1.3 only: both ends are this program.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config::gate::AdminTls;
use crate::config::pem::{self, PemError};

const CERTIFICATE: &str = "gate.admin_tls.certificate";
const KEY: &str = "gate.admin_tls.key";

/// Why a certificate or a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error(
        "gate.admin_tls: the key {} does not belong to the certificate {}: name the two that were made together",
        key.display(), certificate.display()
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
}

/// What a gate answers connections with.
pub(super) fn acceptor(tls: &AdminTls) -> Result<TlsAcceptor, TlsError> {
    let chain = pem::certificates(CERTIFICATE, &tls.certificate)?;
    let key = pem::private_key(KEY, &tls.key)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| unusable(CERTIFICATE, &tls.certificate, source))?
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let mut config = config.map_err(|source| {
        if matches!(source, rustls::Error::InconsistentKeys(_)) {
            let (certificate, key) = (tls.certificate.clone(), tls.key.clone());
            return TlsError::Mismatch { certificate, key };
        }
        if matches!(source, rustls::Error::InvalidCertificate(_)) {
            return unusable(CERTIFICATE, &tls.certificate, source);
        }
        unusable(KEY, &tls.key, source)
    })?;
    // Connections are kept, so nobody comes back for these.
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What a client connects with that believes whom `ca_file` vouches for, and nobody else. `key` names the file in errors.
pub(super) fn connector(key: &str, ca_file: &Path) -> Result<TlsConnector, TlsError> {
    let roots = pem::authorities(key, ca_file, pem::certificates(key, ca_file)?)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| unusable(key, ca_file, source))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn unusable(key: &str, path: &Path, source: rustls::Error) -> TlsError {
    PemError::Unusable { key: key.to_owned(), path: path.to_owned(), source }.into()
}
