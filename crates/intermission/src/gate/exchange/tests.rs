//! What is taken for a response and what is not, and that nothing depends on how it comes in pieces.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Failure, Free, RESPONSE_HEAD_BYTES_MAX, ReceiveError};
use crate::gate::body::RequestBody;
use crate::gate::dial::Socket;
use crate::gate::framing::LINES_BYTES_MAX;
use crate::gate::pool::Connection;
use crate::shutdown::Shutdown;

const LIMIT: Duration = Duration::from_secs(10);

/// Status, body and trailers.
type Whole = (u16, Vec<u8>, Vec<(String, String)>);

/// A response as it was received, and whether another request may go by its connection.
async fn received(method: &str, pieces: &[&[u8]]) -> Result<(Whole, bool), String> {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let request = Request::builder().method(method).uri("/").body(RequestBody::none()).unwrap();
    let receiving = async {
        let connection = Connection::new(Socket::Unix(ours), None, 0);
        let response = connection
            .exchange(Box::new(request), None, LIMIT, &Shutdown::new())
            .await
            .map_err(told)?;
        let (head, mut body) = response.into_parts();
        let collected = (&mut body).collect().await.map_err(|error| error.to_string())?;
        let trailers = collected.trailers().into_iter().flatten().map(text).collect();
        let whole = (head.status.as_u16(), collected.to_bytes().to_vec(), trailers);
        Ok((whole, matches!(body.free(), Some(Free::Now(_)))))
    };
    let sending = async {
        for piece in pieces {
            // It may have been refused already.
            drop(theirs.write_all(piece).await);
            tokio::task::yield_now().await;
        }
        drop(theirs.shutdown().await);
        drop(theirs.read_to_end(&mut Vec::new()).await);
    };
    tokio::join!(receiving, sending).0
}

fn text((name, value): (&http::HeaderName, &http::HeaderValue)) -> (String, String) {
    (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn told(failure: Failure) -> String {
    match failure {
        Failure::Upstream(ReceiveError::Malformed(why)) => why.to_owned(),
        Failure::Upstream(error) => error.to_string(),
        Failure::Unsent(_) | Failure::Body(_) | Failure::Slow(_) => failure.to_string(),
    }
}

async fn body(method: &str, response: &str) -> (String, bool) {
    let (whole, is_free) = received(method, &[response.as_bytes()]).await.unwrap();
    (String::from_utf8(whole.1).unwrap(), is_free)
}

#[tokio::test]
async fn a_body_ends_where_its_head_says() {
    for (response, wanted, is_free) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "abc", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true),
        ("HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", "a", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: Close\r\n\r\nabc", "abc", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: x, close\r\n\r\nabc", "abc", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc", "abc", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc", true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n\
             2;a=b\r\nab\r\n00a \r\n0123456789\r\n0\r\nx: y\r\n\r\n",
            "ab0123456789",
            true,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end", false),
        ("HTTP/1.1 204 No Content\r\n\r\n", "", true),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "", true),
        (
            "HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
            "a",
            true,
        ),
        // Whatever is behind it is no answer to anything.
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", "abc", false),
        ("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx", "", false),
    ] {
        assert_eq!(body("GET", response).await, (wanted.to_owned(), is_free), "{response:?}");
    }
    let (whole, is_free) =
        received("HEAD", &[b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"]).await.unwrap();
    assert_eq!((whole.0, whole.1.len(), is_free), (200, 0, true));
}

#[tokio::test]
async fn what_is_no_response_is_refused() {
    let long = "x".repeat(RESPONSE_HEAD_BYTES_MAX);
    let line = "x".repeat(LINES_BYTES_MAX);
    let fields = (0..101).fold(String::new(), |mut fields, number| {
        write!(fields, "x-{number}: 1\r\n").unwrap();
        fields
    });
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (response, why) in [
        ("", "closed"),
        ("HTTP/1.1 200 OK\r\n", "closed"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "closed"),
        ("SSH-2.0-x\r\n\r\n", "malformed"),
        ("HTTP/2.0 200 OK\r\n\r\n", "malformed"),
        ("HTTP/1.1 99 OK\r\n\r\n", "malformed"),
        ("HTTP/1.1 099 OK\r\n\r\n", "status"),
        ("HTTP/1.1 200 OK\r\nx\r\n\r\n", "malformed"),
        ("HTTP/1.1 200 OK\r\nx : 1\r\n\r\n", "malformed"),
        ("HTTP/1.1 200 OK\r\nx: 1\r\n y\r\n\r\n", "malformed"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "two lengths"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc", "length is none"),
        ("HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc", "length is none"),
        ("HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nabc", "length is none"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nabc", "length is none"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "coding"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
            "coding",
        ),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "coding"),
        (&format!("HTTP/1.1 200 OK\r\nx: {long}\r\n\r\n"), "too long"),
        (&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), "100 fields"),
        (&"HTTP/1.1 102 Processing\r\n\r\n".repeat(65), "interim"),
        (&format!("{chunked}3\r\nabc\r\n"), "closed"),
        (&format!("{chunked}3\r\nabcd\r\n0\r\n\r\n"), "what came"),
        (&format!("{chunked}3\nabc\r\n0\r\n\r\n"), "what came"),
        (&format!("{chunked}\r\n"), "what came"),
        (&format!("{chunked}-1\r\n"), "what came"),
        (&format!("{chunked}0x3\r\nabc\r\n0\r\n\r\n"), "what came"),
        (&format!("{chunked}1000000000000000\r\n"), "what came"),
        (&format!("{chunked}3;{line}\r\nabc\r\n0\r\n\r\n"), "what came"),
        (&format!("{chunked}0\r\nx y: 1\r\n\r\n"), "what came"),
        (&format!("{chunked}0\r\nx: {line}\r\n\r\n"), "what came"),
        (&format!("{chunked}0\r\nx: 1\n\r\n"), "what came"),
    ] {
        let error = received("GET", &[response.as_bytes()]).await.unwrap_err();
        let shown = response.get(..80).unwrap_or(response);
        assert!(error.contains(why), "{shown:?}: {error}");
    }
}

#[tokio::test]
async fn what_comes_behind_a_switch_is_kept() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\nfirst").await.unwrap();
    let connection = Connection::new(Socket::Unix(ours), None, 0);
    let request = Request::get("/").body(RequestBody::none()).unwrap();
    let response =
        connection.exchange(Box::new(request), None, LIMIT, &Shutdown::new()).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.into_body().into_parts().unwrap().1, "first");
}

#[tokio::test]
async fn a_connection_that_had_died_gives_the_request_back() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let connection = Connection::new(Socket::Unix(ours), None, 0);
    let request = Request::get("/here").body(RequestBody::none()).unwrap();
    let failure =
        connection.exchange(Box::new(request), None, LIMIT, &Shutdown::new()).await.unwrap_err();
    assert!(matches!(failure, Failure::Unsent(request) if request.uri() == "/here"));
}

#[tokio::test]
async fn a_target_with_a_host_is_sent_as_a_path() {
    for (uri, line) in [
        ("https://shop.example:8443/path?query", "GET /path?query HTTP/1.1\r\n"),
        ("http://shop.example", "GET / HTTP/1.1\r\n"),
        ("/here", "GET /here HTTP/1.1\r\n"),
    ] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let connection = Connection::new(Socket::Unix(ours), None, 0);
        let request = Request::get(uri).body(RequestBody::none()).unwrap();
        let shutdown = Shutdown::new();
        let exchange = connection.exchange(Box::new(request), None, LIMIT, &shutdown);
        let mut sent = [0; 256];
        let read = tokio::select! {
            answered = exchange => panic!("nobody answers: {:?}", answered.err()),
            read = theirs.read(&mut sent) => read.unwrap(),
        };
        assert!(sent[..read].starts_with(line.as_bytes()), "{uri}");
    }
}

#[tokio::test]
async fn a_length_without_a_body_is_not_sent() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let connection = Connection::new(Socket::Unix(ours), None, 0);
    let request = Request::post("/").header("content-length", "5").body(RequestBody::none());
    let request = Box::new(request.unwrap());
    let failure = connection.exchange(request, None, LIMIT, &Shutdown::new()).await.unwrap_err();
    assert!(matches!(failure, Failure::Body(_)));
    assert_eq!(theirs.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}

/// As hyper's own client receives it.
async fn by_hyper(method: &str, response: &[u8]) -> Option<Whole> {
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    let (mut sender, driver) = http1::handshake(TokioIo::new(ours)).await.unwrap();
    let request = Request::builder().method(method).uri("/").body(Empty::<Bytes>::new()).unwrap();
    let receiving = async {
        let response = sender.send_request(request).await.ok()?;
        let (head, body) = response.into_parts();
        let collected = body.collect().await.ok()?;
        let trailers = collected.trailers().into_iter().flatten().map(text).collect();
        Some((head.status.as_u16(), collected.to_bytes().to_vec(), trailers))
    };
    let sending = async {
        let mut request = [0; 1];
        theirs.read_exact(&mut request).await.unwrap();
        drop(theirs.write_all(response).await);
        drop(theirs.shutdown().await);
        drop(theirs.read_to_end(&mut Vec::new()).await);
    };
    let both = async { tokio::join!(receiving, sending).0 };
    tokio::select! {
        whole = both => whole,
        never = async { drop(driver.await); std::future::pending().await } => never,
    }
}

/// Something like a response, with what heads and chunks are made of in it.
fn random_response(random: &mut fastrand::Rng) -> Vec<u8> {
    let parts = ["\n", "\r\n", "0", "2", "3;a", "ab", "\r", "Content-Length: 3", " ", "x: y", ","];
    let heads = [
        "Content-Length: 6\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "",
        "x: y\r\n",
    ];
    let starts =
        ["HTTP/1.1 200 OK\r\n", "HTTP/1.0 404 Not Found\r\n", "HTTP/1.1 100 Continue\r\n\r\n"];
    let mut text = starts[random.usize(..starts.len())].to_owned();
    if text.ends_with("\r\n\r\n") {
        text += starts[0];
    }
    for _ in 0..random.usize(..3) {
        text += heads[random.usize(..heads.len())];
    }
    if random.u8(..8) == 0 {
        text += parts[random.usize(..parts.len())];
    }
    text += "\r\n";
    for _ in 0..random.usize(..4) {
        match random.u8(..4) {
            0 => text += parts[random.usize(..parts.len())],
            1 => text += "2\r\nab\r\n",
            2 => text += "abcdef",
            _ => text += ["0\r\n\r\n", "0\r\nx: y\r\n\r\n", "00;a\r\n\r\n"][random.usize(..3)],
        }
    }
    text.into_bytes()
}

/// Whatever is taken, hyper takes for the same; and in pieces it is the same as at once.
#[tokio::test]
async fn nothing_is_taken_for_a_response_that_hyper_takes_for_another() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut taken = 0;
    for _ in 0..4_000 {
        let response = random_response(&mut random);
        let method = if random.u8(..6) == 0 { "HEAD" } else { "GET" };
        let at_once = received(method, &[&response]).await;
        let at = random.usize(..=response.len());
        let (first, second) = response.split_at(at);
        let (second, third) = second.split_at(random.usize(..=second.len()));
        let shown = String::from_utf8_lossy(&response);
        let in_pieces = received(method, &[first, second, third]).await;
        let whole = |got: Result<(Whole, bool), String>| got.ok().map(|got| got.0);
        let at_once = whole(at_once);
        assert_eq!(whole(in_pieces), at_once, "{shown:?}");
        if let Some(whole) = at_once {
            taken += 1;
            assert_eq!(
                by_hyper(method, &response).await.as_ref(),
                Some(&whole),
                "{method} {shown:?}"
            );
        }
    }
    assert!(taken > 500, "{taken}");
}
