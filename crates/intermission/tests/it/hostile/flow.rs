//! Bodies and single frames of HTTP/2.

use super::ask::{GET, NEVER, POST, ask, begun, marked};
use super::case::Rule::{Begun, Borne, One, Refused};
use super::case::{Case, case};
use super::frame::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, PRIORITY, WINDOW_UPDATE,
    frame,
};

pub(crate) fn cases() -> Vec<Case> {
    [bodies(), frames()].concat()
}

#[rustfmt::skip] // A case is a row.
fn bodies() -> Vec<Case> {
    let data = |text: &[u8], flags| frame(DATA, flags, 1, text);
    let length = |length: &'static [u8]| [&POST[..], &[(b"content-length", length)]].concat();
    let rest = [data(b"hello", END_STREAM), frame(PING, 0, 0, &[0; 8])].concat();
    vec![
        marked("length too large", Begun, &length(b"10"), &rest, "The stream ends (RFC 9113 8.1.1), and the upstream's connection with it.")
            .shown("`content-length: 10`, 5 bytes"),
        marked("length too small", Begun, &length(b"3"), &rest, "As above.").shown("`content-length: 3`, 5 bytes"),
        marked("length without a body", Refused, &length(b"10"), &[], "As above.").shown("`content-length: 10`, END_STREAM"),
        marked("length that is none by HTTP/2", Refused, &length(b"+5"), &rest, "A length is digits.").shown("`content-length: +5`, 5 bytes"),
        marked("two lengths by HTTP/2", Refused, &[&length(b"5")[..], &[(b"content-length", b"6")]].concat(), &rest, "Nobody knows which one counts.")
            .shown("`content-length: 5`, `content-length: 6`, 5 bytes"),
        marked("body without a length", One, &POST, &rest, "Chunks, as HTTP/1.").shown("5 bytes"),
        marked("body that does not end", Begun, &POST, &data(b"hello", 0), "`client_body_timeout` between two parts.").shown("5 bytes, no END_STREAM"),
        marked("more than the window", Begun, &POST, &data(&[b'x'; 16_384], 0).repeat(80), "The client must not (RFC 9113 6.9.1).").shown("1.3 MB of DATA at once"),
        marked("body behind END_STREAM", Borne, &GET, &[], "The request is whole; what comes behind it ends the connection or nothing.")
            .shown("DATA behind END_STREAM")
            .then(&data(b"hello", END_STREAM)),
    ]
}

#[rustfmt::skip] // A case is a row.
fn frames() -> Vec<Case> {
    let raw = |name, rule, parts: &[Vec<u8>], shown, why| {
        case(name, rule, &[begun(), parts.concat()].concat(), why).shown(shown)
    };
    vec![
        raw("window beyond 2³¹", Refused, &[frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(2)], "WINDOW_UPDATE 2³¹-1 twice", "RFC 9113 6.9.1."),
        raw("window of nothing", Refused, &[frame(WINDOW_UPDATE, 0, 0, &[0; 4])], "WINDOW_UPDATE 0", "RFC 9113 6.9."),
        raw("stream of even number", Refused, &[ask(2, END_STREAM, &NEVER)], "HEADERS of stream 2", "Those are the server's."),
        raw("DATA of no stream", Refused, &[frame(DATA, 0, 1, b"x")], "DATA of stream 1, no HEADERS", "RFC 9113 5.1."),
        raw("CONTINUATION of nothing", Refused, &[frame(CONTINUATION, END_HEADERS, 1, &[])], "CONTINUATION first", "RFC 9113 6.10."),
        raw("other frame within a head", Refused, &[frame(HEADERS, 0, 1, &[]), frame(PING, 0, 0, &[0; 8])], "HEADERS, PING, no END_HEADERS", "RFC 9113 6.10."),
        raw("frame beyond its size", Refused, &[frame(DATA, 0, 1, &vec![0; 20_000])], "DATA of 20000 bytes", "16384 is the limit."),
        raw("index beyond the table", Refused, &[frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0x7f])], "HPACK index 16510", "RFC 7541 2.3.3."),
        raw("padding beyond the frame", Refused, &[frame(HEADERS, END_HEADERS | 8, 1, &[200, 0x82])], "HEADERS padded by 200 of 2 bytes", "RFC 9113 6.2."),
        raw("stream that depends on itself", Borne, &[frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0])], "PRIORITY", "Priorities are passed over."),
        case("nothing behind the preface", Refused, PREFACE, "An idle connection has `client_head_timeout`.").shown("the preface"),
        case("half a preface", Refused, &PREFACE[..20], "As a slow head.").shown("20 bytes of the preface"),
    ]
}
