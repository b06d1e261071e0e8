//! What else belongs to a message: trailers, and answers before the answer.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::gate::Setup;
use super::harness::soon;
use super::wire::Wire;

#[tokio::test]
async fn trailers_go_both_ways_and_the_connection_is_used_again() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = Setup::shop(app.local_addr().unwrap()).gate("threads = 1").start().await;
    let mut client = Wire::connect(gate.address).await;
    let mut server = None;
    for _ in 0..3 {
        client
            .send(
                "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
                 2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n",
            )
            .await;
        let mut wire = match server.take() {
            Some(wire) => wire,
            None => Wire::of(soon("a connection", app.accept()).await.unwrap().0),
        };
        let (_, headers) = wire.request_head().await;
        assert_eq!((headers["te"].as_str(), headers["trailer"].as_str()), ("trailers", "x-sum"));
        let body = b"2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n";
        assert_eq!(
            wire.bytes(body.len()).await.escape_ascii().to_string(),
            body.escape_ascii().to_string()
        );
        wire.send(
            "HTTP/1.1 200 OK\r\ntrailer: x-took, x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\nx-took: 5\r\nx-sum: 2\r\n\r\n",
        )
        .await;
        let head = client.head().await;
        assert_eq!((head.status, head.headers["trailer"].as_str()), (200, "x-took, x-sum"));
        assert_eq!(client.chunk().await.as_deref(), Some("ok"));
        let end = b"0\r\nx-took: 5\r\nx-sum: 2\r\n\r\n";
        assert_eq!(
            client.bytes(end.len()).await.escape_ascii().to_string(),
            end.escape_ascii().to_string()
        );
        server = Some(wire);
    }
}

#[tokio::test]
async fn a_client_that_takes_no_trailers_gets_none() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = Setup::shop(app.local_addr().unwrap()).start().await;
    let mut client = Wire::connect(gate.address).await;
    client.get("/").await;
    let mut server = Wire::of(soon("a connection", app.accept()).await.unwrap().0);
    let (_, headers) = server.request_head().await;
    assert!(!headers.contains_key("te"));
    server
        .send(
            "HTTP/1.1 200 OK\r\ntrailer: x-took\r\ntransfer-encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\nx-took: 5\r\n\r\n",
        )
        .await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.bytes(12).await, b"2\r\nok\r\n0\r\n\r\n");
    client.get("/again").await;
}

#[tokio::test]
async fn answers_before_the_answer_end_here() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = Setup::shop(app.local_addr().unwrap()).start().await;
    let mut client = Wire::connect(gate.address).await;
    client.get("/").await;
    let mut server = Wire::of(soon("a connection", app.accept()).await.unwrap().0);
    server.request().await;
    server
        .send(
            "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        )
        .await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    assert!(!answer.headers.contains_key("link"));
}

#[tokio::test]
async fn what_comes_behind_an_upgrade_is_a_request_only_if_it_was_declined() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = Setup::shop(app.local_addr().unwrap()).start().await;
    let asks = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n";
    let behind = "GET /#b HTTP/1.1\nhost: a\n\n";
    for accepts in [true, false] {
        let mut client = Wire::connect(gate.address).await;
        client.send(&format!("{asks}{behind}")).await;
        let mut server = Wire::of(soon("a connection", app.accept()).await.unwrap().0);
        server.request_head().await;
        if accepts {
            let switched = "HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n";
            server.send(switched).await;
            assert_eq!(client.head().await.status, 101);
            client.send(behind).await;
            let twice = behind.repeat(2);
            assert_eq!(server.bytes(twice.len()).await, twice.as_bytes());
        } else {
            server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            assert_eq!(client.answer().await.status, 200);
            assert_eq!(client.answer().await.status, 400);
            assert!(client.is_closed().await);
        }
    }
}

#[tokio::test]
async fn whose_head_is_refused_reads_its_answer_and_no_reset() {
    let gate = Setup::shop("127.0.0.1:1").start().await;
    // Twice what a head may be, and what is none, with more behind it.
    for head in [vec![b'A'; 64_000], [&b"GET / HTTP/9.9\r\n\r\n"[..], &[b'x'; 30_000]].concat()] {
        let mut client = Wire::connect(gate.address).await;
        client.send_bytes(&head).await;
        let mut answer = Vec::new();
        soon("the end", client.stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}

#[tokio::test]
async fn a_head_has_its_time_in_all_however_steadily_it_comes() {
    let gate = Setup::shop("127.0.0.1:1").gate("client_head_timeout = \"300ms\"").start().await;
    let mut client = Wire::connect(gate.address).await;
    client.send("GET / HTTP/1.1\r\nx: ").await;
    let trickle = async {
        // An error says that the connection has been ended.
        while client.stream.write_all(b"y").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the end of the connection", trickle).await;
}
