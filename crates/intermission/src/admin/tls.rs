//! The certificates and keys of the admin API over TCP. TLS 1.3 only: both ends are this program.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config::cluster::RemoteGate;
use crate::config::gate::AdminTls;
use crate::config::pem::{self, PairFiles, PemError};

const TABLE: &str = "gate.admin_tls";

/// What a gate answers connections with.
pub(super) fn acceptor(tls: &AdminTls) -> Result<TlsAcceptor, PemError> {
    let certificate = ("certificate", tls.certificate.as_path());
    let files = PairFiles { table: TABLE, certificate, key: ("key", &tls.key) };
    let provider = provider();
    let pair = pem::pair(files, &provider)?;
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| unusable(TABLE, &tls.certificate, source))?;
    let config = match &tls.client_ca_file {
        None => config.with_no_client_auth(),
        Some(file) => config.with_client_cert_verifier(clients(file, provider)?),
    };
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    // Connections are kept, so nobody comes back for these.
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Whoever has no certificate is not refused in the handshake: a token would do, and an answer says more than an alert.
fn clients(
    ca_file: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, PemError> {
    let key = format!("{TABLE}.client_ca_file");
    let roots = pem::authorities(&key, ca_file, pem::certificates(&key, ca_file)?)?;
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|error| {
            let error = rustls::OtherError(Arc::new(error));
            unusable(&key, ca_file, rustls::Error::Other(error))
        })
}

/// What a client connects with that believes whom `gate.ca_file` vouches for, and nobody else. `key` names the gate in errors.
pub(super) fn connector(key: &str, gate: &RemoteGate) -> Result<TlsConnector, PemError> {
    let (ca_key, ca_file) = (format!("{key}.ca_file"), gate.ca_file.as_path());
    let roots = pem::authorities(&ca_key, ca_file, pem::certificates(&ca_key, ca_file)?)?;
    let provider = provider();
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| unusable(&ca_key, ca_file, source))?
        .with_root_certificates(roots);
    let mut config = match (&gate.certificate, &gate.key) {
        (Some(certificate), Some(private)) => {
            let certificate = ("certificate", certificate.as_path());
            let files = PairFiles { table: key, certificate, key: ("key", private) };
            let pair = SingleCertAndKey::from(pem::pair(files, &provider)?);
            config.with_client_cert_resolver(Arc::new(pair))
        }
        (Some(_), None) | (None, Some(_)) | (None, None) => config.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn unusable(key: &str, path: &Path, source: rustls::Error) -> PemError {
    PemError::Unusable { key: key.to_owned(), path: path.to_owned(), source }
}
