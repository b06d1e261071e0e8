//! `bypass`: which of an app's requests no hold holds.

use std::path::PathBuf;

use http::{HeaderName, Method};
use serde::{Deserialize, Serialize};

use super::app::check_path;
use super::check_range;
use crate::config::Fault;
use crate::config::cidr::Cidr;
use crate::config::secret::Secret;
use crate::config::token::{self, TokenError};

/// Of each kind.
const RULES_MAX: usize = 1000;
const USER_AGENT_BYTES_MAX: usize = 1024;

/// A request passes that one of the rules is meant for. A kind of rule is left out or has something in it: an empty one could
/// be meant for nobody or for everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bypass {
    /// The whole path, without the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// With those that only read, a hold holds writes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// The client's address, or that of the proxy it comes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<Cidr>>,
    /// The whole of `User-Agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agents: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<BypassHeader>,
}

/// A field with a secret as its value. It is not sent on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BypassHeader {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

impl Bypass {
    /// `key` is its place in the file, `proxies` are those whose word about their clients counts.
    pub(super) fn check(&self, key: &str, proxies: &[Cidr]) -> Result<(), Fault> {
        let Self { paths, methods, from, user_agents, header } = self;
        let lengths = [
            ("paths", paths.as_ref().map(Vec::len)),
            ("methods", methods.as_ref().map(Vec::len)),
            ("from", from.as_ref().map(Vec::len)),
            ("user_agents", user_agents.as_ref().map(Vec::len)),
        ];
        if header.is_none() && lengths.iter().all(|(_, length)| length.is_none()) {
            return Err(Fault::new(key, "has no rule", "write one, or leave it out"));
        }
        for (rule, length) in lengths {
            let Some(length) = length else { continue };
            let key = format!("{key}.{rule}");
            if length == 0 {
                return Err(Fault::new(key, "is empty", "write what passes, or leave it out"));
            }
            check_range(&key, length, 1, RULES_MAX)?;
        }
        let each = |rule: &Option<Vec<String>>| rule.clone().unwrap_or_default();
        each(paths).iter().try_for_each(|path| check_path(&format!("{key}.paths"), path))?;
        each(methods)
            .iter()
            .try_for_each(|method| check_method(&format!("{key}.methods"), method))?;
        each(user_agents)
            .iter()
            .try_for_each(|agent| check_user_agent(&format!("{key}.user_agents"), agent))?;
        let mut from = from.iter().flatten();
        if let Some(range) = from.find(|range| proxies.iter().any(|proxy| proxy.overlaps(range))) {
            let problem =
                format!("{range} has addresses of trusted_proxies: all their clients would pass");
            let mend = "leave the proxies out of it";
            return Err(Fault::new(format!("{key}.from"), problem, mend));
        }
        header.as_ref().map_or(Ok(()), |header| header.check(&format!("{key}.header")))
    }
}

impl BypassHeader {
    fn check(&self, key: &str) -> Result<(), Fault> {
        if HeaderName::try_from(&self.name).is_err() {
            let problem = format!("{:?} is no name of a header", self.name);
            let mend = "write one such as \"x-intermission-bypass\"";
            return Err(Fault::new(format!("{key}.name"), problem, mend));
        }
        let key = format!("{key}.token");
        if token::check(&key, self.token_env.as_deref(), self.token_file.as_deref())? {
            return Ok(());
        }
        let mend = format!("write {key}_file or {key}_env");
        Err(Fault::new(key, "is not given: whoever sent the field would pass", mend))
    }

    /// Its token. `app` is the name of its app.
    ///
    /// # Errors
    /// It is not there or not usable.
    pub fn token(&self, app: &str) -> Result<Option<Secret>, TokenError> {
        let key = format!("app.{app}.bypass.header.token");
        token::resolve(&key, self.token_env.as_deref(), self.token_file.as_deref())
    }
}

fn check_method(key: &str, method: &str) -> Result<(), Fault> {
    let is_upper = method.bytes().all(|byte| !byte.is_ascii_lowercase());
    if is_upper && Method::from_bytes(method.as_bytes()).is_ok() {
        return Ok(());
    }
    let mend = "write methods in capitals, such as [\"GET\", \"HEAD\", \"OPTIONS\"]";
    Err(Fault::new(key, format!("{method:?} is no method"), mend))
}

fn check_user_agent(key: &str, agent: &str) -> Result<(), Fault> {
    let is_sane = agent.trim() == agent && agent.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    if !agent.is_empty() && agent.len() <= USER_AGENT_BYTES_MAX && is_sane {
        return Ok(());
    }
    let mend = "write the whole of what User-Agent says, printable, up to 1024 bytes";
    Err(Fault::new(key, format!("{agent:?} is sent by nobody"), mend))
}
