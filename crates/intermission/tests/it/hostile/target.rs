//! Request lines and hosts of HTTP/1.

use super::case::Rule::{One, Refused};
use super::case::{Case, case};

pub(crate) fn cases() -> Vec<Case> {
    [hosts(), targets(), lines()].concat()
}

#[rustfmt::skip] // A case is a row.
fn hosts() -> Vec<Case> {
    let host = |name, rule, host: &str, why| {
        let text = format!("GET /{{}} HTTP/1.1\r\n{host}\r\n");
        case(name, rule, text.as_bytes(), why).fields(&["host"])
    };
    vec![
        host("two hosts", Refused, "Host: a\r\nHost: b\r\n", "Two readers could take it for two sites (RFC 9112 3.2)."),
        host("one host twice", Refused, "Host: a\r\nHost: a\r\n", "As above."),
        host("no host", Refused, "", "HTTP/1.1 demands one (RFC 9112 3.2)."),
        host("host list", Refused, "Host: a, b\r\n", "What two fields become where they are joined."),
        host("host with userinfo", Refused, "Host: a@b\r\n", "Some read a, others b."),
        host("host with a path", Refused, "Host: a/b\r\n", "Not a host."),
        host("host with a query", Refused, "Host: a?b\r\n", "Not a host."),
        host("host with a space", Refused, "Host: a b\r\n", "Not a host."),
        host("host with a tab", Refused, "Host: a\tb\r\n", "Not a host."),
        host("host not in ASCII", Refused, "Host: \u{e9}.example\r\n", "Not a host: such names have an ASCII form."),
        host("host with a port that is none", Refused, "Host: a:b\r\n", "A port is digits."),
        host("host with two ports", Refused, "Host: a:1:2\r\n", "Some read the first, others the last."),
        host("host with an open bracket", Refused, "Host: [::1\r\n", "Not an address."),
        host("host that is an IPv6 address", One, "Host: [::1]:80\r\n", "Lawful."),
        host("host with an underscore", One, "Host: my_shop:8080\r\n", "Lawful, and in use in containers."),
        case("no host in HTTP/1.0", One, b"GET /{} HTTP/1.0\r\n\r\n", "HTTP/1.0 demands none.").fields(&["host"]),
        case(
            "absolute target of another host",
            One,
            b"GET http://b/{} HTTP/1.1\r\nHost: a\r\n\r\n",
            "The target wins, and is the Host that is sent on (RFC 9112 3.2.2).",
        )
        .fields(&["host"]),
        case(
            "absolute target with userinfo",
            Refused,
            b"GET http://a@b/{} HTTP/1.1\r\nHost: b\r\n\r\n",
            "Forbidden in HTTP (RFC 9110 4.2.4).",
        ),
        case(
            "absolute target of another scheme",
            Refused,
            b"GET ftp://a/{} HTTP/1.1\r\nHost: a\r\n\r\n",
            "Only HTTP is served here.",
        ),
        case(
            "absolute target and two hosts",
            Refused,
            b"GET http://a/{} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "As two hosts.",
        ),
    ]
}

#[rustfmt::skip] // A case is a row.
fn targets() -> Vec<Case> {
    let target = |name, rule, target: &str, why| {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-Case: {{}}\r\n\r\n");
        case(name, rule, text.as_bytes(), why)
    };
    vec![
        target("asterisk", Refused, "*", "Only `OPTIONS` has it (RFC 9112 3.2.4)."),
        target("target without a slash", Refused, "a", "Neither a path nor a URI."),
        target("target of host and port", Refused, "a:80", "Only `CONNECT` has it."),
        target("fragment", Refused, "/a#b", "Not a part of a target: some drop it, others serve a path with it."),
        target("path that goes up", One, "/x/../../etc/passwd", "Sent on as it came: what it means, the application decides."),
        target("encoded path that goes up", One, "/x/%2e%2e%2f", "As above: nothing is decoded."),
        target("encoded NUL and CRLF", One, "/x%00%0d%0a", "As above."),
        target("half an escape", One, "/x%2", "As above."),
        target("two slashes", One, "//b/x", "A path, no authority."),
        target("backslash", One, "/x\\..\\y", "As above: sent on as it came."),
        target("non-ASCII target", One, "/\u{e9}", "As above: some clients send it so."),
        target("quotes and braces", One, "/\"{x}", "As above."),
        target("angle brackets", Refused, "/<x>", "Never in a URI; browsers encode them."),
        case("control byte in the target", Refused, b"GET /{}\x01 HTTP/1.1\r\nHost: a\r\n\r\n", "Not a target."),
        case("NUL in the target", Refused, b"GET /{}\0 HTTP/1.1\r\nHost: a\r\n\r\n", "Not a target."),
        case("DEL in the target", Refused, b"GET /{}\x7f HTTP/1.1\r\nHost: a\r\n\r\n", "Not a target."),
        case("OPTIONS *", One, b"OPTIONS * HTTP/1.1\r\nHost: a\r\nX-Case: {}\r\n\r\n", "Lawful."),
        case(
            "CONNECT",
            Refused,
            b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nX-Case: {}\r\n\r\n",
            "A gate is no way to other hosts.",
        ),
        case("TRACE", One, b"TRACE /{} HTTP/1.1\r\nHost: a\r\n\r\n", "A method like any other; applications refuse it."),
    ]
}

#[rustfmt::skip] // A case is a row.
fn lines() -> Vec<Case> {
    let line = |name, rule, line: &str, why| {
        let text = format!("{line}\r\nHost: a\r\nX-Case: {{}}\r\n\r\n");
        case(name, rule, text.as_bytes(), why)
    };
    vec![
        line("two spaces", Refused, "GET  / HTTP/1.1", "Some find an empty target there."),
        line("tabs", Refused, "GET\t/\tHTTP/1.1", "Some take them for spaces."),
        line("space in the target", Refused, "GET /a b HTTP/1.1", "Where it ends cannot be known."),
        line("space at the end", Refused, "GET / HTTP/1.1 ", "Not a version."),
        line("space first", Refused, " GET / HTTP/1.1", "Not a method."),
        line("lower-case method", One, "get / HTTP/1.1", "Methods have case: another one, sent on as it is."),
        line("unknown method", One, "PURGE / HTTP/1.1", "Sent on: what it means is the application's business."),
        line("method that is no token", Refused, "GE(T / HTTP/1.1", "Not a method."),
        line("lower-case version", Refused, "GET / http/1.1", "Not a version."),
        line("HTTP/1.2", Refused, "GET / HTTP/1.2", "Nobody knows what it would be."),
        line("HTTP/2.0 in a request line", Refused, "GET / HTTP/2.0", "HTTP/2 has no request lines."),
        line("HTTP/1.10", Refused, "GET / HTTP/1.10", "Not a version."),
        line("HTTP/01.1", Refused, "GET / HTTP/01.1", "Not a version."),
        line("no version", Refused, "GET /", "HTTP/0.9 has no fields."),
        case("HTTP/0.9", Refused, b"GET /{}\r\n", "It has neither hosts nor lengths; nobody speaks it."),
        case("TLS at a port in clear text", Refused, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "Not HTTP."),
    ]
}
