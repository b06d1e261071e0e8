//! Who may use the admin API: by its socket, and over TCP, which is never without TLS and a token or a certificate.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Gate;
use crate::config::Fault;
use crate::config::secret::Secret;
use crate::config::token::{self, TokenError};

const TOKEN: &str = "gate.admin_token";
const READ_TOKEN: &str = "gate.admin_read_token";

/// A group of the operating system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a group's name or its number")]
pub enum SocketGroup {
    Number(u32),
    Name(String),
}

impl fmt::Display for SocketGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(id) => write!(f, "{id}"),
            Self::Name(name) => write!(f, "{name:?}"),
        }
    }
}

/// What the gate shows to whoever connects, and which clients' certificates it believes; PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminTls {
    /// The gate's certificate first, then those it was signed with, if any.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// What certificates of clients are signed with. Without it none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// Whoever has a certificate made out to one of these (subject alternative name, DNS or URI) may change holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<String>,
    /// Likewise, who may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readers: Vec<String>,
}

impl AdminTls {
    fn check(&self) -> Result<(), Fault> {
        let names = || self.operators.iter().chain(&self.readers);
        if self.client_ca_file.is_none() && names().next().is_some() {
            let problem = "is not given, and there are operators or readers";
            let mend =
                "name the file with what their certificates are signed by, or leave both out";
            return Err(Fault::new("gate.admin_tls.client_ca_file", problem, mend));
        }
        if self.client_ca_file.is_some() && names().next().is_none() {
            let problem =
                "is empty, and so is readers: whom client_ca_file vouches for may do nothing";
            let mend = "write operators = [\"swap1.internal\"]: names of certificates";
            return Err(Fault::new("gate.admin_tls.operators", problem, mend));
        }
        if let Some(name) = names().find(|name| !is_name(name)) {
            let problem = format!("{name:?} is no name of a certificate");
            let mend = "write a DNS name in lower case without wildcards, or a URI, as in its subjectAltName";
            return Err(Fault::new("gate.admin_tls.operators and readers", problem, mend));
        }
        let both = self.readers.iter().find(|name| self.operators.contains(name));
        both.map_or(Ok(()), |name| {
            let problem = format!("has {name:?}, which is in operators too");
            let mend = "whoever operates may read: leave it out here";
            Err(Fault::new("gate.admin_tls.readers", problem, mend))
        })
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && c != '*';
    let is_uri = name.contains(':');
    !name.is_empty() && name.chars().all(|c| plain(c) && (is_uri || !c.is_ascii_uppercase()))
}

impl Gate {
    pub(super) fn check_admin(&self) -> Result<(), Fault> {
        let operate = (self.admin_token_env.as_deref(), self.admin_token_file.as_deref());
        let read = (self.admin_read_token_env.as_deref(), self.admin_read_token_file.as_deref());
        let has_token = token::check(TOKEN, operate.0, operate.1)?;
        let has_token = token::check(READ_TOKEN, read.0, read.1)? || has_token;
        if self.admin_listen.is_empty() {
            if self.admin_tls.is_none() && !has_token {
                return Ok(());
            }
            let problem = "is empty, and there is a certificate or a token for it";
            let mend = "write admin_listen = [\"10.0.0.5:7443\"], or leave the others out";
            return Err(Fault::new("gate.admin_listen", problem, mend));
        }
        let Some(tls) = &self.admin_tls else {
            let problem = "is not given: the admin API is not served over TCP without TLS";
            let mend = "write admin_tls = { certificate = \"….pem\", key = \"….key\" }";
            return Err(Fault::new("gate.admin_tls", problem, mend));
        };
        tls.check()?;
        if has_token || tls.client_ca_file.is_some() {
            return Ok(());
        }
        Err(token::missing(TOKEN, "or gate.admin_tls.client_ca_file and operators"))
    }

    /// Finds the token of those who may change holds over TCP, if there is one.
    ///
    /// # Errors
    /// [`TokenError`] names the key, the variable or the file.
    pub fn admin_token(&self) -> Result<Option<Secret>, TokenError> {
        token::resolve(TOKEN, self.admin_token_env.as_deref(), self.admin_token_file.as_deref())
    }

    /// Finds the token of those who may read over TCP, if there is one.
    ///
    /// # Errors
    /// As [`Gate::admin_token`]; it is the same as that one.
    pub fn admin_read_token(&self) -> Result<Option<Secret>, TokenError> {
        let (env, file) =
            (self.admin_read_token_env.as_deref(), self.admin_read_token_file.as_deref());
        let read = token::resolve(READ_TOKEN, env, file)?;
        if read.is_some() && read == self.admin_token()? {
            let (key, other) = (READ_TOKEN.to_owned(), TOKEN.to_owned());
            return Err(TokenError::Same { key, other });
        }
        Ok(read)
    }
}
