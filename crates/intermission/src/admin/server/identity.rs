//! What a gate shows and wants to be shown over TCP: certificate, key and token, read again when their files change.
//!
//! A certificate expires, and a gate that users come through is not restarted for that.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio_rustls::TlsAcceptor;

use super::caller::Admission;
use super::tcp::TcpAdminError;
use crate::admin::tls::acceptor;
use crate::config::gate::{AdminTls, Gate as Settings};

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
        let admission = Arc::new(Admission::new(settings.admin_token()?));
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
                    tracing::info!("the certificate and the token were read again");
                }
                Err(error) => {
                    let source = std::error::Error::source(&error);
                    tracing::error!(%error, source, "going on with the former certificate and token");
                }
            }
        }
        loaded.acceptor.clone()
    }

    fn read(&self) -> Result<TlsAcceptor, TcpAdminError> {
        let acceptor = acceptor(&self.tls)?;
        self.admission.expect(self.settings.admin_token()?);
        Ok(acceptor)
    }
}

fn files(settings: &Settings, tls: &AdminTls) -> Vec<PathBuf> {
    let token = settings.admin_token_file.clone();
    [tls.certificate.clone(), tls.key.clone()].into_iter().chain(token).collect()
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(stamp).collect()
}
