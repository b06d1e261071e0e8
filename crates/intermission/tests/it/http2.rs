//! HTTP/2 with clients, HTTP/1.1 with the application.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::flood::GET;
use super::gate::Setup;
use super::harness::soon;
use super::hostile::frame::{
    END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, SETTINGS, frame, head,
};
use super::http2_client::{Http2, answer, curl, none, request};
use super::upstream::{Upstream, with_trailers};
use super::wire::{Wire, get};

const ONE_AT_A_TIME: &str = "release = { concurrency = 1, concurrency_max = 1 }";

#[tokio::test]
async fn curl_is_served_in_clear_text_by_prior_knowledge() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let url = format!("http://{}/path", gate.address);
    assert_eq!(curl(&["--http2-prior-knowledge", &url]).await, "ok 2 200");
    assert_eq!(
        curl(&["--http2-prior-knowledge", "-I", &url]).await.lines().next(),
        Some("HTTP/2 200 ")
    );
    let data = "x".repeat(3_000_000);
    let file = gate.directory.path().join("data");
    super::certificate::write(&file, &data);
    let body = format!("@{}", file.display());
    assert_eq!(curl(&["--http2-prior-knowledge", "--data-binary", &body, &url]).await, "ok 2 200");
    assert_eq!(upstream.seen().pop().unwrap().body, data);
    // An upgrade is not taken, and nothing is lost by it.
    assert_eq!(curl(&["--http2", &url]).await, "ok 1.1 200");
    let port = gate.address.port().to_string();
    assert_eq!(upstream.seen()[0].headers["host"], format!("127.0.0.1:{port}"));
}

#[tokio::test]
async fn a_preface_may_come_byte_by_byte() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let mut wire = Wire::connect(gate.address).await;
    wire.stream.set_nodelay(true).unwrap();
    for byte in "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".chars() {
        wire.send(&byte.to_string()).await;
        tokio::task::yield_now().await;
    }
    // An empty SETTINGS frame, and the gate's own in return.
    wire.send("\0\0\0\u{4}\0\0\0\0\0").await;
    assert_eq!(wire.bytes(4).await[3], 4);
}

#[tokio::test]
async fn requests_are_turned_into_http1_and_answers_back() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let http2 = Http2::connect(gate.address).await;
    let hop = request("GET", "/hop").header("cookie", "a=1").header("cookie", "b=2");
    let hop = hop.header("te", "trailers").body(none()).unwrap();
    let answered = answer(http2.send(hop)).await;
    assert_eq!((answered.status, answered.body.as_str()), (200, "ok"));
    assert_eq!(answered.headers["x-public"], "2");
    for name in ["x-private", "keep-alive", "connection", "transfer-encoding"] {
        assert!(!answered.headers.contains_key(name), "{name}");
    }
    let seen = upstream.seen().remove(0);
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("GET", "/hop"));
    let cookies: Vec<_> = seen.headers.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
    assert_eq!(seen.headers["host"], "shop.example");
    assert_eq!(seen.headers["x-forwarded-host"], "shop.example");
    assert_eq!(seen.headers["x-forwarded-proto"], "http");
    assert_eq!(seen.headers["te"], "trailers");
    assert_eq!(seen.headers["connection"], "te");
    for name in ["transfer-encoding", ":authority"] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
    let echo = Full::new(Bytes::from(vec![b'x'; 1_000_000])).map_err(|never| match never {});
    let echo = request("POST", "/echo").body(echo.boxed()).unwrap();
    assert_eq!(answer(http2.send(echo)).await.body.len(), 1_000_000);
    let expecting = request("POST", "/late").header("expect", "100-continue");
    let body = Full::from("body").map_err(|never| match never {}).boxed();
    assert_eq!(answer(http2.send(expecting.body(body).unwrap())).await.status, 200);
    let seen = upstream.seen().pop().unwrap();
    assert_eq!((seen.path.as_str(), seen.body.as_str()), ("/late", "body"));
    assert!(!seen.headers.contains_key("expect"));
}

#[tokio::test]
async fn a_head_that_is_too_long_is_answered_431_and_others_are_not() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let http2 = Http2::connect(gate.address).await;
    let with = |length| request("GET", "/").header("x-long", "v".repeat(length)).body(none());
    for (length, status) in [(30_000, 200), (33_000, 431), (30_000, 200)] {
        assert_eq!(answer(http2.send(with(length).unwrap())).await.status, status, "{length}");
    }
    assert_eq!(upstream.arrived(), 2);
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let http2 = Http2::connect(gate.address).await;
    let post = request("POST", "/trailers").header("te", "trailers").header("trailer", "x-sum");
    let answered = answer(http2.send(post.body(with_trailers().boxed()).unwrap())).await;
    assert_eq!(answered.body, "ok");
    assert_eq!(answered.trailers.unwrap()["x-sum"], "2");
    assert_eq!(upstream.seen().pop().unwrap().trailers.unwrap()["x-sum"], "2");
    let mut wire = Wire::connect(gate.address).await;
    wire.send(
        "POST /trailers HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntrailer: x-sum\r\n\
         transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 3\r\n\r\n",
    )
    .await;
    assert_eq!(wire.head().await.headers["trailer"], "x-sum");
    assert_eq!(wire.until("\r\n\r\n").await, "2\r\nok\r\n0\r\nx-sum: 2\r\n\r\n");
    assert_eq!(upstream.seen().pop().unwrap().trailers.unwrap()["x-sum"], "3");
}

#[tokio::test]
async fn five_hundred_held_streams_go_on_in_order_and_those_that_were_reset_never() {
    let upstream = Upstream::start().await;
    let setup = Setup::default().app("shop", "*", &upstream, ONE_AT_A_TIME);
    let gate = setup.gate("threads = 4").start().await;
    let held = gate.hold("shop").await;
    let (mut connections, mut sent) = (Vec::new(), Vec::new());
    for connection in 0..5 {
        let http2 = Http2::connect(gate.address).await;
        for number in 0..100 {
            sent.push(http2.get(&format!("/{}", connection * 100 + number)));
            tokio::task::yield_now().await;
        }
        gate.until_held("shop", (connection + 1) * 100).await;
        connections.push(http2);
    }
    let mut expected: Vec<_> = (0..500).map(|number| format!("/{number}")).collect();
    for number in [499, 400, 250, 7, 0] {
        sent.remove(number).abort();
        expected.remove(number);
    }
    gate.until_held("shop", 495).await;
    assert_eq!(upstream.arrived(), 0);
    gate.release("shop", held.generation).await;
    for sent in sent {
        assert_eq!(answer(sent).await.body, "ok");
    }
    assert_eq!(upstream.paths(), expected);
    let summary = gate.shop().await.summary;
    assert_eq!((summary.held, summary.released), (500, 495));
}

#[tokio::test]
async fn h43_pings_and_settings_are_answered_on_a_connection_full_of_held_streams() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let held = gate.hold("shop").await;
    let mut stream = TcpStream::connect(gate.address).await.unwrap();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    for number in 0..100 {
        let get = frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, GET);
        stream.write_all(&get).await.unwrap();
    }
    gate.until_held("shop", 100).await;
    let asks = [frame(PING, 0, 0, b"are you?"), frame(SETTINGS, 0, 0, &[])].concat();
    stream.write_all(&asks).await.unwrap();
    let mut kinds = Kinds { stream, buffer: Vec::new() };
    kinds.until(PING, 1).await;
    // Of ours that began the connection is answered before.
    kinds.until(SETTINGS, 1).await;
    assert_eq!(gate.shop().await.held, 100);
    gate.release("shop", held.generation).await;
    kinds.until(HEADERS, 100).await;
}

/// The frames that come, by kind.
struct Kinds {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Kinds {
    /// Until so many of `wanted` have come; the others are passed over.
    async fn until(&mut self, wanted: u8, count: usize) {
        let mut seen = 0;
        while seen < count {
            match head(&self.buffer).filter(|head| self.buffer.len() >= head.0) {
                Some((length, kind)) => {
                    self.buffer.drain(..length);
                    seen += usize::from(kind == wanted);
                }
                None => {
                    let read = soon("a frame", self.stream.read_buf(&mut self.buffer)).await;
                    assert!(read.unwrap() > 0, "closed after {seen} of {count}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_connection_that_ends_frees_the_places_of_all_its_streams() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let held = gate.hold("shop").await;
    let http2 = Http2::connect(gate.address).await;
    let mut sent: Vec<_> = (0..50).map(|_| http2.get("/left")).collect();
    // Unread bodies are in the way of whoever looks at what was read only.
    let body = || Full::new(Bytes::from(vec![b'x'; 50_000])).map_err(|never| match never {});
    let posts = (0..10).map(|_| request("POST", "/left").body(body().boxed()).unwrap());
    sent.extend(posts.map(|post| http2.send(post)));
    gate.until_held("shop", 60).await;
    http2.cut();
    gate.until_held("shop", 0).await;
    gate.release("shop", held.generation).await;
    assert_eq!(get(gate.address, "/next").await.status, 200);
    assert_eq!(upstream.paths(), ["/next"]);
}

#[tokio::test]
async fn more_streams_than_allowed_wait_at_the_client() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let held = gate.hold("shop").await;
    let http2 = Http2::connect(gate.address).await;
    let sent: Vec<_> = (0..200).map(|_| http2.get("/")).collect();
    gate.until_held("shop", 128).await;
    gate.release("shop", held.generation).await;
    for sent in sent {
        assert_eq!(answer(sent).await.status, 200);
    }
}

#[tokio::test]
async fn sigterm_lets_streams_in_flight_finish_and_the_connection_ends() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).start().await;
    let (idle, busy) = (Http2::connect(gate.address).await, Http2::connect(gate.address).await);
    assert_eq!(answer(idle.get("/")).await.status, 200);
    let slow: Vec<_> = (0..3).map(|_| busy.get("/slow")).collect();
    upstream.until_arrived(4).await;
    gate.terminate();
    idle.ended().await;
    upstream.let_go(3);
    for slow in slow {
        assert_eq!(answer(slow).await.body, "ok");
    }
    busy.ended().await;
    assert_eq!(gate.exit_code().await, Some(0));
}

#[tokio::test]
async fn sigterm_while_streams_are_held_answers_503_at_the_end_of_the_grace() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).gate("shutdown_grace = \"300ms\"").start().await;
    gate.hold("shop").await;
    let http2 = Http2::connect(gate.address).await;
    let sent: Vec<_> = (0..20).map(|_| http2.get("/")).collect();
    gate.until_held("shop", 20).await;
    gate.terminate();
    for sent in sent {
        let answered = answer(sent).await;
        assert_eq!(
            (answered.status, &answered.headers["retry-after"]),
            (503, &"5".parse().unwrap())
        );
    }
    assert_eq!(gate.exit_code().await, Some(0));
    assert_eq!(upstream.arrived(), 0);
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_ended_and_one_with_a_held_stream_is_not() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).gate("client_head_timeout = \"300ms\"").start().await;
    let held = gate.hold("shop").await;
    let (idle, busy) = (Http2::connect(gate.address).await, Http2::connect(gate.address).await);
    let sent = busy.get("/");
    gate.until_held("shop", 1).await;
    idle.ended().await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(gate.shop().await.held, 1);
    gate.release("shop", held.generation).await;
    assert_eq!(answer(sent).await.status, 200);
    soon("its end", busy.ended()).await;
}
