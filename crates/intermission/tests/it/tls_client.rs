//! A client of TLS that believes a test's authority.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::certificate::Authority;
use super::harness::soon;

/// What the gate's `[gate]` says besides to speak TLS with these certificates.
pub(crate) fn serving(authority: &Authority, names: &[&str]) -> String {
    let certificate = |name: &&str| {
        let [certificate, key] =
            ["pem", "key"].map(|kind| authority.path(&format!("{name}.{kind}")));
        format!("{{ certificate_file = {certificate:?}, key_file = {key:?} }}")
    };
    let certificates: Vec<_> = names.iter().map(certificate).collect();
    let certificates = certificates.join(", ");
    format!("listen_tls = [\"127.0.0.1:0\"]\ncertificates = [{certificates}]")
}

/// A connection to what is called `name`; an address is asked for by no name.
pub(crate) async fn connect(
    authority: &Authority,
    address: SocketAddr,
    name: &str,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = soon("a connection", TcpStream::connect(address)).await?;
    stream.set_nodelay(true)?;
    handshake(authority, stream, name, protocol).await
}

/// Like `connect`, on a connection that is there.
pub(crate) async fn handshake(
    authority: &Authority,
    stream: TcpStream,
    name: &str,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(first_certificate(&authority.ca_file())).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    soon("a handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

/// The certificate that the other side has shown.
pub(crate) fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

pub(crate) fn first_certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}
