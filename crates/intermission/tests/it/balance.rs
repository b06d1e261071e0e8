//! Which upstream a request goes to, and what becomes of it when that one is not there.

use std::time::Duration;

use intermission::admin::api::{AppState, UpstreamHealth};
use tokio::net::{TcpListener, UnixListener};

use super::gate::{Setup, ask, directory};
use super::harness::{assert_contains, soon, until};
use super::upstream::Upstream;
use super::wire::{Wire, get};

/// Longer than any test.
const VERY_LONG: &str = "try_duration = \"5m\"";

async fn refusing() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn each_upstream_has_its_turn() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let gate = Setup::shops(&[&one, &two], "").gate("threads = 1").start().await;
    let mut wire = Wire::connect(gate.address).await;
    for _ in 0..10 {
        wire.get("/").await;
        assert_eq!(wire.answer().await.status, 200);
    }
    assert_eq!((one.arrived(), two.arrived()), (5, 5));
}

#[tokio::test]
async fn the_upstream_with_the_fewest_connections_in_use_is_next() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let least = "balance = \"least-connections\"";
    let gate = Setup::shops(&[&one, &two], least).gate("threads = 1").start().await;
    let slow = tokio::spawn(get(gate.address, "/slow"));
    until("a slow request", async || (one.waiting() + two.waiting() == 1).then_some(())).await;
    let (busy, idle) = if one.waiting() == 1 { (&one, &two) } else { (&two, &one) };
    for _ in 0..6 {
        assert_eq!(get(gate.address, "/").await.status, 200);
    }
    assert_eq!((busy.arrived(), idle.arrived()), (1, 6));
    busy.let_go(1);
    assert_eq!(soon("its answer", slow).await.unwrap().status, 200);
    for _ in 0..6 {
        assert_eq!(get(gate.address, "/").await.status, 200);
    }
    assert_eq!((busy.arrived(), idle.arrived()), (4, 9));
}

#[tokio::test]
async fn an_upstream_that_fails_is_left_out_for_a_while() {
    let (gone, upstream) = (refusing().await, Upstream::start().await);
    let eject = "eject = { failures = 2, duration = \"5m\" }";
    let gate = Setup::shops(&[&gone, &upstream], eject).gate("threads = 1").start().await;
    for _ in 0..20 {
        assert_eq!(get(gate.address, "/").await.status, 200);
    }
    assert_eq!(gate.log().matches("upstream unreachable").count(), 2, "{}", gate.log());
    let shop = gate.shop().await;
    assert_eq!(shop.upstreams[0].health, UpstreamHealth::Ejected);
    assert!(shop.upstreams[0].left_out_for_ms.unwrap() > 200_000, "{shop:?}");
    assert_eq!(shop.upstreams[1].health, UpstreamHealth::Up);
    let said = gate.cli(&["status"]).await.stdout;
    assert_contains(&said, format!("shop: {gone} is ejected for "));
    assert_contains(&said, "2 attempts in a row: no connection");
}

#[tokio::test]
async fn one_that_is_left_out_comes_back_with_its_first_answer() {
    let directory = directory();
    let path = directory.path().join("app.sock");
    let upstream = Upstream::start().await;
    let eject = "eject = { failures = 1, duration = \"50ms\" }";
    let unix = format!("unix:{}", path.display());
    let gate =
        Setup::shops(&[&unix, &upstream], eject).gate("threads = 1").start_in(directory).await;
    for _ in 0..4 {
        assert_eq!(get(gate.address, "/").await.status, 200);
    }
    assert!(gate.log().contains("upstream left out"), "{}", gate.log());
    let back = Upstream::start_unix(&path);
    until("it has requests", async || {
        assert_eq!(get(gate.address, "/").await.status, 200);
        (back.arrived() > 0).then_some(())
    })
    .await;
    assert_eq!(gate.shop().await.upstreams[0].health, UpstreamHealth::Up);
}

#[tokio::test]
async fn a_request_waits_for_an_upstream_that_is_being_restarted() {
    let directory = directory();
    let path = directory.path().join("app.sock");
    let setup = Setup::default().app("shop", "*", format!("unix:{}", path.display()), VERY_LONG);
    let gate = setup.start_in(directory).await;
    let mut wire = Wire::connect(gate.address).await;
    wire.send("POST /order HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody").await;
    until("it was tried", async || gate.log().contains("upstream unreachable").then_some(())).await;
    let upstream = Upstream::start_unix(&path);
    assert_eq!(wire.answer().await.status, 200);
    let seen = upstream.seen();
    assert_eq!((seen.len(), seen[0].path.as_str(), seen[0].body.as_str()), (1, "/order", "body"));
}

#[tokio::test]
async fn a_request_is_not_tried_for_longer_than_the_app_says() {
    let gone = refusing().await;
    let gate = Setup::shops(&[&gone], "try_duration = \"250ms\"").start().await;
    assert_eq!(get(gate.address, "/").await.status, 502);
    let tries = gate.log().matches("upstream unreachable").count();
    assert!((2..=3).contains(&tries), "{tries}");
    let gate = Setup::shops(&[&gone], "try_duration = \"0s\"").start().await;
    assert_eq!(get(gate.address, "/").await.status, 502);
    assert_eq!(gate.log().matches("upstream unreachable").count(), 1);
}

#[tokio::test]
async fn a_hold_does_not_wait_for_a_request_that_has_no_upstream_yet() {
    let directory = directory();
    let path = directory.path().join("app.sock");
    let setup = Setup::default().app("shop", "*", format!("unix:{}", path.display()), VERY_LONG);
    let gate = setup.start_in(directory).await;
    let mut wire = Wire::connect(gate.address).await;
    wire.get("/early").await;
    until("it was tried", async || gate.log().contains("upstream unreachable").then_some(())).await;
    let held = gate.client.hold("shop", &ask(30_000, 20_000)).await.unwrap();
    assert!(held.drained_ms < 10_000, "{held:?}");
    gate.until_held("shop", 1).await;
    let upstream = Upstream::start_unix(&path);
    let early = tokio::time::timeout(Duration::from_millis(300), wire.head()).await;
    assert!(early.is_err(), "answered while held");
    assert_eq!(upstream.arrived(), 0);
    gate.release("shop", held.generation).await;
    let answer = wire.answer().await;
    assert_eq!(answer.status, 200);
    assert_contains(&answer.headers["server-timing"], "hold;dur=");
    gate.until_state("shop", AppState::Open).await;
    assert_eq!(gate.shop().await.in_flight, 0);
}

#[tokio::test]
async fn idle_connections_to_upstreams_end_when_a_hold_begins() {
    let directory = directory();
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let setup = Setup::shop(format!("unix:{}", path.display()));
    let gate = setup.gate("upstream_idle_timeout = \"5m\"").start_in(directory).await;
    let client = tokio::spawn(get(gate.address, "/"));
    let mut idle = Wire::of(soon("a connection", listener.accept()).await.unwrap().0);
    idle.request().await;
    idle.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client.await.unwrap().status, 200);
    let held = gate.hold("shop").await;
    assert!(soon("its end", idle.is_closed()).await);
    gate.release("shop", held.generation).await;
}
