//! Which app a request belongs to: by the exact host name, else the app that takes any host.

use std::borrow::Cow;
use std::collections::HashMap;

use http::header::HOST;
use http::{HeaderMap, Uri};

use crate::config::gate::{ANY_HOST, App};

#[derive(Debug)]
pub(crate) struct Routes {
    hosts: HashMap<String, usize>,
    any: Option<usize>,
}

impl Routes {
    pub(crate) fn new(apps: &[App]) -> Self {
        let mut routes = Self { hosts: HashMap::new(), any: None };
        for (index, app) in apps.iter().enumerate() {
            for host in &app.hosts {
                if host == ANY_HOST {
                    routes.any = Some(index);
                } else {
                    routes.hosts.insert(host.clone(), index);
                }
            }
        }
        routes
    }

    /// The index of the app that serves `host`, a `Host` header's value with or without a port.
    pub(crate) fn find(&self, host: &str) -> Option<usize> {
        self.hosts.get(plain_name(host).as_ref()).copied().or(self.any)
    }
}

/// The host a request names: an absolute URI wins over the header (RFC 9112 3.2.2). `None` if
/// it names two, which two readers could take for different apps.
pub(crate) fn named_host<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> Option<&'r str> {
    let mut values = headers.get_all(HOST).iter();
    let header = values.next();
    if values.next().is_some() {
        return None;
    }
    match (uri.authority(), header) {
        (Some(authority), _) => Some(authority.as_str()),
        (None, Some(header)) => header.to_str().ok(),
        (None, None) => Some(""),
    }
}

/// Without port and trailing dot, in lower case. Allocates only for a name in upper case.
fn plain_name(host: &str) -> Cow<'_, str> {
    let name = match host.strip_prefix('[') {
        Some(_) => host.split_inclusive(']').next().unwrap_or(host),
        None => host.split(':').next().unwrap_or(host),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::{HeaderMap, Routes, Uri, named_host, plain_name};

    #[test]
    fn names_lose_port_dot_and_case() {
        for (host, name) in [
            ("shop.example.com", "shop.example.com"),
            ("Shop.Example.com:8080", "shop.example.com"),
            ("shop.example.com.", "shop.example.com"),
            ("[::1]:80", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(plain_name(host), name);
        }
    }

    #[test]
    fn two_hosts_name_none_and_an_absolute_uri_wins() {
        let mut headers = HeaderMap::new();
        headers.append("host", "a".parse().unwrap());
        assert_eq!(named_host(&Uri::from_static("/"), &headers), Some("a"));
        assert_eq!(named_host(&Uri::from_static("http://c/"), &headers), Some("c"));
        headers.append("host", "b".parse().unwrap());
        assert_eq!(named_host(&Uri::from_static("/"), &headers), None);
    }

    #[test]
    fn an_unknown_host_goes_to_the_app_for_any_host_if_there_is_one() {
        let text = |host: &str| {
            format!("[[app]]\nname=\"a\"\nhosts=[\"{host}\"]\nupstreams=[\"127.0.0.1:1\"]")
        };
        let routes = |host| {
            let path = std::path::Path::new("x");
            Routes::new(&crate::config::Config::parse(path, &text(host)).unwrap().apps)
        };
        assert_eq!(routes("a.example").find("b.example"), None);
        assert_eq!(routes("a.example").find("A.example:80"), Some(0));
        assert_eq!(routes("*").find("b.example"), Some(0));
    }
}
