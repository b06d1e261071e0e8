//! The certificates and keys of the admin API over TCP, from PEM files. TLS 1.3 only: both ends are this program.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config::gate::AdminTls;

/// A file with every authority of an operating system has a quarter of it.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const CERTIFICATE: &str = "gate.admin_tls.certificate";
const KEY: &str = "gate.admin_tls.key";

/// Why a certificate or a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{key}: cannot read {}", path.display())]
    Unreadable {
        key: String,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{key}: {} is larger than {FILE_BYTES_MAX} bytes: is it the right file?", path.display())]
    TooLarge { key: String, path: PathBuf },
    #[error(
        "{key}: {} has no certificate in it: it must be PEM, with a line -----BEGIN CERTIFICATE-----",
        path.display()
    )]
    NoCertificate { key: String, path: PathBuf },
    #[error(
        "{key}: {} has no private key in it: it must be PEM, with a line -----BEGIN PRIVATE KEY-----, and not encrypted",
        path.display()
    )]
    NoKey { key: String, path: PathBuf },
    #[error(
        "gate.admin_tls: the key {} does not belong to the certificate {}: name the two that were made together",
        key.display(), certificate.display()
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("{key}: {} cannot be used", path.display())]
    Unusable {
        key: String,
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
}

/// What a gate answers connections with.
pub(super) fn acceptor(tls: &AdminTls) -> Result<TlsAcceptor, TlsError> {
    let chain = certificates(CERTIFICATE, &tls.certificate)?;
    let bytes = read(KEY, &tls.key)?;
    let no_key = |_| TlsError::NoKey { key: KEY.to_owned(), path: tls.key.clone() };
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(no_key)?;
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
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, ca_file)? {
        roots.add(certificate).map_err(|source| unusable(key, ca_file, source))?;
    }
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

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(key, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => {
            Err(TlsError::NoCertificate { key: key.to_owned(), path: path.to_owned() })
        }
    }
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable =
        |source| TlsError::Unreadable { key: key.to_owned(), path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(TlsError::TooLarge { key: key.to_owned(), path: path.to_owned() });
    }
    Ok(bytes)
}

fn unusable(key: &str, path: &Path, source: rustls::Error) -> TlsError {
    TlsError::Unusable { key: key.to_owned(), path: path.to_owned(), source }
}
