//! Which app a request belongs to: by the exact host name, else by the longest `*.` name, else the app that takes any
//! host; of the apps of that host by the longest path.

use std::borrow::Cow;
use std::collections::HashMap;

use http::header::HOST;
use http::{HeaderMap, Uri};

use crate::config::gate::{ANY_HOST, ANY_PATH, App, WILDCARD};

#[derive(Debug)]
pub(crate) struct Routes {
    exact: HashMap<String, Paths>,
    /// By what follows the asterisk, dot included.
    wildcards: HashMap<String, Paths>,
    any: Paths,
}

/// Apps by the beginnings of paths, the longest first.
#[derive(Debug, Default)]
struct Paths(Vec<(String, usize)>);

impl Paths {
    fn add(&mut self, path: &str, app: usize) {
        self.0.push((path.to_owned(), app));
        self.0.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    }

    fn find(&self, path: &str) -> Option<usize> {
        self.0.iter().find(|(beginning, _)| leads_to(beginning, path)).map(|(_, app)| *app)
    }
}

impl Routes {
    pub(crate) fn new(apps: &[App]) -> Self {
        let (exact, wildcards) = (HashMap::new(), HashMap::new());
        let mut routes = Self { exact, wildcards, any: Paths::default() };
        for (index, app) in apps.iter().enumerate() {
            for host in &app.hosts {
                let paths = match host.strip_prefix(WILDCARD) {
                    _ if host == ANY_HOST => &mut routes.any,
                    Some(suffix) => routes.wildcards.entry(format!(".{suffix}")).or_default(),
                    None => routes.exact.entry(host.clone()).or_default(),
                };
                for path in &app.paths {
                    paths.add(path, index);
                }
            }
        }
        routes
    }

    /// The index of the app that serves `path` of `host`, a `Host` header's value with or without a port. A host whose apps
    /// do not take the path leaves it to the less exact ones.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<usize> {
        let name = plain_name(host);
        self.exact
            .get(name.as_ref())
            .and_then(|paths| paths.find(path))
            .or_else(|| self.find_wildcard(&name, path))
            .or_else(|| self.any.find(path))
    }

    fn find_wildcard(&self, name: &str, path: &str) -> Option<usize> {
        if self.wildcards.is_empty() {
            return None;
        }
        // From the left, so the longest is met first. Something has to be in the asterisk's place.
        let suffixes = name.match_indices('.').filter(|(at, _)| *at > 0);
        suffixes
            .filter_map(|(at, _)| self.wildcards.get(name.get(at..)?))
            .find_map(|paths| paths.find(path))
    }
}

/// Whether a path is `beginning` or below it; parts of a name do not count. What is not a path (`*`) belongs to the root.
fn leads_to(beginning: &str, path: &str) -> bool {
    if beginning == ANY_PATH {
        return true;
    }
    path.strip_prefix(beginning)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || beginning.ends_with('/'))
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

    fn routes(apps: &[(&str, &str)]) -> Routes {
        let text: String = apps
            .iter()
            .enumerate()
            .map(|(index, (hosts, paths))| {
                format!(
                    "[[app]]\nname='a{index}'\nhosts=[{hosts}]\npaths=[{paths}]\nupstreams=['127.0.0.1:1']\n"
                )
            })
            .collect();
        let path = std::path::Path::new("x");
        Routes::new(&crate::config::Config::parse(path, &text).unwrap().apps)
    }

    #[test]
    fn an_unknown_host_goes_to_the_app_for_any_host_if_there_is_one() {
        assert_eq!(routes(&[("'a.example'", "'/'")]).find("b.example", "/"), None);
        assert_eq!(routes(&[("'a.example'", "'/'")]).find("A.example:80", "/"), Some(0));
        assert_eq!(routes(&[("'*'", "'/'")]).find("b.example", "/"), Some(0));
    }

    #[test]
    fn the_most_exact_host_and_then_the_longest_path_win() {
        let routes = routes(&[
            ("'*'", "'/'"),
            ("'*.example.com'", "'/'"),
            ("'*.eu.example.com'", "'/'"),
            ("'shop.example.com'", "'/'"),
            ("'shop.example.com', 'api.example.com'", "'/api', '/hooks/'"),
            ("'shop.example.com'", "'/api/v2'"),
        ]);
        for (host, path, app) in [
            ("other.example", "/", 0),
            ("example.com", "/", 0),
            (".example.com", "/", 0),
            ("www.example.com", "/api", 1),
            ("a.b.example.com", "/", 1),
            ("www.eu.example.com", "/", 2),
            ("Shop.Example.com.", "/", 3),
            ("shop.example.com", "/apix", 3),
            ("shop.example.com", "*", 3),
            ("shop.example.com", "/api", 4),
            ("shop.example.com", "/api/", 4),
            ("shop.example.com", "/api/v1", 4),
            ("shop.example.com", "/hooks/a", 4),
            ("shop.example.com", "/hooks", 3),
            ("shop.example.com:443", "/api/v2/x", 5),
            ("api.example.com", "/api", 4),
            // Its own apps do not take that path.
            ("api.example.com", "/", 1),
        ] {
            assert_eq!(routes.find(host, path), Some(app), "{host} {path}");
        }
    }
}
