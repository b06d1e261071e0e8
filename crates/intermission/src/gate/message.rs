//! Requests that two readers could take for different ones, or for none: they are refused, before
//! anything of them is sent on. Lines, names and, by HTTP/1, the framing were checked where they were read (`receive/head`).

use http::header::{CONTENT_LENGTH, HOST};
use http::uri::Scheme;
use http::{HeaderMap, Method, Request, Uri, Version};

use super::page::Page;
use super::route::named_host;

/// The host that a request is for.
///
/// # Errors
/// How it is refused.
pub(crate) fn check<B>(request: &Request<B>) -> Result<&str, Page> {
    if request.method() == Method::CONNECT {
        return Err(Page::NotCarried);
    }
    if request.version() == Version::HTTP_2 {
        check_length(request.headers())?;
    }
    check_target(request.method(), request.uri())?;
    let host = named_host(request.uri(), request.headers()).ok_or(Page::BadRequest)?;
    check_host(request, host)?;
    Ok(host)
}

/// Whether a host, with or without a port, is written as one (RFC 3986 3.2.2). No list: that is what
/// two fields become where they are joined.
pub(crate) fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.bytes().all(is_address) => ("", port),
            Some(_) | None => return false,
        },
        None => host.find(':').map_or((host, ""), |at| host.split_at(at)),
    };
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    is_port && name.bytes().all(is_of_name)
}

const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$')
}

const fn is_address(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')
}

/// One, if any.
fn check_length(headers: &HeaderMap) -> Result<(), Page> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(()) };
    let is_number = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
    if is_number && lengths.next().is_none() { Ok(()) } else { Err(Page::Ambiguous) }
}

/// A path, or a URI of HTTP; an asterisk for OPTIONS alone (RFC 9112 3.2).
fn check_target(method: &Method, uri: &Uri) -> Result<(), Page> {
    let is_http = |scheme: &Scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS;
    let path = uri.path();
    let is_path = path.starts_with('/') || (path == "*" && *method == Method::OPTIONS);
    if is_path && uri.scheme().is_none_or(is_http) { Ok(()) } else { Err(Page::Ambiguous) }
}

fn check_host<B>(request: &Request<B>, host: &str) -> Result<(), Page> {
    let header = request.headers().get(HOST);
    let is_named = request.uri().authority().is_some() || header.is_some();
    if !is_host(host) || (!is_named && request.version() != Version::HTTP_10) {
        return Err(Page::BadRequest);
    }
    // A URI wins over the field by HTTP/1 (RFC 9112 3.2.2), but must agree with it by HTTP/2 (RFC 9113
    // 8.3.1).
    let agrees =
        header.is_none_or(|header| header.as_bytes().eq_ignore_ascii_case(host.as_bytes()));
    if request.version() == Version::HTTP_2 && !agrees {
        return Err(Page::BadRequest);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::{Request, Version};

    use super::{check, is_host};
    use crate::gate::page::Page;

    #[test]
    fn hosts_are_names_or_addresses_with_or_without_a_port() {
        for host in [
            "a",
            "a.example:80",
            "my_shop",
            "a.",
            "",
            "192.0.2.1:1",
            "[::1]",
            "[::1]:80",
            "xn--a",
            "a:",
        ] {
            assert!(is_host(host), "{host}");
        }
        for host in [
            "a@b", "a/b", "a b", "a,b", "a, b", "a:b", "a:1:2", "[::1", "[::1]x", "[a@b]", "::1",
            "a#b", "a?b", "a\\b", "é", "a;b", "a\"b",
        ] {
            assert!(!is_host(host), "{host}");
        }
    }

    fn checked(
        version: Version,
        method: &str,
        uri: &str,
        fields: &[(&str, &str)],
    ) -> Result<String, Page> {
        let mut request = Request::builder().version(version).method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap()).map(ToOwned::to_owned)
    }

    #[test]
    fn what_can_be_read_in_one_way_names_its_host() {
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        for (version, method, uri, fields) in [
            (one, "GET", "/", &[("host", "a")][..]),
            (one, "GET", "http://a/", &[("host", "b")]),
            (Version::HTTP_10, "OPTIONS", "*", &[("host", "a")]),
            (two, "POST", "http://a/", &[("host", "A"), ("content-length", "3")]),
            (two, "GET", "/", &[("host", "a")]),
        ] {
            assert_eq!(checked(version, method, uri, fields).as_deref(), Ok("a"), "{method} {uri}");
        }
        assert_eq!(checked(Version::HTTP_10, "GET", "/", &[]).as_deref(), Ok(""));
    }

    #[test]
    fn what_can_be_read_in_two_is_refused() {
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        let (bad, ambiguous) = (Page::BadRequest, Page::Ambiguous);
        for (version, method, uri, fields, page) in [
            (one, "CONNECT", "a:1", &[("host", "a:1")][..], Page::NotCarried),
            (one, "GET", "/", &[], bad),
            (two, "GET", "/", &[], bad),
            (one, "GET", "/", &[("host", "a"), ("host", "a")], bad),
            (one, "GET", "http://a@b/", &[("host", "b")], bad),
            (two, "GET", "http://a/", &[("host", "b")], bad),
            (one, "GET", "*", &[("host", "a")], ambiguous),
            (one, "GET", "a:80", &[("host", "a")], ambiguous),
            (one, "GET", "ftp://a/", &[("host", "a")], ambiguous),
            (
                two,
                "POST",
                "http://a/",
                &[("content-length", "3"), ("content-length", "3")],
                ambiguous,
            ),
            (two, "POST", "http://a/", &[("content-length", "+3")], ambiguous),
        ] {
            assert_eq!(
                checked(version, method, uri, fields),
                Err(page),
                "{method} {uri} {fields:?}"
            );
        }
    }
}
