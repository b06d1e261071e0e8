//! Where a request ends: lengths, transfer codings and chunks of HTTP/1.

use super::case::Rule::{Begun, First, One, Refused, Two};
use super::case::{Case, case};

pub(crate) fn cases() -> Vec<Case> {
    [lengths(), codings(), chunks(), ends()].concat()
}

#[rustfmt::skip] // A case is a row.
fn lengths() -> Vec<Case> {
    let body = |name, fields: &str, why| {
        let text = format!("POST /{{}} HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\nhello");
        case(name, Refused, text.as_bytes(), why)
    };
    vec![
        body(
            "length, then chunked",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Two framings in one request are how requests are smuggled past whoever reads the other one.",
        ),
        body(
            "chunked, then length",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "As above; the order tells nothing.",
        ),
        case(
            "smuggled behind a last chunk",
            Refused,
            b"POST /{} HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n\
              0\r\n\r\nGET /{}/smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
            "As above. Nothing behind it is served either.",
        ),
        Case {
            rule: One,
            ..body(
                "one length twice",
                "Content-Length: 5\r\nContent-Length: 5",
                "They agree, and one of them is sent on (RFC 9112 6.3).",
            )
        },
        body("two lengths", "Content-Length: 5\r\nContent-Length: 6", "Nobody knows which one counts."),
        body("a list of one length", "Content-Length: 5, 5", "RFC 9112 6.3 lets it be refused."),
        body("a list of lengths", "Content-Length: 5, 6", "Nobody knows which one counts."),
        body("length with a plus", "Content-Length: +5", "A length is digits. Some read the sign, others do not."),
        body("length with a minus", "Content-Length: -5", "A length is digits."),
        body("length with a space", "Content-Length: 1 5", "Some read 1, others 15."),
        body("length in hex", "Content-Length: 0x5", "Some read 0, others 5."),
        body("length beyond 64 bits", "Content-Length: 18446744073709551621", "Some would read 5."),
        body("length of 64 bits", "Content-Length: 18446744073709551615", "Larger than what a body can be."),
        body("no length", "Content-Length:", "A length is digits."),
        body("length in letters", "Content-Length: five", "A length is digits."),
        Case {
            rule: One,
            ..body("length with zeros", "Content-Length: 0005", "Digits in any number; sent on as they are.")
        },
        case(
            "length of HTTP/1.0",
            One,
            b"POST /{} HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
            "As good as any.",
        ),
    ]
}

#[rustfmt::skip] // A case is a row.
fn codings() -> Vec<Case> {
    let coded = |name, field: &str, why| {
        let text = format!(
            "POST /{{}} HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        case(name, Refused, text.as_bytes(), why)
    };
    vec![
        Case { rule: One, ..coded("chunked in capitals", "TRANSFER-ENCODING: CHUNKED", "Names have no case.") },
        coded(
            "chunked twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Chunks within chunks are forbidden (RFC 9112 6.1), and some read only one of the fields.",
        ),
        coded("chunked, chunked", "Transfer-Encoding: chunked, chunked", "As above."),
        coded("xchunked", "Transfer-Encoding: xchunked", "Some read any coding as chunks."),
        coded(
            "space before the colon",
            "Transfer-Encoding : chunked",
            "Some pass over such a field (RFC 9112 5.1 wants it refused).",
        ),
        coded("vertical tab before chunked", "Transfer-Encoding:\x0bchunked", "Some take it for a space."),
        coded("vertical tab in the name", "Transfer-Encoding\x0b: chunked", "Not a name."),
        coded("chunked in quotes", "Transfer-Encoding: \"chunked\"", "Not a coding."),
        coded(
            "gzip, chunked",
            "Transfer-Encoding: gzip, chunked",
            "The gate undoes chunks only; passed on without its coding the body would be something else.",
        ),
        coded("gzip", "Transfer-Encoding: gzip", "Where it ends cannot be known (RFC 9112 6.3)."),
        coded("chunked, identity", "Transfer-Encoding: chunked, identity", "Chunks have to come last."),
        coded("identity", "Transfer-Encoding: identity", "No coding any more (RFC 9112 7)."),
        coded("identity, then chunked", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "As above."),
        coded("no coding", "Transfer-Encoding:", "Where it ends cannot be known."),
        coded("chunked with a comma", "Transfer-Encoding: chunked,", "Not a coding."),
        case(
            "chunked by HTTP/1.0",
            Refused,
            b"POST /{} HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "HTTP/1.0 has no chunks: its framing is faulty (RFC 9112 6.1).",
        ),
    ]
}

#[rustfmt::skip] // A case is a row.
fn chunks() -> Vec<Case> {
    let chunked = |name, rule, chunks: &str, why| {
        let text = format!(
            "POST /{{}} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        );
        case(name, rule, text.as_bytes(), why)
    };
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20_000));
    let many = format!("{}0\r\n\r\n", "1;xx\r\na\r\n".repeat(10_000));
    let trailers = format!("5\r\nhello\r\n0\r\n{}\r\n", "x: y\r\n".repeat(5_000));
    vec![
        chunked("chunk size beyond 64 bits", Begun, "10000000000000005\r\nhello\r\n0\r\n\r\n", "Some would read 5."),
        chunked("chunk size with a plus", Begun, "+5\r\nhello\r\n0\r\n\r\n", "A size is hexadecimal digits."),
        chunked("chunk size with a minus", Begun, "-5\r\nhello\r\n0\r\n\r\n", "As above."),
        chunked("chunk size with 0x", Begun, "0x5\r\nhello\r\n0\r\n\r\n", "Some would read 0, which is the end."),
        chunked("space before the chunk size", Begun, " 5\r\nhello\r\n0\r\n\r\n", "A size is hexadecimal digits."),
        chunked("space behind the chunk size", One, "5 \r\nhello\r\n0\r\n\r\n", "Harmless: sent on without it."),
        chunked("space within the chunk size", Begun, "0 5\r\nhello\r\n0\r\n\r\n", "Some would read 0."),
        chunked("no chunk size", Begun, "\r\nhello\r\n0\r\n\r\n", "Some would read 0."),
        chunked("chunk extension", One, "5;a=b;c=\"d\"\r\nhello\r\n0\r\n\r\n", "Extensions end here (RFC 9112 7.1.1)."),
        chunked("LF in a chunk extension", Begun, "5;a\nhello\r\n0\r\n\r\n", "Some end the line there."),
        chunked("chunk extension of 20 kB", Begun, &long, "16 KiB of extensions is the limit of a request."),
        chunked("10000 chunk extensions", Begun, &many, "As above: all of them count.")
            .shown("`1;xx⏎a⏎` 10000 times"),
        chunked("chunk line ends by LF", Begun, "5\nhello\r\n0\r\n\r\n", "A line ends by CRLF."),
        chunked("chunk ends by LF", Begun, "5\r\nhello\n0\r\n\r\n", "As above."),
        chunked("chunk without an end", Begun, "5\r\nhello0\r\n\r\n", "It is longer than it says."),
        chunked("chunk with two ends", Begun, "5\r\nhello\r\n\r\n0\r\n\r\n", "An empty line is no size."),
        chunked("last chunk of many zeros", One, "5\r\nhello\r\n0000\r\n\r\n", "Still zero."),
        chunked("last chunk ends by LF", Begun, "5\r\nhello\r\n0\n\n", "A line ends by CRLF."),
        chunked(
            "trailers that nobody announced",
            One,
            "5\r\nhello\r\n0\r\nHost: b\r\nContent-Length: 3\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
            "Only announced trailers are sent on, never as fields of the head.",
        ),
        chunked("trailers of 30 kB", Begun, &trailers, "32 KiB and 100 fields are the limit.")
            .shown("`x: y⏎` 5000 times behind the last chunk"),
        chunked("trailer without a colon", Begun, "5\r\nhello\r\n0\r\nabc\r\n\r\n", "Not a field."),
        case(
            "forbidden trailers announced",
            One,
            b"POST /{} HTTP/1.1\r\nHost: a\r\nTrailer: host, content-length, transfer-encoding\r\n\
              Transfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\nContent-Length: 3\r\nTransfer-Encoding: gzip\r\n\r\n",
            "Framing and routing never come by trailers (RFC 9110 6.5.1): they are dropped.",
        ),
    ]
}

#[rustfmt::skip] // A case is a row.
fn ends() -> Vec<Case> {
    vec![
        case(
            "body shorter than its length",
            Begun,
            b"POST /{} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
            "Bodies are sent on as they come; what never becomes whole is broken off at the upstream too.",
        ),
        case(
            "chunks without a last one",
            Begun,
            b"POST /{} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "As above.",
        ),
        case(
            "two requests at once",
            Two,
            b"GET /{} HTTP/1.1\r\nHost: a\r\n\r\nGET /{}/2 HTTP/1.1\r\nHost: a\r\n\r\n",
            "Pipelining is lawful.",
        ),
        case(
            "request behind an error",
            Refused,
            b"GET /{} HTTP/1.1\r\nHost: a\r\nbad\r\n\r\nGET /{}/2 HTTP/1.1\r\nHost: a\r\n\r\n",
            "Where the next one begins is not known any more: the connection ends.",
        ),
        case(
            "request behind one of two lengths",
            First,
            b"GET /{} HTTP/1.1\r\nHost: a\r\n\r\nPOST /{}/2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\
              Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /{}/3 HTTP/1.1\r\nHost: a\r\n\r\n",
            "The first is served, and the connection ends with the second.",
        ),
        case(
            "ambiguous behind chunks",
            First,
            b"POST /{} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\n\nhe\n\n\r\n0\r\n\r\n\
              POST /{}/2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            "As above: heads are told from bodies.",
        ),
        case(
            "GET with a body",
            One,
            b"GET /{} HTTP/1.1\r\nHost: a\r\nContent-Length: 27\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "Its body has a length and stays its body.",
        ),
        case(
            "GET with chunks",
            One,
            b"GET /{} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "As above.",
        ),
        case(
            "Connection lists Content-Length",
            One,
            b"GET /{} HTTP/1.1\r\nHost: a\r\nConnection: close, content-length\r\nContent-Length: 5\r\n\r\nhello",
            "A length is not of one connection, whatever is said: without it the body would be the next request.",
        ),
        case(
            "Connection lists Transfer-Encoding",
            One,
            b"POST /{} HTTP/1.1\r\nHost: a\r\nConnection: close, transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n\
              5\r\nhello\r\n0\r\n\r\n",
            "The gate makes chunks of its own.",
        ),
    ]
}
