//! What the gate itself asks of upstreams: a path, under a name the application knows itself by.

use http::uri::PathAndQuery;

use super::ANY_HOST;
use crate::config::Fault;

const TEXT_BYTES_MAX: usize = 1024;

/// The `Host` to ask under: as configured, or the app's first; nothing where that is no name.
pub(super) fn host_for<'a>(configured: Option<&'a str>, hosts: &'a [String]) -> Option<&'a str> {
    let first = || hosts.first().map(String::as_str).filter(|host| !host.starts_with(ANY_HOST));
    configured.or_else(first)
}

/// `key` is that of the whole question, `hosts` are the app's.
pub(super) fn check_asked(
    key: &str,
    path: &str,
    host: Option<&str>,
    hosts: &[String],
) -> Result<(), Fault> {
    let is_path = path.starts_with('/') && path.parse::<PathAndQuery>().is_ok();
    if !is_path || path.len() > TEXT_BYTES_MAX {
        let shown: String = path.chars().take(TEXT_BYTES_MAX).collect();
        let mend = "write for example \"/up\"";
        return Err(Fault::new(format!("{key}.path"), format!("{shown:?} is no path"), mend));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    match host_for(host, hosts) {
        None => {
            let problem = "is missing, and the app's first host is no name";
            let mend = "write the name the application knows itself by";
            Err(Fault::new(format!("{key}.host"), problem, mend))
        }
        Some(host)
            if host.is_empty() || host.len() > TEXT_BYTES_MAX || !host.chars().all(plain) =>
        {
            let mend = "write a host name, with a port if the application wants one";
            Err(Fault::new(format!("{key}.host"), "is no host name", mend))
        }
        Some(_) => Ok(()),
    }
}
