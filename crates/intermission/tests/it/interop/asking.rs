//! Web servers beside the gate that ask it first.

use std::net::SocketAddr;

use super::super::gate::{Gate, Setup};
use super::super::harness::soon;
use super::super::upstream::Upstream;
use super::super::wire::{Wire, get};
use super::case::Case;

const ASK: &str = "ask_path = \"/_intermission/ask\"";

async fn asks_before_every_request(mut case: Case) {
    let upstream = Upstream::start().await;
    let impatient = format!("{ASK}\nmax_wait = \"300ms\"");
    let setup = Setup::default().asked("shop", "*", ASK).asked("patient", "patient", &impatient);
    let gate = setup.start().await;
    case.place(8080, gate.address);
    case.place(3000, upstream.address);
    let server = case.serve(0, &[8000]).await;
    let address = server.addresses[0];
    waits_for_the_release(&gate, &upstream, address).await;
    waits_for_too_long(&gate, &upstream, address).await;
}

async fn waits_for_the_release(gate: &Gate, upstream: &Upstream, address: SocketAddr) {
    assert_eq!(get(address, "/page").await.status, 200);
    assert_eq!(upstream.arrived(), 1);
    let held = gate.hold("shop").await;
    let mut waiting = Vec::new();
    for number in 1..=20 {
        waiting.push(tokio::spawn(async move { get(address, &format!("/page/{number}")).await }));
        gate.until_held("shop", number).await;
    }
    let mut posting = Wire::connect(address).await;
    let post = "POST /entries HTTP/1.1\r\nhost: shop\r\ncontent-length: 19\r\n\r\n";
    posting.send(&format!("{post}kept while it waits")).await;
    gate.until_held("shop", 21).await;
    assert_eq!(upstream.arrived(), 1, "nothing passes");
    gate.release("shop", held.generation).await;
    assert_eq!(posting.answer().await.status, 200);
    for answer in waiting {
        assert_eq!(soon("an answer", answer).await.unwrap().status, 200);
    }
    assert_eq!(upstream.arrived(), 22);
    assert!(upstream.seen().iter().any(|seen| seen.body == "kept while it waits"));
}

/// 503, and the upstream hears nothing.
async fn waits_for_too_long(gate: &Gate, upstream: &Upstream, address: SocketAddr) {
    let arrived = upstream.arrived();
    let held = gate.hold("patient").await;
    let mut wire = Wire::connect(address).await;
    wire.send("GET / HTTP/1.1\r\nhost: patient\r\n\r\n").await;
    let answer = wire.answer().await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.headers["retry-after"], "5");
    assert_eq!(upstream.arrived(), arrived);
    gate.release("patient", held.generation).await;
}

pub(super) async fn nginx_asks(case: Case) {
    asks_before_every_request(case).await;
}

pub(super) async fn caddy_asks(case: Case) {
    asks_before_every_request(case).await;
}
