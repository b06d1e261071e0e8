//! Upstreams that answer before they have the whole request, or close behind their answer.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::gate::{Gate, Setup};
use super::harness::soon;
use super::wire::Wire;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// More than all sockets on the way take.
const LARGE: usize = 16 * 1024 * 1024;

/// A gate before an upstream that is played by hand, and a client of it.
async fn stage() -> (TcpListener, Gate, Wire) {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = Setup::shop(app.local_addr().unwrap()).gate("threads = 1").start().await;
    let client = Wire::connect(gate.address).await;
    (app, gate, client)
}

async fn accept(app: &TcpListener) -> Wire {
    Wire::of(soon("a connection", app.accept()).await.unwrap().0)
}

async fn begin_upload(client: &mut Wire, length: usize) {
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
    client.send(&head).await;
}

#[tokio::test]
async fn a_request_that_is_answered_early_goes_on_and_its_connection_is_used_again() {
    let (app, _gate, mut client) = stage().await;
    begin_upload(&mut client, 6).await;
    client.send("abc").await;
    let mut server = accept(&app).await;
    server.until("abc").await;
    server.send(OK).await;
    assert_eq!(client.answer().await.body, "ok");
    client.send("def").await;
    server.until("def").await;
    client.get("/next").await;
    assert_eq!(server.request().await, "GET /next HTTP/1.1");
    server.send(OK).await;
    assert_eq!(client.answer().await.body, "ok");
}

#[tokio::test]
async fn an_answer_is_passed_on_though_the_rest_of_its_request_is_not_wanted() {
    let (app, _gate, mut client) = stage().await;
    begin_upload(&mut client, LARGE).await;
    let mut server = accept(&app).await;
    server.until("\r\n\r\n").await;
    server
        .send("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
        .await;
    server.stream.shutdown().await.unwrap();
    // The client goes on all the while.
    let (mut reads, mut writes) = client.stream.into_split();
    let upload = tokio::spawn(async move {
        let part = vec![b'x'; 64 * 1024];
        while writes.write_all(&part).await.is_ok() {}
    });
    let mut answer = Vec::new();
    while !answer.ends_with(b"big") {
        assert!(soon("the answer", reads.read_buf(&mut answer)).await.unwrap() > 0);
    }
    assert!(answer.starts_with(b"HTTP/1.1 413 Too Large\r\n"));
    drop(server);
    soon("the upload's end", upload).await.unwrap();
}

/// Sends back what it gets, in chunks, from the first byte on.
async fn echo(mut stream: TcpStream) {
    stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.unwrap();
    let (mut reads, mut writes) = stream.split();
    drop(tokio::io::copy(&mut reads, &mut writes).await);
}

#[tokio::test]
async fn a_client_may_read_nothing_until_it_has_sent_all() {
    let (app, _gate, mut client) = stage().await;
    let half = 1024 * 1024;
    begin_upload(&mut client, half).await;
    let server = tokio::spawn(async move { echo(app.accept().await.unwrap().0).await });
    // The beginning of the answer is on its way before most of the request is.
    soon("the answer begins", client.stream.readable()).await.unwrap();
    client.send_bytes(&vec![b'x'; half]).await;
    let head = client.head().await;
    assert_eq!(head.status, 200);
    let mut body = 0;
    while body < half {
        body += client.chunk().await.expect("all of it").len();
    }
    client.stream.shutdown().await.unwrap();
    soon("the echo", server).await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_its_early_answered_request_takes_it_with_it() {
    let (app, _gate, mut client) = stage().await;
    begin_upload(&mut client, 6).await;
    let mut server = accept(&app).await;
    server.until("\r\n\r\n").await;
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok").await;
    client.until("ok").await;
    drop(client);
    assert!(server.is_closed().await);
}

#[tokio::test]
async fn a_reason_of_the_upstreams_own_is_passed_on() {
    let (app, _gate, mut client) = stage().await;
    client.get("/").await;
    let mut server = accept(&app).await;
    server.request().await;
    server.send("HTTP/1.1 200 Fine By Me\r\ncontent-length: 2\r\n\r\nok").await;
    assert!(client.until("ok").await.starts_with("HTTP/1.1 200 Fine By Me\r\n"));
}

#[tokio::test]
async fn what_is_no_response_is_502_and_nothing_of_it_is_passed_on() {
    let (app, _gate, mut client) = stage().await;
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        client.get("/").await;
        let mut server = accept(&app).await;
        server.request().await;
        server.send(response).await;
        drop(server);
        let answer = client.answer().await;
        assert_eq!(answer.status, 502, "{response}");
        assert!(answer.body.contains("broke off its answer"), "{}", answer.body);
    }
}

#[tokio::test]
async fn what_comes_behind_a_response_is_no_response_to_the_next_request() {
    let (app, _gate, mut client) = stage().await;
    client.get("/first").await;
    let mut server = accept(&app).await;
    server.request().await;
    server.send(&[OK, "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"].concat()).await;
    assert_eq!(client.answer().await.body, "ok");
    client.get("/second").await;
    let mut other = accept(&app).await;
    assert_eq!(other.request().await, "GET /second HTTP/1.1");
    other.send(OK).await;
    assert_eq!(client.answer().await.body, "ok");
}
