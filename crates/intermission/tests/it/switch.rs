//! `control_path`: the older pauser's switch.

use std::time::Duration;

use intermission::admin::api::AppState;

use super::gate::{Gate, Setup};
use super::harness::assert_contains;
use super::upstream::Upstream;
use super::wire::{Answer, Wire};

const PATH: &str = "control_path = \"/_intermission\"";

async fn gate(upstream: &Upstream, further: &str) -> Gate {
    Setup::default().app("shop", "*", upstream, &format!("{PATH}\n{further}")).start().await
}

async fn ask(gate: &Gate, path: &str, header: &str) -> Answer {
    let mut wire = Wire::connect(gate.address).await;
    wire.send(&format!("GET /_intermission/{path} HTTP/1.1\r\nhost: shop.example\r\n{header}\r\n"))
        .await;
    wire.answer().await
}

fn first(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body.lines().next().unwrap())
}

#[tokio::test]
async fn it_holds_and_releases_and_says_how_things_are() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream, "").await;
    assert_eq!(first(&ask(&gate, "status", "").await), (200, "running"));
    assert_eq!(first(&ask(&gate, "disable", "").await), (200, "running"));
    assert_eq!(first(&ask(&gate, "enable/", "").await), (200, "paused"));
    let shop = gate.shop().await;
    assert_eq!(shop.state, AppState::Held);
    let hold = shop.hold.unwrap();
    assert_eq!(hold.holder, "path /_intermission/enable");
    assert_contains(&hold.reason, "127.0.0.1");
    let mut waiting = Wire::connect(gate.address).await;
    waiting.get("/").await;
    gate.until_held("shop", 1).await;
    let answer = ask(&gate, "status", "").await;
    assert_contains(&answer.body, "held 1\n");
    assert_eq!(answer.headers["cache-control"], "no-store");
    // Again: the same hold, whose lease begins anew.
    assert_eq!(first(&ask(&gate, "enable", "").await), (200, "paused"));
    assert_eq!(gate.shop().await.generation, hold.generation);
    assert_eq!(upstream.arrived(), 0);
    assert_eq!(ask(&gate, "disable", "").await.status, 200);
    assert_eq!(waiting.answer().await.status, 200);
    assert_eq!(upstream.paths(), ["/"]);
}

#[tokio::test]
async fn it_takes_nothing_from_somebody_else_and_waits_for_no_straggler() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream, "drain = \"200ms\"").await;
    let held = gate.hold("shop").await;
    for path in ["enable", "disable"] {
        let answer = ask(&gate, path, "").await;
        assert_eq!(answer.status, 409);
        assert_contains(&answer.body, "held by test");
    }
    gate.release("shop", held.generation).await;
    let mut slow = Wire::connect(gate.address).await;
    slow.get("/slow").await;
    upstream.until_arrived(1).await;
    let answer = ask(&gate, "enable", "").await;
    assert_eq!(answer.status, 504);
    assert_contains(&answer.body, "GET /slow for ");
    assert_eq!(gate.shop().await.state, AppState::Open);
    upstream.let_go(1);
    assert_eq!(slow.answer().await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_during_the_drain_holds_nobody() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream, "drain = \"20s\"").await;
    let mut slow = Wire::connect(gate.address).await;
    slow.get("/slow").await;
    upstream.until_arrived(1).await;
    let mut wire = Wire::connect(gate.address).await;
    wire.send("GET /_intermission/enable HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.until_state("shop", AppState::Draining).await;
    drop(wire);
    gate.until_state("shop", AppState::Open).await;
    upstream.let_go(1);
    assert_eq!(slow.answer().await.status, 200);
}

#[tokio::test]
async fn only_who_is_near_and_whom_nobody_has_passed_on_may_use_it() {
    let upstream = Upstream::start().await;
    let far = gate(&upstream, "control_from = [\"192.0.2.0/24\"]").await;
    assert_eq!(ask(&far, "enable", "").await.status, 403);
    assert_eq!(far.shop().await.state, AppState::Open);
    let near = gate(&upstream, "").await;
    for header in [
        "X-Forwarded-For: 127.0.0.1\r\n",
        "Via: 1.1 a\r\n",
        "Forwarded: for=a\r\n",
        "X-Real-IP: ::1\r\n",
    ] {
        assert_eq!(ask(&near, "enable", header).await.status, 403, "{header}");
    }
    assert_eq!(near.shop().await.state, AppState::Open);
    // What is not one of them is the application's, and so are all of them where nobody wants the switch.
    assert_eq!(ask(&near, "other", "").await.status, 200);
    let without = Setup::shop(&upstream).start().await;
    assert_eq!(ask(&without, "enable", "").await.body, "ok");
    assert_eq!(upstream.paths(), ["/_intermission/other", "/_intermission/enable"]);
    assert_eq!(without.shop().await.state, AppState::Open);
}

#[tokio::test]
async fn nobody_is_held_for_ever() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream, "lease = \"300ms\"\ndrain = \"100ms\"").await;
    assert_eq!(first(&ask(&gate, "enable", "").await), (200, "paused"));
    gate.until_state("shop", AppState::Open).await;
    tokio::time::timeout(Duration::from_secs(5), ask(&gate, "status", "")).await.unwrap();
}
