//! Heads of HTTP/2 that are malformed, or that would be something else as HTTP/1.

use super::ask::{Fields, GET, NEVER, begun, block, head, marked, with};
use super::case::Case;
use super::case::Rule::{One, Refused};
use super::frame::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, field, frame};

pub(crate) fn cases() -> Vec<Case> {
    [pseudo(), regular()].concat()
}

#[rustfmt::skip] // A case is a row.
fn pseudo() -> Vec<Case> {
    let [method, scheme, path, authority] = GET;
    let instead = |name, fields: Fields<'_>, shown, why| head(name, Refused, fields, shown, why);
    vec![
        with("pseudo field twice", Refused, &[(b":path", b"/b")], "`:path: /`, `:path: /b`", "Malformed (RFC 9113 8.3)."),
        instead("pseudo field behind a field", &[method, scheme, authority, (b"x", b"y"), path], "`x: y`, `:path: /`", "Malformed (RFC 9113 8.3)."),
        with("unknown pseudo field", Refused, &[(b":x", b"y")], "`:x: y`", "Malformed (RFC 9113 8.3)."),
        with("pseudo field of answers", Refused, &[(b":status", b"200")], "`:status: 200`", "Malformed (RFC 9113 8.3)."),
        instead("no method", &[scheme, path, authority], "no `:method`", "Malformed (RFC 9113 8.3.1)."),
        instead("no path", &[method, scheme, authority, (b"x", b"{}")], "no `:path`", "Malformed (RFC 9113 8.3.1)."),
        instead("empty path", &[method, scheme, (b":path", b""), authority, (b"x", b"{}")], "`:path:`", "Malformed (RFC 9113 8.3.1)."),
        instead("path without a slash", &[method, scheme, (b":path", b"{}"), authority], "`:path: a`", "Malformed (RFC 9113 8.3.1)."),
        instead("GET of an asterisk", &[method, scheme, (b":path", b"*"), authority, (b"x", b"{}")], "`:path: *`", "Only `OPTIONS` has it."),
        instead("CRLF in the path", &[method, scheme, (b":path", b"/{} HTTP/1.1\r\nx: y"), authority], "`:path: / HTTP/1.1⏎x: y`", "It would be a request line and a field."),
        instead("space in the path", &[method, scheme, (b":path", b"/{} HTTP/1.1"), authority], "`:path: / HTTP/1.1`", "It would be a request line."),
        head("fragment in the path", One, &[method, scheme, (b":path", b"/{}#b"), authority], "`:path: /#b`", "The HTTP library drops it before anybody sees it: nobody behind the gate gets one."),
        instead("space in the method", &[(b":method", b"GET /{} HTTP/1.1"), scheme, path, authority], "`:method: GET / HTTP/1.1`", "It would be a request line."),
        instead("CRLF in the method", &[(b":method", b"GET / HTTP/1.1\r\nx: y"), scheme, path, authority], "`:method: GET / HTTP/1.1⏎x: y`", "It would be a request."),
        instead("scheme with a path", &[method, (b":scheme", b"http://b/?"), path, authority], "`:scheme: http://b/?`", "Some make a URI of it, of another host."),
        instead("unknown scheme", &[method, (b":scheme", b"ftp"), path, authority], "`:scheme: ftp`", "Only HTTP is served here."),
        instead("CRLF in the authority", &[method, scheme, path, (b":authority", b"a\r\nx: y")], "`:authority: a⏎x: y`", "It would be two fields."),
        instead("authority with userinfo", &[method, scheme, path, (b":authority", b"a@b")], "`:authority: a@b`", "Malformed (RFC 9113 8.3.1)."),
        instead("authority with a path", &[method, scheme, path, (b":authority", b"a/b")], "`:authority: a/b`", "Not a host."),
        with("authority and another host", Refused, &[(b"host", b"b")], "`:authority: a`, `host: b`", "Two readers could take it for two sites (RFC 9113 8.3.1)."),
        with("authority and the same host", One, &[(b"host", b"a")], "`:authority: a`, `host: a`", "They agree; one is sent on.").fields(&["host"]),
        head("host alone", One, &[method, scheme, path, (b"host", b"a")], "`host: a`", "Lawful where a request was HTTP/1 before.").fields(&["host"]),
        instead("neither authority nor host", &[method, scheme, path], "no `:authority`", "As no host in HTTP/1.1."),
        instead("two hosts and no authority", &[method, scheme, path, (b"host", b"a"), (b"host", b"b")], "`host: a`, `host: b`", "As in HTTP/1.1."),
        instead("CONNECT by HTTP/2", &[(b":method", b"CONNECT"), (b":authority", b"a:443"), (b"x", b"{}")], "`:method: CONNECT`", "A gate is no way to other hosts."),
        instead("CONNECT to a WebSocket", &[(b":method", b"CONNECT"), (b":protocol", b"websocket"), scheme, path, authority], "`:protocol: websocket`", "Not offered (RFC 8441)."),
    ]
}

#[rustfmt::skip] // A case is a row.
fn regular() -> Vec<Case> {
    let large = |name, shown, why| {
        let case = marked(name, Refused, &GET, &[], why).shown(shown);
        // Instead of the HEADERS that it has.
        let first = frame(HEADERS, END_STREAM, 1, &block(&NEVER));
        let value = field(b"x", &[b'y'; 40_000]);
        let parts = value.chunks(16_000).map(|part| frame(CONTINUATION, 0, 1, part));
        let last = frame(CONTINUATION, END_HEADERS, 1, &[]);
        Case { bytes: [begun(), first, parts.collect::<Vec<_>>().concat(), last].concat(), ..case }
    };
    let refused = |name, fields: Fields<'_>, shown, why| with(name, Refused, fields, shown, why);
    vec![
        refused("upper-case name", &[(b"X-Mine", b"y")], "`X-Mine: y`", "Malformed (RFC 9113 8.2.1)."),
        refused("empty name", &[(b"", b"y")], "`: y`", "Not a name."),
        refused("CRLF in a name", &[(b"x: y\r\nz", b"w")], "`x: y⏎z: w`", "It would be two fields."),
        refused("colon in a name", &[(b"x:y", b"w")], "`x:y: w`", "It would be another field."),
        refused("space in an HTTP/2 name", &[(b"x y", b"w")], "`x y: w`", "Not a name."),
        refused("CRLF in a value", &[(b"x", b"y\r\nz: w")], "`x: y⏎z: w`", "It would be two fields."),
        refused("two CRLFs in a value", &[(b"x", b"y\r\n\r\nGET / HTTP/1.1\r\nhost: b")], "`x: y⏎⏎GET / HTTP/1.1⏎host: b`", "It would be two requests."),
        refused("LF in a value", &[(b"x", b"y\nz: w")], "`x: y\\nz: w`", "As CRLF."),
        refused("CR in an HTTP/2 value", &[(b"x", b"y\rz: w")], "`x: y\\rz: w`", "As CRLF."),
        refused("NUL in an HTTP/2 value", &[(b"x", b"y\0z")], "`x: y\\0z`", "Some end the value there."),
        refused("Connection", &[(b"connection", b"close")], "`connection: close`", "Malformed (RFC 9113 8.2.2)."),
        refused("Transfer-Encoding", &[(b"transfer-encoding", b"chunked")], "`transfer-encoding: chunked`", "Malformed, and a framing of its own as HTTP/1."),
        refused("Upgrade", &[(b"upgrade", b"websocket")], "`upgrade: websocket`", "Malformed (RFC 9113 8.2.2)."),
        refused("Keep-Alive", &[(b"keep-alive", b"1")], "`keep-alive: 1`", "Malformed (RFC 9113 8.2.2)."),
        refused("TE: gzip by HTTP/2", &[(b"te", b"gzip")], "`te: gzip`", "Malformed: only `trailers` is allowed."),
        large("head of 40 kB by HTTP/2", "`x: y×40000`", "32 KiB is the limit."),
        with("cookie in crumbs", One, &[(b"cookie", b"a=1"), (b"cookie", b"b=2")], "`cookie: a=1`, `cookie: b=2`", "One field as HTTP/1.").fields(&["cookie"]),
        with("underscore twin by HTTP/2", One, &[(b"x_forwarded_for", b"6.6.6.6")], "`x_forwarded_for: 6.6.6.6`", "As by HTTP/1.").fields(&["x_forwarded_for"]),
    ]
}
