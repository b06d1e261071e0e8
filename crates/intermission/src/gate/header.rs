//! What a proxy must change in the headers: hop-by-hop fields end here, and what two readers could take for different things.

pub(crate) mod told;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Request, Version};

use self::told::is_the_gates;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Fields of one connection only (RFC 9110 7.6.1), and those older clients treat so. `Trailer` is
/// none: without it the fields that it announces would not be sent behind a body in chunks.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// CGI makes `HTTP_PROXY` of it, which programs take for where to send their own requests.
const PROXY: HeaderName = HeaderName::from_static("proxy");

/// Protocols that are HTTP itself, or its encryption: an upstream that went over to one of them
/// would take requests which the gate does not see.
const NEVER_SENT_ON: [&str; 3] = ["h2c", "http", "tls"];

/// Takes out of a client's request what is not the upstream's to know; what it is told besides is written with it
/// ([`told`]). `chunked`: a body of unknown length follows.
pub(crate) fn prepare_request<B>(request: &mut Request<B>, chunked: bool) {
    let version = request.version();
    let headers = request.headers_mut();
    if chunked || version == Version::HTTP_2 || headers.iter().any(is_odd) {
        settle(headers, version, chunked);
    } else {
        headers.remove(CONNECTION);
    }
}

/// Whether [`settle`] has anything to do with a field but take `Connection` out. Most heads have none such.
fn is_odd((name, value): (&HeaderName, &HeaderValue)) -> bool {
    if name == CONNECTION {
        return !value.to_str().is_ok_and(is_plain_connection);
    }
    [TRANSFER_ENCODING, EXPECT, PROXY].contains(name)
        || HOP_BY_HOP.contains(name)
        || name.as_str().contains('_')
}

/// What is of one connection only, and what two readers could take for different things.
fn settle(headers: &mut HeaderMap, version: Version, chunked: bool) {
    let framed_by_chunks = headers.contains_key(TRANSFER_ENCODING);
    let upgrade = wanted_upgrade(headers, version);
    let takes_trailers = lists(headers, &TE, "trailers");
    strip_hop_by_hop(headers);
    headers.remove(PROXY);
    remove_twins(headers);
    if version == Version::HTTP_2 {
        join_cookies(headers);
    }
    if framed_by_chunks {
        // Two framings in one request are how requests are smuggled: chunks win (RFC 9112 6.3).
        headers.remove(CONTENT_LENGTH);
    }
    if chunked {
        // Or a GET would be sent without its body.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if takes_trailers {
        // A field of one connection, and to be named as one (RFC 9110 10.1.4).
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if let Some(protocols) = upgrade {
        headers.remove(TE);
        headers.insert(UPGRADE, protocols);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    // The gate itself asks the client for the body, when it is wanted.
    headers.remove(EXPECT);
}

/// Makes the head of an upstream's 101 the client's; gives whether it goes on as a WebSocket. None:
/// the upstream does not say to what it has switched.
pub(crate) fn prepare_switch(headers: &mut HeaderMap) -> Option<bool> {
    let protocol = headers.get(UPGRADE)?.clone();
    strip_hop_by_hop(headers);
    let is_websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
    headers.insert(UPGRADE, protocol);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    Some(is_websocket)
}

/// The protocols that a client would like to go on with, as they are sent on. HTTP/2 has none
/// (RFC 9113 8.6).
fn wanted_upgrade(headers: &HeaderMap, version: Version) -> Option<HeaderValue> {
    if !headers.contains_key(UPGRADE)
        || version != Version::HTTP_11
        || !lists(headers, &CONNECTION, "upgrade")
    {
        return None;
    }
    let is_sent_on = |protocol: &&str| {
        let name = protocol.split('/').next().unwrap_or_default();
        !name.is_empty() && !NEVER_SENT_ON.iter().any(|never| name.eq_ignore_ascii_case(never))
    };
    let protocols: Vec<&str> = items(headers, &UPGRADE).filter(is_sent_on).collect();
    if protocols.is_empty() { None } else { HeaderValue::try_from(protocols.join(", ")).ok() }
}

fn lists(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    items(headers, name).any(|item| item.eq_ignore_ascii_case(wanted))
}

fn items<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let listed = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .filter(|value| !is_plain_connection(value))
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .filter(|name| !is_for_everybody(name));
    remove_those(headers, listed.collect(), |name| HOP_BY_HOP.contains(name));
}

/// Most of what is looked for is not there: one look at the names costs less than a search for each.
fn remove_those(
    headers: &mut HeaderMap,
    mut names: Vec<HeaderName>,
    is_one: impl Fn(&HeaderName) -> bool,
) {
    names.extend(headers.keys().filter(|name| is_one(name)).cloned());
    for name in names {
        headers.remove(name);
    }
}

/// Whatever `Connection` says, it is not of one connection: what a client could take out by listing it is who it is and where its body
/// ends.
fn is_for_everybody(name: &HeaderName) -> bool {
    name == CONTENT_LENGTH || is_the_gates(name)
}

/// CGI, WSGI and Rack know no difference between `_` and `-`, so a client could answer for the gate by
/// `X_Forwarded_For`.
fn remove_twins(headers: &mut HeaderMap) {
    let is_twin = |name: &HeaderName| {
        name.as_str().contains('_') && {
            let name = name.as_str().replace('_', "-");
            HeaderName::try_from(name)
                .is_ok_and(|name| name == TRANSFER_ENCODING || is_for_everybody(&name))
        }
    };
    remove_those(headers, Vec::new(), is_twin);
}

/// The two values nearly every message has list no header.
fn is_plain_connection(value: &str) -> bool {
    value.eq_ignore_ascii_case("keep-alive") || value.eq_ignore_ascii_case("close")
}

/// HTTP/2 clients send a cookie in crumbs, which is one field before (RFC 9113 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests;
