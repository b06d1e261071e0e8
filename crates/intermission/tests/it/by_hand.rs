//! A caller of the admin API over TCP that says whatever a test wants.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::certificate::Authority;
use super::harness::soon;

/// A certificate and its key.
pub(crate) fn pair(authority: &Authority, name: &str) -> [PathBuf; 2] {
    ["pem", "key"].map(|end| authority.path(&format!("{name}.{end}")))
}

#[derive(Clone, Copy)]
pub(crate) struct By<'a> {
    pub(crate) authority: &'a Authority,
    pub(crate) address: SocketAddr,
    /// Its own address.
    pub(crate) from: Ipv4Addr,
    /// The name of the certificate's files.
    pub(crate) certificate: Option<&'a str>,
}

impl<'a> By<'a> {
    /// From the usual address, and without a certificate.
    pub(crate) fn nobody(authority: &'a Authority, address: SocketAddr) -> Self {
        Self { authority, address, from: Ipv4Addr::LOCALHOST, certificate: None }
    }

    pub(crate) async fn connect(self) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.authority.ca_file()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match self.certificate {
            None => config.with_no_client_auth(),
            Some(name) => {
                let [certificate, key] = pair(self.authority, name);
                let certificate = CertificateDer::from_pem_file(certificate).unwrap();
                let key = PrivateKeyDer::from_pem_file(key).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((self.from, 0).into()).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Everything that is answered until the gate closes.
    pub(crate) async fn ask(self, request: &str) -> String {
        let mut stream = self.connect().await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        drop(soon("an answer and its end", stream.read_to_end(&mut answer)).await);
        String::from_utf8(answer).unwrap()
    }

    /// One call, by its status and its body.
    pub(crate) async fn call(self, token: Option<&str>, line: &str, body: &str) -> (u16, String) {
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n"));
        let (token, length) = (token.unwrap_or_default(), body.len());
        let request = format!(
            "{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{token}content-length: {length}\r\n\r\n{body}"
        );
        let answer = self.ask(&request).await;
        let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}"));
        (status.parse().unwrap(), answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }
}
