//! What a reverse proxy must get right, held or not.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::gate::Setup;
use super::harness::{soon, until};
use super::upstream::Upstream;
use super::wire::{Wire, get};

#[tokio::test]
async fn bodies_stream_both_ways_without_being_collected() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let mut wire = Wire::connect(gate.address).await;
    wire.send("POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        .await;
    assert_eq!(wire.head().await.status, 200);
    assert_eq!(wire.chunk().await.as_deref(), Some("first"));
    wire.send("6\r\nsecond\r\n").await;
    assert_eq!(wire.chunk().await.as_deref(), Some("second"));
    wire.send("0\r\n\r\n").await;
    assert_eq!(wire.chunk().await, None);
}

#[tokio::test]
async fn the_upstream_is_told_about_the_client_and_hop_by_hop_headers_end() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let mut wire = Wire::connect(gate.address).await;
    wire.send(
        "GET /hop?q=1 HTTP/1.1\r\nhost: shop.example:81\r\nconnection: x-mine\r\nx-mine: 1\r\n\
         te: trailers\r\nupgrade: h2c\r\nx-forwarded-for: 6.6.6.6\r\n\r\n",
    )
    .await;
    assert_eq!(wire.answer().await.status, 200);
    wire.get("/hop").await;
    let answer = wire.answer().await;
    assert_eq!(answer.headers["x-public"], "2");
    for name in ["x-private", "keep-alive", "connection"] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
    let seen = upstream.seen().remove(0);
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("GET", "/hop?q=1"));
    let header = |name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(header("host"), Some("shop.example:81"));
    assert_eq!(header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(header("x-forwarded-proto"), Some("http"));
    assert_eq!(header("x-forwarded-host"), Some("shop.example:81"));
    assert_eq!((header("te"), header("connection")), (Some("trailers"), Some("te")));
    for name in ["x-mine", "upgrade", "via"] {
        assert_eq!(header(name), None, "{name}");
    }
}

#[tokio::test]
async fn upstream_connections_are_used_again() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).gate("threads = 1").start().await;
    let mut wire = Wire::connect(gate.address).await;
    for number in 0..20 {
        wire.send(&format!("POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx"))
            .await;
        assert_eq!(wire.answer().await.status, 200);
    }
    assert_eq!(upstream.connections(), 1);
}

/// Answers the first request of each connection, then closes it without a word.
async fn closing_upstream() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<()>) {
    let (closed, is_closed) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let closed = closed.clone();
            tokio::spawn(async move {
                let mut wire = Wire::of(stream);
                wire.request().await;
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                wire.stream.shutdown().await.unwrap();
                closed.send(()).unwrap();
            });
        }
    });
    (address, is_closed)
}

#[tokio::test]
async fn a_pooled_connection_that_died_costs_no_request() {
    let (upstream, mut is_closed) = closing_upstream().await;
    let gate = Setup::shop(upstream).gate("threads = 1").start().await;
    let mut wire = Wire::connect(gate.address).await;
    for number in 0..50 {
        wire.send(&format!("POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx"))
            .await;
        assert_eq!(wire.answer().await.status, 200, "{number}");
        // Before that it is not dead, and a request sent into it may have run.
        soon("the upstream closes", is_closed.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_may_have_run_is_not_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let gate = Setup::shop(upstream).start().await;
    let client = get(gate.address, "/once");
    let upstream = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut wire = Wire::of(stream);
        assert_eq!(wire.request().await, "GET /once HTTP/1.1");
        drop(wire);
        tokio::time::timeout(Duration::from_millis(200), listener.accept()).await
    };
    let (answer, again) = tokio::join!(client, upstream);
    assert_eq!(answer.status, 502);
    assert!(again.is_err(), "a second connection came");
}

#[tokio::test]
async fn an_upstream_that_refuses_is_passed_over_and_if_all_do_it_is_502() {
    let refusing = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let upstream = Upstream::start().await;
    let both = format!("{refusing}\", \"{upstream}");
    let setup = Setup::default().app("both", "both.example", both, "");
    let gate = setup.app("none", "*", refusing, "").start().await;
    for _ in 0..4 {
        let mut wire = Wire::connect(gate.address).await;
        wire.send("GET / HTTP/1.1\r\nhost: both.example\r\n\r\n").await;
        assert_eq!(wire.answer().await.status, 200);
    }
    let answer = get(gate.address, "/").await;
    assert_eq!(answer.status, 502);
    assert!(!answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_504_and_its_connection_is_closed() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).gate("upstream_head_timeout = \"200ms\"").start().await;
    let mut wire = Wire::connect(gate.address).await;
    wire.get("/slow").await;
    assert_eq!(wire.answer().await.status, 504);
    assert_eq!(gate.shop().await.in_flight, 0);
    wire.get("/").await;
    assert_eq!(wire.answer().await.status, 200);
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn an_upstream_body_that_stalls_ends_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let gate = Setup::shop(upstream).gate("upstream_body_timeout = \"200ms\"").start().await;
    let mut wire = Wire::connect(gate.address).await;
    wire.get("/").await;
    let mut upstream = Wire::of(soon("a connection", listener.accept()).await.unwrap().0);
    upstream.request().await;
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\npart").await;
    assert_eq!(wire.head().await.status, 200);
    assert!(!wire.is_closed().await, "the part that came");
    until("nothing in flight", async || (gate.shop().await.in_flight == 0).then_some(())).await;
}

#[tokio::test]
async fn a_unix_socket_is_an_upstream() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let upstream = Upstream::start_unix(&path);
    let gate = Setup::shop(format!("unix:{}", path.display())).start().await;
    assert_eq!(get(gate.address, "/").await.status, 200);
    assert_eq!(upstream.paths(), ["/"]);
}

#[tokio::test]
async fn requests_that_no_app_or_no_gate_can_serve_are_told_so() {
    let upstream = Upstream::start().await;
    let gate = Setup::default().app("shop", "shop.example", &upstream, "").start().await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\nhost: other.example\r\n\r\n", 421),
        ("GET / HTTP/1.0\r\n\r\n", 421),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: shop.example\r\nhost: other.example\r\n\r\n", 400),
        ("CONNECT shop.example:443 HTTP/1.1\r\nhost: shop.example\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\nhost: shop.example\r\nbad header\r\n\r\n", 400),
    ] {
        let mut wire = Wire::connect(gate.address).await;
        wire.send(request).await;
        assert_eq!(wire.answer().await.status, status, "{request}");
    }
    assert_eq!(upstream.arrived(), 0);
}

#[tokio::test]
async fn a_get_keeps_its_chunked_body() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let mut wire = Wire::connect(gate.address).await;
    wire.send(
        "GET /search HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    assert_eq!(wire.answer().await.status, 200);
    assert_eq!(upstream.seen().remove(0).body, "hello");
}

#[tokio::test]
async fn an_old_client_without_keep_alive_is_served() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let mut wire = Wire::connect(gate.address).await;
    wire.send("GET /old HTTP/1.0\r\n\r\n").await;
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    assert!(wire.is_closed().await);
}

#[tokio::test]
async fn connections_over_the_bound_wait_until_one_ends() {
    let upstream = Upstream::start().await;
    let bounds = "threads = 1\nconnections_max = 2";
    let gate = Setup::shop(&upstream).gate(bounds).start().await;
    let mut open = Vec::new();
    // One above the bound is in the hand of the one accept loop.
    for _ in 0..3 {
        let mut wire = Wire::connect(gate.address).await;
        wire.get("/").await;
        assert_eq!(wire.answer().await.status, 200);
        open.push(wire);
    }
    let mut over = Wire::connect(gate.address).await;
    over.get("/over").await;
    let early = tokio::time::timeout(Duration::from_millis(100), over.head()).await;
    assert!(early.is_err(), "{early:?}");
    open.pop();
    assert_eq!(over.answer().await.status, 200);
}

#[tokio::test]
async fn a_client_that_sends_no_head_is_let_go() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).gate("client_head_timeout = \"100ms\"").start().await;
    let mut wire = Wire::connect(gate.address).await;
    wire.send("GET / HTTP/1.1\r\nhos").await;
    while !wire.is_closed().await {
        // A 408 may come first.
        wire.head().await;
    }
}
