//! How many connections one client may have.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use super::gate::{Gate, Setup};
use super::harness::{soon, until};
use super::upstream::Upstream;
use super::wire::Wire;

const TWO: &str = "connections_per_client_max = 2";

async fn connect_from(own: &str, gate: &Gate) -> Wire {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(own.parse().unwrap(), 0)).unwrap();
    Wire::of(soon("a connection", socket.connect(gate.address)).await.unwrap())
}

/// A connection on which `before` and a request were sent; none: it was closed.
async fn served(mut wire: Wire, before: &str) -> Option<Wire> {
    // An error says that it was closed before.
    let request = format!("{before}GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    drop(wire.stream.write_all(request.as_bytes()).await);
    if !wire.answers().await {
        return None;
    }
    assert_eq!(wire.answer().await.status, 200);
    Some(wire)
}

async fn is_served_again(gate: &Gate, own: &str) {
    until("the place is free", async || served(connect_from(own, gate).await, "").await).await;
}

#[tokio::test]
async fn a_client_over_its_share_is_closed_and_others_are_served() {
    let upstream = Upstream::start().await;
    // Threads count together.
    let gate = Setup::shop(&upstream).gate(TWO).gate("threads = 4").start().await;
    let first = served(connect_from("127.0.0.1", &gate).await, "").await.unwrap();
    let second = served(connect_from("127.0.0.1", &gate).await, "").await.unwrap();
    for _ in 0..20 {
        assert!(served(connect_from("127.0.0.1", &gate).await, "").await.is_none());
    }
    served(connect_from("127.0.0.2", &gate).await, "").await.unwrap();
    assert_eq!(upstream.arrived(), 3);
    drop(first);
    is_served_again(&gate, "127.0.0.1").await;
    drop(second);
}

#[tokio::test]
async fn behind_a_load_balancer_clients_are_whom_it_names() {
    let upstream = Upstream::start().await;
    let proxies = "proxy_protocol_from = [\"127.0.0.1\"]";
    let gate = Setup::shop(&upstream).gate(TWO).gate(proxies).start().await;
    let line = |client: &str| {
        let family = if client.contains(':') { "TCP6" } else { "TCP4" };
        let server = if client.contains(':') { "::1" } else { "10.0.0.1" };
        format!("PROXY {family} {client} {server} 1 80\r\n")
    };
    let mut open = Vec::new();
    for (client, is_served) in [
        ("192.0.2.1", true),
        ("192.0.2.1", true),
        ("192.0.2.1", false),
        ("192.0.2.2", true),
        ("2001:db8::1", true),
        ("2001:db8::2", true),
        ("2001:db8::ffff:0:0:3", false),
        ("2001:db8:0:1::1", true),
    ] {
        let wire = served(connect_from("127.0.0.1", &gate).await, &line(client)).await;
        assert_eq!(wire.is_some(), is_served, "{client}");
        open.extend(wire);
    }
    // Whoever comes by itself is not the load balancer.
    for is_served in [true, true, false] {
        let wire = served(connect_from("127.0.0.2", &gate).await, "").await;
        assert_eq!(wire.is_some(), is_served);
        open.extend(wire);
    }
}

#[tokio::test]
async fn a_trusted_proxy_comes_for_many() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).gate(TWO).gate("trusted_proxies = [\"127.0.0.1\"]");
    let gate = gate.start().await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(served(connect_from("127.0.0.1", &gate).await, "").await.unwrap());
    }
}
