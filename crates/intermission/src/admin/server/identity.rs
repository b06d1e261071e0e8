//! What a gate shows and wants to be shown over TCP: certificates, keys and tokens, read again when their files change.
//!
//! A certificate expires, and a gate that users come through is not restarted for that.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::caller::{Admission, Tokens};
use super::tcp::TcpAdminError;
use crate::admin::api::Role;
use crate::admin::identified::Identified;
use crate::admin::tls::acceptor;
use crate::config::gate::{AdminTls, Gate as Settings};
use crate::config::token::TokenError;
use crate::gate::Actor;

pub(super) struct Identity {
    settings: Settings,
    tls: AdminTls,
    pub(super) admission: Arc<Admission>,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    seen: Vec<Option<Stamp>>,
    acceptor: TlsAcceptor,
}

/// A file that was replaced or written has another one.
type Stamp = (SystemTime, u64);

impl Identity {
    /// `None` where the API is not to be served over TCP.
    pub(super) fn load(settings: &Settings) -> Result<Option<Self>, TcpAdminError> {
        let Some(tls) = settings.admin_tls.clone() else { return Ok(None) };
        let settings = settings.clone();
        let seen = stamps(&files(&settings, &tls));
        let acceptor = acceptor(&tls)?;
        let admission = Arc::new(Admission::new(tokens(&settings)?));
        let loaded = Mutex::new(Loaded { seen, acceptor });
        Ok(Some(Self { settings, tls, admission, loaded }))
    }

    /// For the next connection. What cannot be used leaves things as they are: it may be half of a change.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = stamps(&files(&self.settings, &self.tls));
        if seen != loaded.seen {
            loaded.seen = seen;
            match self.read() {
                Ok(acceptor) => {
                    loaded.acceptor = acceptor;
                    tracing::info!("the certificates and the tokens were read again");
                }
                Err(error) => {
                    let source = std::error::Error::source(&error);
                    tracing::error!(%error, source, "going on with the former certificates and tokens");
                }
            }
        }
        loaded.acceptor.clone()
    }

    fn read(&self) -> Result<TlsAcceptor, TcpAdminError> {
        let (acceptor, tokens) = (acceptor(&self.tls)?, tokens(&self.settings)?);
        self.admission.expect(tokens);
        Ok(acceptor)
    }

    /// Whose certificate it is, which the handshake has found to be signed as it must be.
    pub(super) fn certified(
        &self,
        certificate: &CertificateDer<'_>,
        peer: SocketAddr,
    ) -> Identified {
        let names = names(certificate);
        let listed = |list: &[String]| names.iter().find(|name| list.contains(name)).cloned();
        let (name, role) = match (listed(&self.tls.operators), listed(&self.tls.readers)) {
            (Some(name), _) => (Some(name), Some(Role::Operate)),
            (None, Some(name)) => (Some(name), Some(Role::Read)),
            (None, None) => (names.first().cloned(), None),
        };
        let name = name.unwrap_or_else(|| "without a subjectAltName".to_owned());
        Identified { actor: Actor::Certificate { name, peer }, role }
    }
}

fn tokens(settings: &Settings) -> Result<Tokens, TokenError> {
    Ok(Tokens { operate: settings.admin_token()?, read: settings.admin_read_token()? })
}

/// Subject alternative names, DNS in lower case. The subject itself has been out of use for names for years (RFC 9525 2).
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    let dns = certificate.valid_dns_names().map(str::to_ascii_lowercase);
    let all = dns.chain(certificate.valid_uri_names().map(str::to_owned));
    // They are shown in logs.
    all.filter(|name| name.chars().all(|c| c.is_ascii_graphic())).collect()
}

fn files(settings: &Settings, tls: &AdminTls) -> Vec<PathBuf> {
    let Settings { admin_token_file, admin_read_token_file, .. } = settings;
    let perhaps = [admin_token_file, admin_read_token_file, &tls.client_ca_file];
    let perhaps = perhaps.into_iter().flatten().cloned();
    [tls.certificate.clone(), tls.key.clone()].into_iter().chain(perhaps).collect()
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(stamp).collect()
}
