//! What a proxy must change in the headers: hop-by-hop fields end here, the client is named.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Uri, Version, request};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

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

/// Whether the client asks for another protocol that could not go on as plain HTTP.
pub(crate) fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(UPGRADE).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|name| name.trim().eq_ignore_ascii_case("websocket")))
}

/// Makes a client's request head the one the upstream gets. `chunked`: a body of unknown length
/// follows.
pub(crate) fn prepare_request(
    head: &mut request::Parts,
    client: IpAddr,
    secure: bool,
    trust_forwarded: bool,
    chunked: bool,
) {
    let host = match head.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => head.headers.get(HOST).cloned(),
    };
    let framed_by_chunks = head.headers.contains_key(TRANSFER_ENCODING);
    let takes_trailers = takes_trailers(&head.headers);
    strip_hop_by_hop(&mut head.headers);
    if takes_trailers {
        // They are passed on to whoever takes them.
        head.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
    }
    if framed_by_chunks {
        // Two framings in one request are how requests are smuggled: chunks win (RFC 9112 6.3).
        head.headers.remove(CONTENT_LENGTH);
    }
    if chunked {
        // Or hyper would send a GET without its body.
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    // The gate itself asks the client for the body, when it is wanted.
    head.headers.remove(EXPECT);
    name_client(&mut head.headers, client, secure, trust_forwarded, host.as_ref());
    head.headers.insert(HOST, host.unwrap_or_else(|| HeaderValue::from_static("")));
    head.version = Version::HTTP_11;
    if head.uri.scheme().is_some() {
        head.uri = origin_form(&head.uri);
    }
}

pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .filter(|value| !is_plain_connection(value))
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect();
    for name in listed.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// The two values nearly every message has list no header.
fn is_plain_connection(value: &str) -> bool {
    value.eq_ignore_ascii_case("keep-alive") || value.eq_ignore_ascii_case("close")
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    let Some(te) = headers.get(TE).and_then(|te| te.to_str().ok()) else { return false };
    te.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
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

fn name_client(
    headers: &mut HeaderMap,
    client: IpAddr,
    secure: bool,
    trust_forwarded: bool,
    host: Option<&HeaderValue>,
) {
    let address = client.to_canonical().to_string();
    if !trust_forwarded {
        for name in [&X_FORWARDED_FOR, &X_FORWARDED_PROTO, &X_FORWARDED_HOST, &FORWARDED] {
            headers.remove(name);
        }
    }
    let before = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let chain: Vec<&str> = before.chain([address.as_str()]).collect();
    if let Ok(chain) = HeaderValue::try_from(chain.join(", ")) {
        headers.insert(X_FORWARDED_FOR, chain);
    }
    let proto = if secure { "https" } else { "http" };
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(proto));
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
    }
}

fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    path.parse().unwrap_or_else(|_invalid| Uri::from_static("/"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Request, Version, request};

    use super::{asks_for_websocket, prepare_request, strip_hop_by_hop};

    fn head(headers: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::get("/path?query");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn prepared(headers: &[(&str, &str)], trust: bool) -> HeaderMap {
        let mut head = head(headers);
        prepare_request(&mut head, "192.0.2.7".parse().unwrap(), false, trust, false);
        head.headers
    }

    #[test]
    fn hop_by_hop_headers_end_here_those_connection_lists_too() {
        let mut headers = head(&[
            ("connection", "keep-alive, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("x-public", "2"),
        ])
        .headers;
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["x-public"]);
    }

    #[test]
    fn a_client_cannot_name_itself_unless_it_is_trusted() {
        let sent = [("host", "a"), ("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "https")];
        let headers = prepared(&sent, false);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "a");
        let headers = prepared(&sent, true);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1, 192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "https");
    }

    #[test]
    fn connection_cannot_take_the_host_or_the_client_name_away() {
        let headers = prepared(&[("host", "a"), ("connection", "host, x-forwarded-for")], false);
        assert_eq!(
            (&headers["host"], &headers["x-forwarded-for"]),
            (&"a".parse().unwrap(), &"192.0.2.7".parse().unwrap())
        );
    }

    #[test]
    fn two_framings_become_one() {
        let sent = [("host", "a"), ("transfer-encoding", "chunked"), ("content-length", "5")];
        let mut head = head(&sent);
        prepare_request(&mut head, "192.0.2.7".parse().unwrap(), false, false, true);
        assert_eq!(head.headers["transfer-encoding"], "chunked");
        assert!(!head.headers.contains_key("content-length"));
    }

    #[test]
    fn what_came_by_http2_and_tls_goes_on_as_http1() {
        let mut head = Request::get("https://shop.example:8443/path?query")
            .version(Version::HTTP_2)
            .header("cookie", "a=1")
            .header("te", "Trailers")
            .header("cookie", "b=2")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        prepare_request(&mut head, "192.0.2.7".parse().unwrap(), true, false, false);
        assert_eq!(
            (head.version, head.uri.to_string().as_str()),
            (Version::HTTP_11, "/path?query")
        );
        let cookies: Vec<_> = head.headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
        assert_eq!(head.headers["host"], "shop.example:8443");
        assert_eq!(head.headers["te"], "trailers");
        assert_eq!(head.headers["x-forwarded-proto"], "https");
    }

    #[test]
    fn websocket_is_recognised_in_a_list() {
        assert!(asks_for_websocket(&head(&[("upgrade", "h2c, WebSocket")]).headers));
        assert!(!asks_for_websocket(&head(&[("upgrade", "h2c")]).headers));
    }
}
