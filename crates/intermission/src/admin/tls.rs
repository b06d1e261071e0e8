//! The certificates and keys of the admin API over TCP. TLS 1.3 only: both ends are this program.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config::gate::AdminTls;
use crate::config::pem::{self, PairFiles, PemError};

const TABLE: &str = "gate.admin_tls";

/// What a gate answers connections with.
pub(super) fn acceptor(tls: &AdminTls) -> Result<TlsAcceptor, PemError> {
    let certificate = ("certificate", tls.certificate.as_path());
    let files = PairFiles { table: TABLE, certificate, key: ("key", &tls.key) };
    let provider = provider();
    let pair = pem::pair(files, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| unusable(TABLE, &tls.certificate, source))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    // Connections are kept, so nobody comes back for these.
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What a client connects with that believes whom `ca_file` vouches for, and nobody else. `key` names the file in errors.
pub(super) fn connector(key: &str, ca_file: &Path) -> Result<TlsConnector, PemError> {
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

fn unusable(key: &str, path: &Path, source: rustls::Error) -> PemError {
    PemError::Unusable { key: key.to_owned(), path: path.to_owned(), source }
}
