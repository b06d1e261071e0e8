//! Proxies in front of the gate.

use std::io::Write as _;
use std::net::SocketAddr;

use tokio::net::TcpSocket;

use super::super::gate::{Gate, Setup};
use super::super::harness::soon;
use super::super::upstream::Upstream;
use super::super::wire::{Answer, Wire};
use super::case::Case;

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1\"]";
const HEADERS: &str = "proxy_protocol_from = [\"127.0.0.1\"]";
const BOTH: &str = "127.0.0.2, 127.0.0.1";
const UPLOAD: usize = 10_000_000;

/// From another address than the proxy's own.
async fn connect(address: SocketAddr) -> Wire {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    Wire::of(soon("a connection", socket.connect(address)).await.unwrap())
}

async fn get(address: SocketAddr, path: &str) -> Answer {
    let mut wire = connect(address).await;
    wire.get(path).await;
    wire.answer().await
}

async fn gate(case: &mut Case, setup: Setup) -> Gate {
    let gate = setup.start().await;
    case.place(8080, gate.address);
    gate
}

/// The client is known, and a hold is only a longer answer.
async fn forwards(gate: &Gate, upstream: &Upstream, address: SocketAddr, told: &str) {
    for _ in 0..5 {
        let answer = get(address, "/").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
        assert_eq!(upstream.seen().pop().unwrap().headers["x-forwarded-for"], told);
    }
    let arrived = upstream.arrived();
    let held = gate.hold("shop").await;
    let mut waiting = Vec::new();
    for number in 1..=20 {
        waiting.push(tokio::spawn(async move { get(address, &format!("/{number}")).await }));
        gate.until_held("shop", number).await;
    }
    assert_eq!(upstream.arrived(), arrived, "nothing passes");
    gate.release("shop", held.generation).await;
    for answer in waiting {
        assert_eq!(soon("an answer", answer).await.unwrap().status, 200);
    }
    for seen in upstream.seen().split_off(arrived) {
        assert_eq!(seen.headers["x-forwarded-for"], told);
    }
}

async fn uploads(upstream: &Upstream, address: SocketAddr) {
    let mut wire = connect(address).await;
    let body = "x".repeat(UPLOAD);
    let head = format!("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: {UPLOAD}\r\n\r\n");
    wire.send(&head).await;
    wire.send(&body).await;
    assert_eq!(wire.answer().await.status, 200);
    assert!(upstream.seen().pop().unwrap().body == body);
}

pub(super) async fn nginx_forwards(mut case: Case) {
    let upstream = Upstream::start().await;
    let app = case.serve(1, &[3000]).await;
    let socket = "paths = [\"/socket\"]";
    let setup = Setup::shop(&upstream).app("socket", "*", app.addresses[0], socket).gate(TRUSTED);
    let gate = gate(&mut case, setup).await;
    let nginx = case.serve(0, &[8000]).await;
    forwards(&gate, &upstream, nginx.addresses[0], BOTH).await;
    uploads(&upstream, nginx.addresses[0]).await;

    let mut client = case.start(2);
    client.until_said("Connected to ").await;
    let held = gate.hold("socket").await;
    writeln!(client.input.as_mut().unwrap(), "hello").unwrap();
    client.until_said("< hello").await;
    gate.release("socket", held.generation).await;
}

pub(super) async fn nginx_sends_a_proxy_header(mut case: Case) {
    let upstream = Upstream::start().await;
    let gate = gate(&mut case, Setup::shop(&upstream).gate(HEADERS)).await;
    // The server's own look at the port is a connection without a request.
    let nginx = case.serve(0, &[8000]).await;
    forwards(&gate, &upstream, nginx.addresses[0], "127.0.0.2").await;
}

pub(super) async fn haproxy_forwards_by_http2(mut case: Case) {
    let upstream = Upstream::start().await;
    let gate = gate(&mut case, Setup::shop(&upstream).gate(TRUSTED)).await;
    let haproxy = case.serve(0, &[8000]).await;
    forwards(&gate, &upstream, haproxy.addresses[0], BOTH).await;
    uploads(&upstream, haproxy.addresses[0]).await;
}

pub(super) async fn haproxy_sends_proxy_headers(mut case: Case) {
    let upstream = Upstream::start().await;
    let gate = gate(&mut case, Setup::shop(&upstream).gate(HEADERS)).await;
    let haproxy = case.serve(0, &[8000, 8001]).await;
    for address in &haproxy.addresses {
        forwards(&gate, &upstream, *address, "127.0.0.2").await;
    }
}
