//! The admin API over TCP: never without TLS and a token.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Gate;
use crate::config::Fault;
use crate::config::secret::Secret;
use crate::config::token::{self, TokenError};

const TOKEN: &str = "gate.admin_token";

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

/// What the gate shows to whoever connects; PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminTls {
    /// The gate's certificate first, then those it was signed with, if any.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Gate {
    pub(super) fn check_admin(&self) -> Result<(), Fault> {
        let (env, file) = (self.admin_token_env.as_deref(), self.admin_token_file.as_deref());
        if self.admin_listen.is_empty() {
            if self.admin_tls.is_none() && env.is_none() && file.is_none() {
                return Ok(());
            }
            let problem = "is empty, and there is a certificate or a token for it";
            let mend = "write admin_listen = [\"10.0.0.5:7443\"], or leave the others out";
            return Err(Fault::new("gate.admin_listen", problem, mend));
        }
        if self.admin_tls.is_none() {
            let problem = "is not given: the admin API is not served over TCP without TLS";
            let mend = "write admin_tls = { certificate = \"….pem\", key = \"….key\" }";
            return Err(Fault::new("gate.admin_tls", problem, mend));
        }
        token::check(TOKEN, env, file)
    }

    /// Finds the token of the admin API over TCP.
    ///
    /// # Errors
    /// [`TokenError`] names the key, the variable or the file.
    pub fn admin_token(&self) -> Result<Secret, TokenError> {
        token::resolve(TOKEN, self.admin_token_env.as_deref(), self.admin_token_file.as_deref())
    }
}
