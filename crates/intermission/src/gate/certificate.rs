//! The certificates that clients are shown: chosen by the name they ask for, and read again when
//! their files change. A certificate expires, and a gate that users come through is not restarted
//! for that.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ServerConfig};
use webpki::EndEntityCert;

use crate::config::gate::Certificate;
use crate::config::pem::{self, PairFiles, PemError};
use crate::shutdown::Shutdown;

/// What is spoken after the handshake, the better one first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];
pub(crate) const HTTP2: &[u8] = b"h2";
/// How often the files are looked at. What has changed is read when it was the same twice: a
/// certificate and its key are not replaced in the same moment.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const TABLE: &str = "gate.certificates";
const CERTIFICATE: &str = "certificate_file";
const KEY: &str = "key_file";

/// Why clients cannot be shown a certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// Certificates in use, and what their files looked like when they were read.
#[derive(Debug)]
pub(crate) struct Certificates {
    provider: Arc<CryptoProvider>,
    each: Vec<Watched>,
    shown: Arc<Shown>,
}

/// Whoever watches the files, in a task of its own. Dropped: it ends.
#[derive(Debug)]
pub(crate) struct Watcher(mpsc::Sender<Vec<Watched>>);

/// What a handshake chooses from. The lock is held to take or put a pointer.
#[derive(Debug)]
struct Shown(Mutex<Arc<Choice>>);

#[derive(Debug)]
struct Choice {
    /// By name in lower case, also `*.example.com`.
    names: HashMap<String, Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
}

#[derive(Debug)]
struct Watched {
    files: Certificate,
    /// As they were when they were read last, successfully or not.
    read: Stamps,
    /// As they were at the last look.
    seen: Stamps,
    pair: Pair,
}

#[derive(Debug, Clone)]
struct Pair {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
}

/// A file that was replaced or written has another one: when, how long, and which file.
type Stamp = (SystemTime, u64, u64);
type Stamps = [Option<Stamp>; 2];

impl Certificates {
    /// # Errors
    /// [`CertificateError`] names the file, or both.
    pub(crate) fn load(certificates: &[Certificate]) -> Result<Self, CertificateError> {
        let provider = Arc::new(ring::default_provider());
        let mut each = Vec::new();
        for files in certificates {
            let stamps = stamps(files);
            let pair = Pair::read(files, &provider)?;
            each.push(Watched { files: files.clone(), read: stamps, seen: stamps, pair });
        }
        let shown = Arc::new(Shown(Mutex::new(Arc::new(Choice::of(&each)))));
        Ok(Self { provider, each, shown })
    }

    /// What connections are accepted with, by all workers. Clients that come back are known again by
    /// tickets, for which nothing is kept here.
    ///
    /// # Errors
    /// The operating system gives no random numbers.
    pub(crate) fn server_config(&self) -> Result<Arc<ServerConfig>, CertificateError> {
        let shown: Arc<dyn ResolvesServerCert> = Arc::<Shown>::clone(&self.shown);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(CertificateError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(shown);
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        config.ticketer = ring::Ticketer::new().map_err(CertificateError::Tls)?;
        Ok(Arc::new(config))
    }

    /// Reads what changes, until the gate stops.
    pub(crate) fn watch(self, shutdown: &Shutdown) -> Watcher {
        let (replace, replaced) = mpsc::channel(1);
        drop(shutdown.spawn(self.follow(replaced, shutdown.clone())));
        Watcher(replace)
    }

    async fn follow(mut self, mut replaced: mpsc::Receiver<Vec<Watched>>, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.ending() => return,
                each = replaced.recv() => match each {
                    Some(each) => {
                        self.each = each;
                        self.show();
                        continue;
                    }
                    None => return,
                },
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            // A disk that does not answer keeps nobody else waiting.
            let looked = shutdown.spawn_blocking(move || {
                self.look();
                self
            });
            let Ok(looked) = looked.await else { return };
            self = looked;
        }
    }

    fn look(&mut self) {
        let mut changed = false;
        for watched in &mut self.each {
            changed |= watched.look(&self.provider);
        }
        if changed {
            self.show();
        }
    }

    fn show(&self) {
        let choice = Arc::new(Choice::of(&self.each));
        *self.shown.0.lock().unwrap_or_else(PoisonError::into_inner) = choice;
    }
}

impl Watcher {
    /// From now on it watches, and clients are shown, what is configured now.
    pub(crate) async fn replace(&self, certificates: Certificates) {
        // An error says that the gate stops.
        drop(self.0.send(certificates.each).await);
    }
}

impl Watched {
    /// Whether there is another certificate. What cannot be used leaves things as they are.
    fn look(&mut self, provider: &CryptoProvider) -> bool {
        let now = stamps(&self.files);
        let settled = now == self.seen;
        self.seen = now;
        if !settled || now == self.read {
            return false;
        }
        self.read = now;
        match Pair::read(&self.files, provider) {
            Ok(pair) => {
                self.pair = pair;
                let file = self.files.certificate_file.display();
                tracing::info!(%file, "the certificate was read again");
                true
            }
            Err(error) => {
                let source = std::error::Error::source(&error);
                tracing::error!(%error, source, "going on with the former certificate");
                false
            }
        }
    }
}

impl Pair {
    fn read(files: &Certificate, provider: &CryptoProvider) -> Result<Self, PemError> {
        let Certificate { certificate_file, key_file } = files;
        let certificate = (CERTIFICATE, certificate_file.as_path());
        let files = PairFiles { table: TABLE, certificate, key: (KEY, key_file) };
        let pair = pem::pair(files, provider)?;
        let names = pair.end_entity_cert().and_then(|certificate| {
            names(certificate).map_err(|error| {
                let error = rustls::OtherError(Arc::new(error));
                rustls::CertificateError::Other(error).into()
            })
        });
        let names = names.map_err(|source| {
            let key = format!("{TABLE}.{CERTIFICATE}");
            PemError::Unusable { key, path: certificate_file.clone(), source }
        })?;
        Ok(Self { key: Arc::new(pair), names })
    }
}

/// The names a certificate is made out to, in lower case. Only those of its extension: clients have
/// not looked at the subject for years (RFC 9525 2).
fn names(
    certificate: &rustls::pki_types::CertificateDer<'_>,
) -> Result<Vec<String>, webpki::Error> {
    let certificate = EndEntityCert::try_from(certificate)?;
    Ok(certificate.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

impl Choice {
    /// Where two certificates have the same name, the first one is shown.
    fn of(each: &[Watched]) -> Self {
        let mut names = HashMap::new();
        for watched in each {
            for name in &watched.pair.names {
                names.entry(name.clone()).or_insert_with(|| Arc::clone(&watched.pair.key));
            }
        }
        let default = each.first().map(|watched| Arc::clone(&watched.pair.key));
        Self { names, default }
    }

    /// An exact name before a wildcard, which stands for the first label only.
    fn find(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let known = name.and_then(|name| {
            self.names.get(name).or_else(|| {
                let (_first, rest) = name.split_once('.')?;
                self.names.get(&format!("*.{rest}"))
            })
        });
        known.or(self.default.as_ref())
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let choice = Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        // rustls gives it in lower case.
        choice.find(hello.server_name()).cloned()
    }
}

fn stamps(files: &Certificate) -> Stamps {
    let stamp = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    };
    [stamp(&files.certificate_file), stamp(&files.key_file)]
}
