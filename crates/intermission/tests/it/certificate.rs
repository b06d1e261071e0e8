//! An authority of one test, and the gates' certificates and token.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use tempfile::TempDir;

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub(crate) struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        let name = directory.path().display().to_string();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        write(&directory.path().join("ca.pem"), &certificate.pem());
        write(&directory.path().join("token"), &format!("{TOKEN}\n"));
        Self { directory, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.path("ca.pem")
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.path("token")
    }

    /// `NAME.pem` and `NAME.key`, made out to `host`, which may be a URI.
    pub(crate) fn issue(&self, name: &str, host: &str, expired: bool) {
        let mut params = match host.contains("://") {
            false => CertificateParams::new([host.to_owned()]).unwrap(),
            true => {
                let mut params = CertificateParams::default();
                params.subject_alt_names.push(SanType::URI(host.try_into().unwrap()));
                params
            }
        };
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        write(&self.path(&format!("{name}.pem")), &certificate.pem());
        write(&self.path(&format!("{name}.key")), &key.serialize_pem());
    }

    /// What the gate's `[gate]` says besides, with the certificate called `name`.
    pub(crate) fn serving(&self, address: &str, name: &str) -> String {
        self.serving_with(address, &format!("{name}.pem"), &format!("{name}.key"))
    }

    pub(crate) fn serving_with(&self, address: &str, certificate: &str, key: &str) -> String {
        let [certificate, key, token] = [certificate, key, "token"].map(|file| self.path(file));
        format!(
            "admin_listen = [{address:?}]\nadmin_token_file = {token:?}\n\
             admin_tls = {{ certificate = {certificate:?}, key = {key:?} }}"
        )
    }

    /// The entry of `swap.gates` for a gate at `address`.
    pub(crate) fn swap_gate(&self, address: &str) -> String {
        let (ca_file, token) = (self.ca_file(), self.token_file());
        format!("{{ address = {address:?}, ca_file = {ca_file:?}, token_file = {token:?} }}")
    }
}

pub(crate) fn write(path: &Path, text: &str) {
    std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}
