//! What is taken for a request and what is not, and how answers are written.

mod differential;
mod leaving;

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::head::HEAD_BYTES_MAX;
use super::{Date, End, PREFACE, Refusal, Requests};
use crate::gate::body::GateBody;
use crate::gate::client_socket::{ClientSocket, Tcp};
use crate::gate::stream::Shared;
use crate::shutdown::Shutdown;

const LIMIT: Duration = Duration::from_secs(10);

/// Method, target, version, fields, body and trailers of a request that was taken whole.
type Taken = (String, String, String, Vec<(String, String)>, Vec<u8>, Vec<(String, String)>);

async fn pair() -> (TcpStream, Shared<ClientSocket>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.set_nodelay(true).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    (client, Shared::new(ClientSocket::plain(Tcp::new(stream))))
}

/// Of a request whose body comes whole.
async fn whole<B>(request: Request<B>) -> Option<Taken>
where
    B: Body<Data = Bytes>,
{
    let (head, body) = request.into_parts();
    let collected = body.collect().await.ok()?;
    let texts = |fields: &http::HeaderMap| {
        let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        fields.iter().map(text).collect::<Vec<_>>()
    };
    let trailers = collected.trailers().map(texts).unwrap_or_default();
    let version = format!("{:?}", head.version);
    let (method, target) = (head.method.to_string(), head.uri.to_string());
    let body = collected.to_bytes().to_vec();
    Some((method, target, version, texts(&head.headers), body, trailers))
}

/// Sends `pieces`, each by itself, and gives what comes back until the other side ends.
async fn talk<S>(socket: S, pieces: &[&[u8]]) -> Vec<u8>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut reads, mut writes) = tokio::io::split(socket);
    let sending = async {
        for piece in pieces {
            // It may have been refused already.
            drop(writes.write_all(piece).await);
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        }
        drop(writes.shutdown().await);
    };
    let mut answers = Vec::new();
    drop(tokio::join!(sending, reads.read_to_end(&mut answers)));
    answers
}

/// What is taken of these pieces, how that ends, and what is answered.
async fn received(pieces: &[&[u8]]) -> (Vec<Taken>, End, String) {
    let (client, socket) = pair().await;
    let taken = RefCell::new(Vec::new());
    let (date, shutdown) = (Date::now(), Shutdown::new());
    let requests = Requests::new(&socket, &date, &shutdown, LIMIT);
    let receiving = async {
        let end = requests
            .answer_each(async |request| {
                let request = whole(*request).await;
                taken.borrow_mut().extend(request);
                Ok::<_, Infallible>(Response::new(GateBody::Page(Full::from("ok"))))
            })
            .await;
        drop(socket.clone().shutdown().await);
        // Closed with unread bytes it would be reset, and the answers with it.
        drop(tokio::io::copy(&mut socket.clone(), &mut tokio::io::sink()).await);
        end
    };
    let both = async { tokio::join!(receiving, talk(client, pieces)) };
    let (end, answers) = tokio::time::timeout(LIMIT, both).await.unwrap();
    (taken.into_inner(), end, String::from_utf8_lossy(&answers).into_owned())
}

/// The bodies of all requests that are taken.
async fn bodies(bytes: &str) -> Vec<String> {
    let taken = received(&[bytes.as_bytes()]).await.0;
    taken.into_iter().map(|taken| String::from_utf8(taken.4).unwrap()).collect()
}

#[tokio::test]
async fn a_body_ends_where_its_head_says_and_the_next_request_begins_there() {
    let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    for (request, body) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n\n#\n", "\n#\n"),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\ncontent-length: 3\r\n\r\nabc", "abc"),
        ("POST / HTTP/1.1\r\nContent-Length: 0003\r\n\r\nabc", "abc"),
        ("POST / HTTP/1.0\r\nConnection: x, Keep-Alive\r\nContent-Length: 3\r\n\r\nabc", "abc"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""),
        (
            "POST / HTTP/1.1\r\nTRANSFER-ENCODING:CHUNKED\r\n\r\n3;x\r\n\n\n\n\r\nA \r\n0123456789\r\n000\r\nx: y\r\n\r\n",
            "\n\n\n0123456789",
        ),
    ] {
        assert_eq!(bodies(&[request, next].concat()).await, [body, ""], "{request:?}");
    }
}

#[tokio::test]
async fn one_length_is_left_of_two_that_agree() {
    let taken =
        received(&[b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"]).await.0;
    assert_eq!(taken[0].3, [("content-length".to_owned(), "1".to_owned())]);
}

#[tokio::test]
async fn what_two_readers_could_take_for_different_requests_is_refused() {
    let first =
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\n\n\r\n0\r\nx: y\r\n\r\n";
    for (refused, why) in [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", "LF alone"),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", "LF alone"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", "LF alone"),
        ("\nGET / HTTP/1.1\r\n\r\n", "LF alone"),
        ("GET /#a HTTP/1.1\r\n\r\n", "fragment"),
        ("G#T / HTTP/1.1\r\n\r\n", "fragment"),
        ("GET / HTTP/1.1\r\nContent-Length: 0\r\ntransfer-encoding: chunked\r\n\r\n", "beside"),
        ("GET / HTTP/1.1\r\nTRANSFER-ENCODING:chunked\r\nCONTENT-LENGTH:0\r\n\r\n", "beside"),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n", "length"),
        ("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "two lengths"),
        ("GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\na", "length"),
        ("GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\na", "length"),
        ("GET / HTTP/1.1\r\nContent-Length:\r\n\r\n", "length"),
        ("GET / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n", "length"),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "coding"),
        ("GET / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", "coding"),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "coding",
        ),
        ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "coding"),
        ("GET / HTTP/1.1\r\nx : y\r\n\r\n", "head"),
        ("GET / HTTP/1.1\r\nx: y\r\n z\r\n\r\n", "head"),
        ("GET / HTTP/1.1\r\nx: a\rb\r\n\r\n", "head"),
        ("GET / HTTP/1.1\r\nx: a\0b\r\n\r\n", "head"),
        ("GET / HTTP/1.2\r\n\r\n", "head"),
        ("GET  / HTTP/1.1\r\n\r\n", "head"),
        ("GET /<a> HTTP/1.1\r\n\r\n", "target"),
        ("\x16\x03\x01\x02", "head"),
    ] {
        let (taken, end, answers) = received(&[first.as_bytes(), refused.as_bytes()]).await;
        let End::Refused(Refusal::Malformed(reason)) = end else { panic!("{refused:?}: {end:?}") };
        assert!(reason.contains(why), "{refused:?}: {reason}");
        assert_eq!(
            (taken.len(), answers.matches("HTTP/1.1 200 OK").count()),
            (1, 1),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_whole() {
    let fields = (0..101).fold(String::new(), |mut fields, number| {
        write!(fields, "x-{number}: 1\r\n").unwrap();
        fields
    });
    let long = "x".repeat(HEAD_BYTES_MAX);
    for head in [
        format!("GET / HTTP/1.1\r\n{fields}\r\n"),
        format!("GET / HTTP/1.1\r\nx: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nx: {long}"),
        format!("GET /{long} HTTP/1.1\r\n\r\n"),
        long.clone(),
        "\r\n".repeat(HEAD_BYTES_MAX),
        "GET / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n".to_owned(),
    ] {
        let pieces: Vec<_> = head.as_bytes().chunks(4096).collect();
        let (taken, end, _) = received(&pieces).await;
        let shown = head.get(..60).unwrap_or(&head);
        assert!(matches!(end, End::Refused(Refusal::TooLarge(_))), "{shown:?}: {end:?}");
        assert!(taken.is_empty());
    }
    let longest = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX - 23));
    assert_eq!(longest.len(), HEAD_BYTES_MAX);
    assert_eq!(bodies(&longest).await, [""]);
}

#[tokio::test]
async fn a_body_that_is_none_is_nobodys_and_nothing_behind_it_is_served() {
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    let line = "x".repeat(16 * 1024);
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0 5\r\nhello\r\n0\r\n\r\n",
        "1000000000000000\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "0\r\nx y: 1\r\n\r\n",
        "0\r\nx: y\n\r\n",
        &format!("5;{line}\r\nhello\r\n0\r\n\r\n"),
        &format!("{}0\r\n\r\n", "1;xx\r\na\r\n".repeat(10_000)),
        &format!("0\r\n{}\r\n", "x: y\r\n".repeat(101)),
        &format!("0\r\n{}\r\n", format!("x: {line}\r\n").repeat(2)),
    ] {
        let (taken, end, answers) = received(&[[chunked, body, next].concat().as_bytes()]).await;
        let shown = body.get(..40).unwrap_or(body);
        assert_eq!((taken, end), (Vec::new(), End::Answered), "{shown:?}");
        assert!(answers.contains("connection: close\r\n"), "{shown:?}: {answers}");
    }
    let (taken, end, _) = received(&[b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort"]).await;
    assert_eq!((taken, end), (Vec::new(), End::Answered));
}

#[tokio::test]
async fn answers_say_where_they_end_and_whether_another_may_follow() {
    let date = "date: ";
    for (request, status, fields, ends) in [
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK", "", false),
        (
            "GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n",
            "HTTP/1.1 200 OK",
            "connection: close\r\n",
            true,
        ),
        (
            "GET / HTTP/1.1\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
            "HTTP/1.1 200 OK",
            "connection: close\r\n",
            true,
        ),
        ("GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK", "", true),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            "HTTP/1.0 200 OK",
            "connection: keep-alive\r\n",
            false,
        ),
    ] {
        let (_, _, answers) = received(&[[request, request].concat().as_bytes()]).await;
        let (first, rest) = answers.split_once("\r\n\r\nok").unwrap();
        let (head, said_date) = first.split_once(date).unwrap();
        assert_eq!(head, format!("{status}\r\ncontent-length: 2\r\n{fields}"), "{request:?}");
        assert_eq!(said_date.len(), "Sun, 06 Nov 1994 08:49:37 GMT".len());
        assert_eq!(rest.is_empty(), ends, "{request:?}: {rest}");
    }
    let (_, end, answer) = received(&[b"HEAD / HTTP/1.1\r\n\r\n"]).await;
    assert!(answer.contains("content-length: 2\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert_eq!(end, End::Left);
}

#[tokio::test]
async fn the_body_is_asked_for_when_somebody_wants_it() {
    let request = "POST / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 4\r\n\r\n";
    for wants in [true, false] {
        let (mut client, socket) = pair().await;
        let (date, shutdown) = (Date::now(), Shutdown::new());
        let requests = Requests::new(&socket, &date, &shutdown, LIMIT);
        let serving = requests.answer_each(async |request| {
            let body = if wants { whole(*request).await.unwrap().4 } else { Vec::new() };
            Ok::<_, Infallible>(Response::new(GateBody::Page(Full::from(body))))
        });
        let asking = async {
            client.write_all(request.as_bytes()).await.unwrap();
            let mut first = [0; 12];
            client.read_exact(&mut first).await.unwrap();
            if wants {
                assert_eq!(&first, b"HTTP/1.1 100");
                client.write_all(b"body").await.unwrap();
            } else {
                assert_eq!(&first, b"HTTP/1.1 200");
            }
            client.shutdown().await.unwrap();
        };
        let both = async { tokio::join!(serving, asking).0 };
        let end = tokio::time::timeout(LIMIT, both).await.unwrap();
        // Whether it still comes, nobody knows.
        assert_eq!(end, if wants { End::Left } else { End::Answered });
    }
}

#[tokio::test]
async fn a_stop_ends_what_is_idle_and_answers_what_has_begun() {
    let (mut client, socket) = pair().await;
    let (date, shutdown) = (Date::now(), Shutdown::new());
    let requests = Requests::new(&socket, &date, &shutdown, LIMIT);
    let serving = requests.answer_each(async |_| {
        Ok::<_, Infallible>(Response::new(GateBody::Page(Full::from("ok"))))
    });
    let asking = async {
        client.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        shutdown.stop();
        tokio::task::yield_now().await;
        client.write_all(b"y\r\n\r\n").await.unwrap();
        let mut answer = [0; 256];
        let length = client.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    };
    let both = async { tokio::join!(serving, asking) };
    let (end, answer) = tokio::time::timeout(LIMIT, both).await.unwrap();
    assert_eq!(end, End::Over);
    assert!(answer.contains("connection: close\r\n") && answer.ends_with("ok"), "{answer}");
    let (_client, socket) = pair().await;
    let requests = Requests::new(&socket, &date, &shutdown, LIMIT);
    let idle =
        requests.answer_each(|_| std::future::pending::<Result<Response<GateBody>, Infallible>>());
    assert_eq!(tokio::time::timeout(LIMIT, idle).await.unwrap(), End::Over);
}

#[tokio::test]
async fn a_preface_in_parts_ends_http1_and_nothing_of_it_is_lost() {
    let sent = [PREFACE, b"and frames"].concat();
    for at in [1, 3, 16, PREFACE.len() - 1, PREFACE.len(), sent.len()] {
        let (client, socket) = pair().await;
        let (date, shutdown) = (Date::now(), Shutdown::new());
        let requests = Requests::new(&socket, &date, &shutdown, LIMIT);
        let (first, second) = sent.split_at(at);
        let pieces = [first, second];
        let receiving = async {
            let never = |_| std::future::pending::<Result<Response<GateBody>, Infallible>>();
            let end = requests.answer_each(never).await;
            let mut bytes = Vec::new();
            socket.clone().read_to_end(&mut bytes).await.unwrap();
            drop(socket.clone().shutdown().await);
            (end, bytes)
        };
        let (received, _) = tokio::join!(receiving, talk(client, &pieces));
        assert_eq!(received, (End::Http2, sent.clone()), "{at}");
    }
    for parts in [&["P", "OST / HTTP/1.1\r\n\r\n"][..], &["PRI", " * HTTP/1.1\r\n\r\n"]] {
        let parts: Vec<_> = parts.iter().map(|part| part.as_bytes()).collect();
        assert_eq!(received(&parts).await.0.len(), 1, "{parts:?}");
    }
}
