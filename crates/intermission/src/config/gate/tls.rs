//! TLS for the gate's clients: where it is spoken, and the certificates that are shown there.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Gate;
use crate::config::Fault;

/// One certificate and its key; PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The certificate first, then those it was signed with, as authorities give them out.
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
}

impl Gate {
    pub(super) fn check_tls(&self) -> Result<(), Fault> {
        if !self.listen_tls.is_empty() && self.certificates.is_empty() {
            let problem = "is empty, and gate.listen_tls is not";
            let mend =
                "write certificates = [{ certificate_file = \"….pem\", key_file = \"….key\" }]";
            return Err(Fault::new("gate.certificates", problem, mend));
        }
        if self.listen_tls.is_empty() && !self.certificates.is_empty() {
            let problem = "is empty, and there is a certificate for it";
            let mend = "write listen_tls = [\"0.0.0.0:443\"], or leave gate.certificates out";
            return Err(Fault::new("gate.listen_tls", problem, mend));
        }
        // Both would get connections: the kernel shares them out among those who listen.
        let both = self
            .listen_tls
            .iter()
            .find(|address| address.port() != 0 && self.listen.contains(address));
        both.map_or(Ok(()), |address| {
            let problem = format!("has {address}, which is in gate.listen too");
            Err(Fault::new("gate.listen_tls", problem, "give each its own port"))
        })
    }
}
