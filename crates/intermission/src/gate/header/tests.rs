//! What upstreams are told, and what they are not.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Version};

use super::told::About;
use super::{prepare_request, prepare_switch, strip_hop_by_hop};
use crate::gate::arrival::Arrival;
use crate::gate::client::Named;

fn head(headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::get("/path?query");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// The fields that the upstream gets.
fn prepared_from(
    proto: &'static str,
    mut head: Request<()>,
    is_trusted: bool,
    chunked: bool,
) -> HeaderMap {
    let client = Named::new("192.0.2.7".parse().unwrap(), 8080, proto);
    let arrival = Arrival::now(head.headers(), is_trusted);
    prepare_request(&mut head, chunked);
    let mut text = BytesMut::new();
    About { client: &client, is_trusted, arrival: &arrival }.write_fields(&mut text, &head);
    text.extend_from_slice(b"\r\n");
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let (_, parsed) = httparse::parse_headers(&text, &mut fields).unwrap().unwrap();
    let field = |field: &httparse::Header<'_>| {
        (field.name.parse().unwrap(), HeaderValue::from_bytes(field.value).unwrap())
    };
    let fields: Vec<(HeaderName, HeaderValue)> = parsed.iter().map(field).collect();
    fields.into_iter().fold(HeaderMap::new(), |mut headers, (name, value)| {
        headers.append(name, value);
        headers
    })
}

fn prepared(headers: &[(&str, &str)], is_trusted: bool) -> HeaderMap {
    prepared_from("http", head(headers), is_trusted, false)
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
    .into_parts()
    .0
    .headers;
    strip_hop_by_hop(&mut headers);
    assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-public"]);
}

#[test]
fn a_client_cannot_name_itself_unless_it_is_trusted() {
    let sent = [
        ("host", "a"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-for", "10.0.0.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "b"),
        ("x-forwarded-port", "443"),
        ("forwarded", "for=10.0.0.1"),
        ("x-request-id", "theirs"),
        ("x-request-start", "t=1"),
    ];
    let told = |headers: &HeaderMap, name: &str| headers[name].to_str().unwrap().to_owned();
    let headers = prepared(&sent, false);
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "a"),
        ("x-forwarded-port", "8080"),
    ] {
        assert_eq!(told(&headers, name), value, "{name}");
        assert_eq!(headers.get_all(name).iter().count(), 1, "{name}");
    }
    for name in ["host", "x-request-id", "x-request-start"] {
        assert_eq!(headers.get_all(name).iter().count(), 1, "{name}");
    }
    assert!(!headers.contains_key("forwarded"));
    assert_ne!(told(&headers, "x-request-id"), "theirs");
    assert_ne!(told(&headers, "x-request-start"), "t=1");
    let headers = prepared(&sent, true);
    for (name, value) in [
        ("x-forwarded-for", "10.0.0.1, 10.0.0.2, 192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "b"),
        ("x-forwarded-port", "443"),
        ("forwarded", "for=10.0.0.1"),
        ("x-request-id", "theirs"),
        ("x-request-start", "t=1"),
    ] {
        assert_eq!(told(&headers, name), value, "{name}");
        assert_eq!(headers.get_all(name).iter().count(), 1, "{name}");
    }
}

#[test]
fn who_says_nothing_is_named_all_the_same() {
    for is_trusted in [false, true] {
        let headers = prepared(&[("host", "a")], is_trusted);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "a");
        assert_eq!(headers["x-forwarded-port"], "8080");
        assert_eq!(headers["x-request-id"].len(), 32);
        assert!(headers["x-request-start"].to_str().unwrap().starts_with("t=1"));
    }
    let headers = prepared(&[("x-forwarded-host", "b")], false);
    assert!(!headers.contains_key("x-forwarded-host"));
}

#[test]
fn connection_cannot_take_the_host_or_the_client_name_away() {
    let connection = "host, x-forwarded-for, x-request-id";
    let headers = prepared(&[("host", "a"), ("connection", connection)], false);
    assert_eq!(
        (&headers["host"], &headers["x-forwarded-for"]),
        (&"a".parse().unwrap(), &"192.0.2.7".parse().unwrap())
    );
    assert!(headers.contains_key("x-request-id"));
}

#[test]
fn two_framings_become_one() {
    let sent = [("host", "a"), ("transfer-encoding", "chunked"), ("content-length", "5")];
    let told = prepared_from("http", head(&sent), false, true);
    assert_eq!(told["transfer-encoding"], "chunked");
    assert!(!told.contains_key("content-length"));
}

#[test]
fn what_came_by_http2_and_tls_goes_on_as_http1() {
    let head = Request::get("https://shop.example:8443/path?query")
        .version(Version::HTTP_2)
        .header("cookie", "a=1")
        .header("te", "Trailers")
        .header("cookie", "b=2")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .body(())
        .unwrap();
    let told = prepared_from("https", head, false, false);
    let cookies: Vec<_> = told.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
    assert_eq!(told["host"], "shop.example:8443");
    assert_eq!(told["te"], "trailers");
    assert_eq!(told["connection"], "te");
    assert_eq!(told["x-forwarded-proto"], "https");
    assert!(!told.contains_key("upgrade"));
}

#[test]
fn an_upgrade_is_sent_on_unless_it_is_to_http() {
    for (connection, upgrade, sent_on) in [
        ("upgrade", "websocket", Some("websocket")),
        ("keep-alive, Upgrade", "WebSocket", Some("WebSocket")),
        ("upgrade", "h2c, my-protocol/2 , websocket", Some("my-protocol/2, websocket")),
        ("upgrade, http2-settings", "h2c", None),
        ("upgrade", "H2C", None),
        ("upgrade", "HTTP/2.0", None),
        ("upgrade", "TLS/1.0", None),
        ("upgrade", ", ", None),
        ("keep-alive", "websocket", None),
    ] {
        let headers = prepared(&[("connection", connection), ("upgrade", upgrade)], false);
        let told = headers.get("upgrade").map(|value| value.to_str().unwrap());
        assert_eq!(told, sent_on, "{upgrade}");
        let connection = headers.get("connection").map(|value| value.to_str().unwrap());
        assert_eq!(connection, sent_on.map(|_| "upgrade"), "{upgrade}");
    }
    let mut old = head(&[("connection", "upgrade"), ("upgrade", "websocket")]);
    *old.version_mut() = Version::HTTP_10;
    assert!(!prepared_from("http", old, false, false).contains_key("upgrade"));
}

#[test]
fn an_upstream_hears_whether_trailers_are_taken() {
    let headers = prepared(&[("te", "gzip, trailers"), ("trailer", "x-sum")], false);
    assert_eq!(
        (&headers["te"], &headers["connection"]),
        (&"trailers".parse().unwrap(), &"te".parse().unwrap())
    );
    assert_eq!(headers["trailer"], "x-sum");
    assert!(!prepared(&[("te", "gzip")], false).contains_key("te"));
}

#[test]
fn a_switch_is_told_with_its_protocol_and_nothing_hop_by_hop() {
    let mut headers = head(&[
        ("connection", "Upgrade, x-private"),
        ("x-private", "1"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-accept", "x"),
    ])
    .into_parts()
    .0
    .headers;
    assert_eq!(prepare_switch(&mut headers), Some(true));
    assert_eq!(
        (&headers["connection"], &headers["upgrade"]),
        (&"upgrade".parse().unwrap(), &"WebSocket".parse().unwrap())
    );
    assert!(headers.contains_key("sec-websocket-accept") && !headers.contains_key("x-private"));
    assert_eq!(prepare_switch(head(&[("upgrade", "other/1")]).headers_mut()), Some(false));
    assert_eq!(prepare_switch(&mut HeaderMap::new()), None);
}

#[test]
fn connection_takes_out_nothing_that_everybody_needs() {
    let told = prepared(
        &[
            ("host", "a"),
            ("connection", "close, host, content-length, x-forwarded-for, x-private"),
            ("content-length", "3"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-private", "1"),
        ],
        true,
    );
    assert_eq!(
        (&told["host"], &told["content-length"]),
        (&"a".parse().unwrap(), &"3".parse().unwrap())
    );
    assert_eq!(told["x-forwarded-for"], "10.0.0.1, 192.0.2.7");
    assert!(!told.contains_key("x-private"));
}

#[test]
fn twins_of_what_the_gate_says_and_cgis_proxy_end_here() {
    let told = prepared(
        &[
            ("host", "a"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x-forwarded_proto", "https"),
            ("content_length", "3"),
            ("transfer_encoding", "chunked"),
            ("proxy", "http://b"),
            ("api_key", "1"),
        ],
        true,
    );
    let twins = told.keys().filter(|name| name.as_str().contains('_'));
    assert_eq!(twins.collect::<Vec<_>>(), ["api_key"]);
    assert!(!told.contains_key("proxy"));
}
