//! Certificates and private keys, from the PEM files that the configuration names.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use tokio_rustls::rustls::{
    self, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

/// A file with every authority of an operating system has a quarter of it.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why a file cannot be used. `key` is the configuration's.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
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
    #[error("{key}: {} cannot be used", path.display())]
    Unusable {
        key: String,
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error(
        "{key}: the key {} does not belong to the certificate {}: name the two that were made together",
        private_key.display(), certificate.display()
    )]
    Mismatch { key: String, certificate: PathBuf, private_key: PathBuf },
}

/// A certificate and its key, each with the name of its key in the table of the configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PairFiles<'a> {
    pub(crate) table: &'a str,
    pub(crate) certificate: (&'a str, &'a Path),
    pub(crate) key: (&'a str, &'a Path),
}

/// All the certificates of a file, one at least. `key` names the file in errors.
pub(crate) fn certificates(
    key: &str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let bytes = read(key, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => {
            Err(PemError::NoCertificate { key: key.to_owned(), path: path.to_owned() })
        }
    }
}

/// Those whom the certificates of a file vouch for are believed.
pub(crate) fn authorities(
    key: &str,
    path: &Path,
    certificates: Vec<CertificateDer<'static>>,
) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|source| PemError::Unusable {
            key: key.to_owned(),
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(roots)
}

/// A certificate, those it was signed with, and the key that belongs to it.
pub(crate) fn pair(
    files: PairFiles<'_>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, PemError> {
    let PairFiles { table, certificate: (certificate_key, certificate), key: (key_key, key) } =
        files;
    let [certificate_key, key_key] = [certificate_key, key_key].map(|key| format!("{table}.{key}"));
    let chain = certificates(&certificate_key, certificate)?;
    let private = private_key(&key_key, key)?;
    CertifiedKey::from_der(chain, private, provider).map_err(|source| {
        if matches!(source, rustls::Error::InconsistentKeys(_)) {
            let (certificate, private_key) = (certificate.to_owned(), key.to_owned());
            return PemError::Mismatch { key: table.to_owned(), certificate, private_key };
        }
        let of_certificate = matches!(source, rustls::Error::InvalidCertificate(_));
        let (key, path) =
            if of_certificate { (certificate_key, certificate) } else { (key_key, key) };
        PemError::Unusable { key, path: path.to_owned(), source }
    })
}

/// The first private key of a file.
fn private_key(key: &str, path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let bytes = read(key, path)?;
    let no_key = |_| PemError::NoKey { key: key.to_owned(), path: path.to_owned() };
    PrivateKeyDer::from_pem_slice(&bytes).map_err(no_key)
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, PemError> {
    let unreadable =
        |source| PemError::Unreadable { key: key.to_owned(), path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(PemError::TooLarge { key: key.to_owned(), path: path.to_owned() });
    }
    Ok(bytes)
}
