//! What is taken of random bytes beside what hyper takes of them.

use std::cell::RefCell;
use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::{Taken, received, talk, whole};

/// As hyper's server takes it.
async fn by_hyper(bytes: &[u8]) -> Vec<Taken> {
    let taken = RefCell::new(Vec::new());
    let service = service_fn(async |request: Request<hyper::body::Incoming>| {
        let request = whole(request).await;
        taken.borrow_mut().extend(request);
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("ok")))
    });
    let (client, server) = tokio::io::duplex(64 * 1024);
    // The last request is served though nothing comes behind it.
    let mut builder = http1::Builder::new();
    let serving = builder.half_close(true).serve_connection(TokioIo::new(server), service);
    let pieces = [bytes];
    drop(tokio::join!(serving, talk(client, &pieces)));
    taken.into_inner()
}

/// Some requests one after the other, with what heads and chunks are made of in their bodies.
fn random_requests(random: &mut fastrand::Rng) -> Vec<u8> {
    let parts =
        ["\n", "\r\n", "#", "0", "5;a", "GET / HTTP/1.1", "\r", "Content-Length: 3", " ", "x: y"];
    let fields =
        ["x: y\r\n", "Host: a\r\n", "Connection: close\r\n", "Content-Length: 0\r\n", "", ""];
    let mut text = |length: usize| -> String {
        (0..length).map(|_| parts[random.usize(..parts.len())]).collect()
    };
    let (first, second) = (text(6), text(3));
    let mut bytes = Vec::new();
    for _ in 0..random.usize(1..5) {
        let field = fields[random.usize(..fields.len())];
        let request = match random.u8(..5) {
            0 => format!("GET /a?b HTTP/1.1\r\n{field}\r\n"),
            1 => format!("GET http://a/ HTTP/1.0\r\nConnection: keep-alive\r\n{field}\r\n"),
            2 => format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{first}", first.len()),
            3 => format!(
                "POST / HTTP/1.1\r\n{field}Transfer-Encoding: chunked\r\n\r\n{:x};a\r\n{first}\r\n{:X} \r\n{second}\r\n\
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

/// Whatever is taken, hyper takes for the same; and in pieces it is the same as at once.
#[tokio::test]
async fn nothing_is_taken_for_a_request_that_hyper_takes_for_another() {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut taken_in_all, mut as_they_are) = (0, 0);
    for round in 0..3_000 {
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
        let shown = bytes.escape_ascii();
        let (at_once, _, _) = received(&[&bytes]).await;
        let (first, second) = bytes.split_at(random.usize(..=bytes.len()));
        let (second, third) = second.split_at(random.usize(..=second.len()));
        let (in_pieces, _, _) = received(&[first, second, third]).await;
        assert_eq!(in_pieces, at_once, "{shown}");
        let by_hyper = by_hyper(&bytes).await;
        assert_eq!(by_hyper.get(..at_once.len()), Some(&at_once[..]), "{shown}");
        taken_in_all += at_once.len();
        if round % 2 == 0 {
            as_they_are += usize::from(at_once.len() == by_hyper.len());
        }
    }
    assert!(taken_in_all > 3_000, "{taken_in_all}");
    assert!(as_they_are > 1_000, "{as_they_are}");
}
