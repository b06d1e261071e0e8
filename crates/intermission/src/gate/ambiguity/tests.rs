use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{HEAD_BYTES_MAX, Requests};

/// The number of the first request that is ambiguous, however the bytes come.
fn ambiguous(bytes: &[u8]) -> Option<u64> {
    let mut whole = Requests::default();
    whole.look(bytes);
    for size in [1, 2, 3, 7, 50] {
        let mut parts = Requests::default();
        bytes.chunks(size).for_each(|part| parts.look(part));
        assert_eq!(parts.ambiguous, whole.ambiguous, "in parts of {size}");
        assert_eq!((parts.place, parts.complete), (whole.place, whole.complete));
    }
    whole.ambiguous
}

#[test]
fn plain_requests_are_not_ambiguous_whatever_their_bodies_are() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n"[..],
        b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n\n#\nGET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n\n\n\nGET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\n\n\n\n\r\nA \r\n0123456789\r\n0\r\n\r\n\
          GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Lengths: 1\r\nTransfer-Encodings: x\r\nX: #\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(ambiguous(bytes), None, "{}", bytes.escape_ascii());
    }
}

#[test]
fn the_first_ambiguous_request_is_known_by_its_number() {
    let first =
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\n\n\r\n0\r\nx: y\r\n\r\n";
    for second in [
        &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"\nGET / HTTP/1.1\r\n\r\n",
        b"GET /#a HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 0\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nTRANSFER-ENCODING:chunked\r\nCONTENT-LENGTH:0\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n",
    ] {
        assert_eq!(ambiguous(second), Some(0), "{}", second.escape_ascii());
        let both = [&first[..], second].concat();
        assert_eq!(ambiguous(&both), Some(1), "{}", both.escape_ascii());
    }
    // A trailer's line: the request itself is with the upstream already.
    let late = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: y\n\r\n";
    assert_eq!(ambiguous(late), Some(1));
    let mut requests = Requests::default();
    requests.look(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\n");
    assert!(!requests.is_ambiguous(0) && requests.is_ambiguous(1) && requests.is_ambiguous(2));
}

#[test]
fn what_hyper_refuses_is_not_followed_and_nothing_large_is_kept() {
    for refused in [
        &b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nGET / HTTP/1.1\n\n"[..],
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\nGET / HTTP/1.1\n\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\nGET / HTTP/1.1\n\n",
    ] {
        assert_eq!(ambiguous(refused), None);
    }
    let mut requests = Requests::default();
    for _ in 0..100 {
        requests.look(&[b'x'; 1000]);
        assert!(requests.line.len() <= HEAD_BYTES_MAX);
    }
}

/// How many requests hyper serves of these bytes.
async fn served(bytes: &[u8]) -> u64 {
    let count = std::rc::Rc::new(std::cell::Cell::new(0));
    let counting = std::rc::Rc::clone(&count);
    let service = service_fn(move |request: Request<Incoming>| {
        counting.set(counting.get() + 1);
        async move {
            drop(request.into_body().collect().await);
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }
    });
    let (client, server) = tokio::io::duplex(64 * 1024);
    let (mut answers, mut requests) = tokio::io::split(client);
    let serving = http1::Builder::new().serve_connection(TokioIo::new(server), service);
    let asking = async {
        requests.write_all(bytes).await.unwrap();
        drop(requests.shutdown().await);
        drop(answers.read_to_end(&mut Vec::new()).await);
    };
    drop(tokio::join!(serving, asking));
    count.get()
}

/// Some requests one after the other, with what heads and chunks are made of in their bodies.
fn random_requests(random: &mut fastrand::Rng) -> Vec<u8> {
    let parts =
        ["\n", "\r\n", "#", "0", "5;a", "GET / HTTP/1.1", "\r", "Content-Length: 3", " ", "x: y"];
    let mut text = |length: usize| -> String {
        (0..length).map(|_| parts[random.usize(..parts.len())]).collect()
    };
    let (first, second) = (text(6), text(3));
    let mut bytes = Vec::new();
    for _ in 0..random.usize(1..5) {
        let request = match random.u8(..4) {
            0 => "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            1 => format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{first}", first.len()),
            2 => format!(
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{:x};a\r\n{first}\r\n{:X} \r\n{second}\r\n\
                 0\r\nx: y\r\n\r\n",
                first.len(),
                second.len()
            ),
            _ => "\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n000\r\n\r\n".to_owned(),
        };
        bytes.extend_from_slice(request.as_bytes());
    }
    bytes
}

#[tokio::test]
async fn hyper_and_the_gate_agree_on_where_requests_begin() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut served_in_all = 0;
    for round in 0..20_000 {
        let mut bytes = random_requests(&mut random);
        // Every other time as they are, else with a few bytes changed, doubled or taken out.
        for _ in 0..(round % 2) * random.usize(1..4) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = *random.choice(b"\r\n:;0 9a#,").unwrap(),
                1 => bytes.insert(at, bytes[at]),
                _ => drop(bytes.remove(at)),
            }
        }
        let mut requests = Requests::default();
        requests.look(&bytes);
        let served = served(&bytes).await;
        served_in_all += served;
        let is_known = requests.ambiguous.is_some() || served <= requests.complete;
        assert!(is_known, "hyper serves more: {}", bytes.escape_ascii());
        if round % 2 == 0 {
            assert_eq!(
                (requests.ambiguous, served),
                (None, requests.complete),
                "{}",
                bytes.escape_ascii()
            );
        }
    }
    assert!(served_in_all > 20_000, "{served_in_all}");
}
