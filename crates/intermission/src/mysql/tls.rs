//! How our own connections are encrypted, and what is remembered of a server that offers no TLS.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use mysql_async::{Conn, DriverError, Error, IoError, Opts, OptsBuilder, SslOpts, TlsError};
use tokio_rustls::rustls::{self, CertificateError, pki_types::CertificateDer};

use super::{
    server::MySqlServer,
    session::{Login, code, words},
};
use crate::{
    config::{
        cluster::TlsMode,
        pem::{self, PemError},
    },
    swap::condition::ChannelTls,
};

/// The name asked for where none matters. The client library passes over a wrong name only in an error with this word in its
/// text, which lost the word when the text became one for people; the name that was asked for is in it (mysql_async issue
/// 404, seen in 0.37.1). The signature is looked at before the name: an error about it has no name in it, and refuses.
const ANY_NAME: &str = "NotValidForName";
/// How the TLS library's error calls a certificate of an X.509 version it does not know: `openssl x509 -req` without extensions
/// makes such ones, and servers and their own clients take them (measured).
const VERSION_1: &str = "UnsupportedCertVersion";
/// Access denied: the wrong password, an account that REQUIREs TLS, or on MariaDB 10.11 a server that does (measured).
const ACCESS_DENIED: u16 = 1045;

/// What is configured for a server's connections.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    mode: TlsMode,
    authorities: Option<Authorities>,
}

/// Whom the servers' certificates have to be signed by.
#[derive(Clone)]
struct Authorities {
    file: PathBuf,
    certificates: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authorities").field(&self.file).finish()
    }
}

impl Tls {
    /// `ca_file` is read only where the mode looks into it; `ca_key` names it in errors.
    ///
    /// # Errors
    /// [`PemError`] names the key and the file.
    pub fn new(mode: TlsMode, ca_key: &str, ca_file: Option<&Path>) -> Result<Self, PemError> {
        let Some(file) = ca_file.filter(|_| mode.verifies()) else {
            return Ok(Self { mode, authorities: None });
        };
        let certificates = pem::certificates(ca_key, file)?;
        pem::authorities(ca_key, file, certificates.clone())?;
        Ok(Self { mode, authorities: Some(Authorities { file: file.to_owned(), certificates }) })
    }

    /// For a login that replication will make by its channel's settings; none where there is no channel. It may be in clear
    /// text or encrypted where ours is not, but a mode that refuses clear text or verifies somebody is not loosened for it.
    fn as_replication(&self, channel: Option<&ChannelTls>) -> Self {
        let mode = match (self.mode, channel) {
            (TlsMode::Disabled | TlsMode::Preferred, Some(ChannelTls { on: false, .. })) => {
                TlsMode::Disabled
            }
            (TlsMode::Disabled | TlsMode::Preferred, _) => TlsMode::Preferred,
            (strict @ (TlsMode::Required | TlsMode::VerifyCa | TlsMode::VerifyIdentity), _) => {
                strict
            }
        };
        Self { mode, authorities: self.authorities.clone() }
    }

    fn options(&self) -> Option<SslOpts> {
        let authorities = self.authorities.iter().flat_map(|known| &known.certificates);
        let authorities = authorities.map(|certificate| certificate.to_vec().into()).collect();
        let options = SslOpts::default();
        match self.mode {
            TlsMode::Disabled => None,
            // A host that cannot be a name in a certificate (`fe80::1%eth0`) is fine as well.
            TlsMode::Preferred | TlsMode::Required => Some(
                options
                    .with_danger_accept_invalid_certs(true)
                    .with_danger_tls_hostname_override(Some(ANY_NAME)),
            ),
            TlsMode::VerifyCa => Some(
                options
                    .with_disable_built_in_roots(true)
                    .with_root_certs(authorities)
                    .with_danger_skip_domain_validation(true)
                    .with_danger_tls_hostname_override(Some(ANY_NAME)),
            ),
            TlsMode::VerifyIdentity => {
                Some(options.with_disable_built_in_roots(true).with_root_certs(authorities))
            }
        }
    }
}

/// The same, at work.
#[derive(Clone)]
pub(super) struct Encryption {
    tls: Tls,
    /// Without an address or an account. What is kept in here is made at the first login: the certificates are looked
    /// through once, and a server that knows us from the login before has less to compute.
    encrypted: Option<Opts>,
    /// The server said that it offers no TLS; known to all who log in there, so that they need not ask again.
    lacking: Arc<AtomicBool>,
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryption")
            .field("tls", &self.tls)
            .field("lacking", &self.lacking)
            .finish_non_exhaustive()
    }
}

impl Encryption {
    pub(super) fn new(tls: Tls) -> Self {
        let options = tls.options();
        let encrypted = options.map(|options| OptsBuilder::default().ssl_opts(options).into());
        Self { tls, encrypted, lacking: Arc::default() }
    }

    /// The same server, as [`Tls::as_replication`].
    pub(super) fn as_replication(&self, channel: Option<&ChannelTls>) -> Self {
        let tls = self.tls.as_replication(channel);
        Self { lacking: Arc::clone(&self.lacking), ..Self::new(tls) }
    }

    /// The same server, whose certificate has to be made out to `name`.
    fn called(&self, name: &str) -> Self {
        let options = self.tls.options();
        let options =
            options.map(|options| options.with_danger_tls_hostname_override(Some(name.to_owned())));
        let encrypted = options.map(|options| OptsBuilder::default().ssl_opts(options).into());
        Self { encrypted, ..self.clone() }
    }

    /// For another way to the same server; none where the certificate's name would have to be another.
    pub(super) fn resumable(&self) -> Option<Self> {
        (self.tls.mode != TlsMode::VerifyIdentity).then(|| self.clone())
    }

    /// Whether our sessions are in clear text because the server offers nothing else.
    pub(super) fn fell_back(&self) -> bool {
        self.tls.mode == TlsMode::Preferred && self.lacking.load(Ordering::Relaxed)
    }

    fn is_clear_text(&self) -> bool {
        self.encrypted.is_none() || self.fell_back()
    }

    /// Logs in with the options that `login` adds.
    pub(super) async fn connect(
        &self,
        login: impl Fn(OptsBuilder) -> OptsBuilder,
    ) -> Result<Conn, Error> {
        let in_clear_text = || Conn::new(login(OptsBuilder::default()));
        let Some(options) = &self.encrypted else { return in_clear_text().await };
        let encrypted = || Conn::new(login(OptsBuilder::from_opts(options.clone())));
        if !self.fell_back() {
            return match encrypted().await {
                Err(error) if offers_none(&error) && self.tls.mode == TlsMode::Preferred => {
                    self.lacking.store(true, Ordering::Relaxed);
                    in_clear_text().await
                }
                answer => answer,
            };
        }
        match in_clear_text().await {
            // It may have been given TLS meanwhile, or another server answers here now.
            Err(refused @ Error::Server(_)) => match encrypted().await {
                Err(error) if offers_none(&error) => Err(refused),
                answer => {
                    self.lacking.store(false, Ordering::Relaxed);
                    answer
                }
            },
            answer => answer,
        }
    }

    /// Why a login failed, and what mends it where TLS has to do with that.
    pub(super) fn words(&self, error: &Error) -> String {
        let mode = self.tls.mode.word();
        if offers_none(error) {
            return format!(
                "it offers no TLS, and tls = {mode:?} asks for it: give it ssl_cert and ssl_key, or write \
                 tls = \"preferred\""
            );
        }
        if let Some(error) = handshake(error) {
            return self.words_of_handshake(error);
        }
        let said = words(error);
        if code(error) != Some(ACCESS_DENIED) || !self.is_clear_text() {
            return said;
        }
        let why = if self.fell_back() { "it offers no TLS" } else { "tls = \"disabled\"" };
        format!("{said} (in clear text, for {why}: who requires TLS refuses like this)")
    }

    fn words_of_handshake(&self, error: &rustls::Error) -> String {
        let mode = self.tls.mode.word();
        let in_clear_text = "tls = \"disabled\" does without TLS, in clear text";
        match (&self.tls.authorities, error) {
            (_, error) if error.to_string().contains(VERSION_1) => format!(
                "its certificate is an X.509 certificate of version 1, and version 3 is needed: sign it again with an \
                 extension, such as subjectAltName; {in_clear_text}"
            ),
            (Some(known), rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                let file = known.file.display();
                format!("its certificate is not signed by any of {file}, as tls = {mode:?} asks")
            }
            (Some(_), error) => format!("{error} (tls = {mode:?})"),
            (None, error) => format!("TLS: {error}; {in_clear_text}"),
        }
    }
}

impl MySqlServer {
    /// Why nobody would believe it at the clients' address. The canary comes by that one after the commit point.
    pub(super) async fn try_clients_host(&self) -> Option<String> {
        let encryption = self.login.encryption.called(self.clients_host.as_ref()?);
        let login = Login { encryption, ..self.login.clone() };
        login.connect().await.err().map(|error| error.reason)
    }
}

fn offers_none(error: &Error) -> bool {
    matches!(error, Error::Driver(DriverError::NoClientSslFlagFromServer))
}

/// What failed in the handshake, where that is what failed.
fn handshake(error: &Error) -> Option<&rustls::Error> {
    match error {
        Error::Io(IoError::Tls(TlsError::Tls(error))) => Some(error),
        Error::Io(IoError::Io(error)) => error.get_ref()?.downcast_ref(),
        Error::Io(IoError::Tls(_))
        | Error::Driver(_)
        | Error::Server(_)
        | Error::Url(_)
        | Error::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{ANY_NAME, Tls};
    use crate::{config::cluster::TlsMode, swap::condition::ChannelTls};

    const KEY: &str = "cluster.tls_ca_file";

    fn read(text: &str) -> Result<Tls, (String, String)> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("writes");
        let path = file.path().display().to_string();
        Tls::new(TlsMode::VerifyCa, KEY, Some(file.path()))
            .map_err(|error| (error.to_string(), path))
    }

    #[test]
    fn what_is_wrong_with_the_file_is_told() {
        let missing = Tls::new(TlsMode::VerifyCa, KEY, Some("/nonexistent/ca.pem".as_ref()));
        let missing = missing.expect_err("missing").to_string();
        assert_eq!(missing, format!("{KEY}: cannot read /nonexistent/ca.pem"));
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (text, why) in [
            ("", "has no certificate in it: it must be PEM"),
            ("not PEM\n", "has no certificate in it: it must be PEM"),
            (&garbage.replace("AAAA", "%%%%"), "has no certificate in it: it must be PEM"),
            (garbage, "cannot be used"),
            (&"x".repeat(1024 * 1024 + 1), "is larger than 1048576 bytes"),
        ] {
            let (error, path) = read(text).expect_err(why);
            assert!(error.starts_with(&format!("{KEY}: {path} {why}")), "{error}");
        }
        // What nothing looks into is not looked for.
        assert!(Tls::new(TlsMode::Required, KEY, Some("/nonexistent".as_ref())).is_ok());
    }

    #[test]
    fn several_authorities_are_believed_and_no_others() {
        let authority = || {
            let key = rcgen::KeyPair::generate().expect("a key");
            rcgen::CertificateParams::default().self_signed(&key).expect("signs").pem()
        };
        let tls = read(&[authority(), authority()].concat()).expect("two certificates");
        let options = tls.options().expect("encrypted");
        assert_eq!(options.root_certs().len(), 2);
        assert!(options.disable_built_in_roots() && !options.accept_invalid_certs());
        assert_eq!(options.tls_hostname_override(), Some(ANY_NAME));
        for mode in [TlsMode::Preferred, TlsMode::Required] {
            let options = Tls { mode, ..tls.clone() }.options().expect("encrypted");
            assert!(options.accept_invalid_certs(), "{mode:?}");
            assert_eq!(options.tls_hostname_override(), Some(ANY_NAME), "{mode:?}");
        }
        assert_eq!(Tls { mode: TlsMode::Disabled, ..tls.clone() }.options(), None);
        let strict = Tls { mode: TlsMode::VerifyIdentity, ..tls }.options().expect("encrypted");
        assert!(strict.disable_built_in_roots() && !strict.accept_invalid_certs());
        assert!(!strict.skip_domain_validation() && strict.tls_hostname_override().is_none());
    }

    #[test]
    fn the_replication_account_is_tried_as_its_channel_will_log_in() {
        let channel = |on| ChannelTls { on, ..ChannelTls::default() };
        for (ours, channel, wanted) in [
            (TlsMode::Disabled, Some(channel(true)), TlsMode::Preferred),
            (TlsMode::Disabled, Some(channel(false)), TlsMode::Disabled),
            (TlsMode::Disabled, None, TlsMode::Preferred),
            (TlsMode::Preferred, Some(channel(true)), TlsMode::Preferred),
            (TlsMode::Preferred, Some(channel(false)), TlsMode::Disabled),
            (TlsMode::Preferred, None, TlsMode::Preferred),
            (TlsMode::Required, Some(channel(false)), TlsMode::Required),
            (TlsMode::VerifyCa, Some(channel(true)), TlsMode::VerifyCa),
            (TlsMode::VerifyIdentity, None, TlsMode::VerifyIdentity),
        ] {
            let tls = Tls { mode: ours, authorities: None };
            assert_eq!(tls.as_replication(channel.as_ref()).mode, wanted, "{ours:?} {channel:?}");
        }
    }
}
