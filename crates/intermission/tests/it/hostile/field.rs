//! Lines and fields of HTTP/1 heads: their ends, their letters, their size, and what they pretend.

use super::case::Rule::{Begun, One, Refused};
use super::case::{Case, case};

pub(crate) fn cases() -> Vec<Case> {
    [lines(), letters(), sizes(), pretences(), slow()].concat()
}

#[rustfmt::skip] // A case is a row.
fn lines() -> Vec<Case> {
    vec![
        case("all lines end by LF", Refused, b"GET /{} HTTP/1.1\nHost: a\n\n", "Not every reader ends a line there."),
        case("request line ends by LF", Refused, b"GET /{} HTTP/1.1\nHost: a\r\n\r\n", "As above."),
        case("field ends by LF", Refused, b"GET /{} HTTP/1.1\r\nHost: a\r\nX: y\nZ: w\r\n\r\n", "As above."),
        case("head ends by LF", Refused, b"GET /{} HTTP/1.1\r\nHost: a\r\n\n", "As above."),
        case("CR in a value", Refused, b"GET /{} HTTP/1.1\r\nHost: a\r\nX: y\rZ: w\r\n\r\n", "Some end the line there."),
        case("lines end by CR", Refused, b"GET /{} HTTP/1.1\rHost: a\r\r", "As above."),
        case("CR before CRLF", Refused, b"GET /{} HTTP/1.1\r\nHost: a\r\r\n\r\n", "As above."),
        case(
            "folded field",
            Refused,
            b"GET /{} HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
            "Some read a field of its own (RFC 9112 5.2 lets it be refused).",
        ),
        case(
            "folded Transfer-Encoding",
            Refused,
            b"POST /{} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
            "As above.",
        ),
        case("space before the first field", Refused, b"GET /{} HTTP/1.1\r\n Host: a\r\n\r\n", "As above (RFC 9112 2.2)."),
        case("field without a colon", Refused, b"GET /{} HTTP/1.1\r\nHost: a\r\nabc\r\n\r\n", "Not a field."),
        case("field without a name", Refused, b"GET /{} HTTP/1.1\r\nHost: a\r\n: abc\r\n\r\n", "Not a field."),
        case("empty lines first", One, b"\r\n\r\nGET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "Passed over (RFC 9112 2.2)."),
        case("LF first", Refused, b"\nGET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "A line ends by CRLF."),
    ]
}

#[rustfmt::skip] // A case is a row.
fn letters() -> Vec<Case> {
    vec![
        case("NUL in a value", Refused, b"GET /{} HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", "Some end the value there."),
        case("NUL in a name", Refused, b"GET /{} HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n", "Not a name."),
        case("control byte in a value", Refused, b"GET /{} HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n", "Not a value."),
        case("DEL in a value", Refused, b"GET /{} HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", "Not a value."),
        case("space in a name", Refused, b"GET /{} HTTP/1.1\r\nHost: a\r\nX Y: a\r\n\r\n", "Not a name."),
        case("non-ASCII name", Refused, b"GET /{} HTTP/1.1\r\nHost: a\r\nX\xe9: a\r\n\r\n", "Not a name."),
        case(
            "non-ASCII value",
            One,
            b"GET /{} HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9\r\n\r\n",
            "Lawful, and what it means is the application's business (RFC 9110 5.5).",
        ),
        case(
            "response splitting",
            One,
            b"GET /{}?u=%0d%0aSet-Cookie:%20x=y HTTP/1.1\r\nHost: a\r\nX: %0d%0aSet-Cookie: x=y\r\n\r\n",
            "Nothing is decoded on the way.",
        )
        .fields(&["x"]),
    ]
}

#[rustfmt::skip] // A case is a row.
fn sizes() -> Vec<Case> {
    let with = |fields: &str| format!("GET /{{}} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes();
    let long = |length: usize| format!("GET /{{}}{} HTTP/1.1\r\nHost: a\r\n\r\n", "u".repeat(length));
    let some: String = (0..99).map(|number| format!("X-{number}: y\r\n")).collect();
    let many: String = (0..110).map(|number| format!("X-{number}: y\r\n")).collect();
    let large: String = (0..50).map(|number| format!("X-{number}: {}\r\n", "y".repeat(1000))).collect();
    vec![
        case("100 fields", One, &with(&some), "100 is the limit.").shown("`Host: a⏎` and 99 fields more"),
        case("111 fields", Refused, &with(&many), "100 is the limit.").shown("`Host: a⏎` and 110 fields more"),
        case("head of 50 kB", Refused, &with(&large), "32 KiB is the limit, as by HTTP/2.").shown("50 fields of 1000 bytes"),
        case("field of 40 kB", Refused, &with(&format!("X: {}\r\n", "y".repeat(40_000))), "As above."),
        case("field of 12 kB", One, &with(&format!("X: {}\r\n", "y".repeat(12_000))), "Single sign-on needs such fields."),
        case("target of 9 kB", One, long(9_000).as_bytes(), "Within the head's limit, which is the only one."),
        case("target of 40 kB", Refused, long(40_000).as_bytes(), "As above."),
        case("head without an end", Refused, &vec![b'A'; 200_000], "As above: no more than 32 KiB of it are kept."),
    ]
}

#[rustfmt::skip] // A case is a row.
fn pretences() -> Vec<Case> {
    let get = |name, fields: &str, why| {
        let text = format!("GET /{{}} HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        case(name, One, text.as_bytes(), why)
    };
    vec![
        get(
            "Connection lists Host",
            "Connection: close, host",
            "A host is not of one connection.",
        )
        .fields(&["host"]),
        get(
            "Connection lists X-Forwarded-For",
            "Connection: close, x-forwarded-for\r\nX-Forwarded-For: 6.6.6.6",
            "Who the client is, the gate says; nobody takes that out.",
        )
        .fields(&["x-forwarded-for"]),
        get(
            "spoofed client",
            "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6",
            "Nobody but a trusted proxy is believed (`gate.trusted_proxies`).",
        )
        .fields(&["x-forwarded-for", "x-forwarded-proto", "forwarded"]),
        get(
            "spoofed client with underscores",
            "X_Forwarded_For: 6.6.6.6\r\nX_FORWARDED_PROTO: https",
            "CGI, WSGI and Rack know no difference between `_` and `-`: twins of what the gate says are dropped.",
        )
        .fields(&["x_forwarded_for", "x_forwarded_proto", "x-forwarded-for"]),
        get(
            "length with an underscore",
            "Content_Length: 5\r\nTransfer_Encoding: chunked",
            "As above.",
        )
        .fields(&["content_length", "transfer_encoding"]),
        get("another field with underscores", "api_key: 1", "Lawful, and applications use such names.").fields(&["api_key"]),
        get("Upgrade: h2c", "Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk", "Behind such an upgrade requests would pass that no hold sees.")
            .fields(&["upgrade"]),
        get("Expect: nonsense", "Expect: 200-ok", "Expectations end here; only 100-continue is one.").fields(&["expect"]),
        get("TE: gzip", "TE: gzip\r\nConnection: te", "The gate understands no such coding, so it asks for none.").fields(&["te"]),
        get("Proxy", "Proxy: http://evil.example", "CGI makes `HTTP_PROXY` of it, which some programs obey: dropped.").fields(&["proxy"]),
    ]
}

#[rustfmt::skip] // A case is a row.
fn slow() -> Vec<Case> {
    vec![
        case(
            "slow head",
            Refused,
            b"GET /{} HTTP/1.1\r\nHost: a\r\nX: ",
            "The whole head has `client_head_timeout`, however many bytes come meanwhile.",
        ),
        case("nothing at all", Refused, b"", "As above.").shown("no bytes"),
        case(
            "slow body",
            Begun,
            b"POST /{} HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx",
            "`client_body_timeout` between two parts.",
        ),
        case(
            "slow reader",
            One,
            b"GET /{}/big/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "A client that acknowledges nothing for `client_write_timeout` is cut off, and its upstream let go.",
        )
        .takes_nothing()
        .shown("`GET / HTTP/1.1⏎Host: a⏎⏎`, and nothing of 64 MiB is read"),
    ]
}
