//! Requests that a hold does not hold.

use super::gate::{Gate, Setup};
use super::harness::{assert_contains, run};
use super::upstream::Upstream;
use super::wire::{Answer, Wire, get};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A gate whose app is held.
async fn held(upstream: &Upstream, further: &str) -> (Gate, u64) {
    let gate = Setup::default().app("shop", "*", upstream, further).start().await;
    let generation = gate.hold("shop").await.generation;
    (gate, generation)
}

async fn asked(gate: &Gate, request: &str) -> Answer {
    let mut wire = Wire::connect(gate.address).await;
    wire.send(&format!("{request}\r\nhost: a\r\n\r\n")).await;
    wire.answer().await
}

/// Waits in line, and goes on with the release.
async fn assert_held(gate: &Gate, generation: u64, requests: &[&str]) {
    let mut wires = Vec::new();
    for request in requests {
        let mut wire = Wire::connect(gate.address).await;
        wire.send(&format!("{request}\r\nhost: a\r\ncontent-length: 0\r\n\r\n")).await;
        wires.push(wire);
        gate.until_held("shop", wires.len()).await;
    }
    gate.release("shop", generation).await;
    for wire in &mut wires {
        assert_eq!(wire.answer().await.status, 200);
    }
}

#[tokio::test]
async fn with_methods_that_read_a_hold_holds_writes_only() {
    let upstream = Upstream::start().await;
    let rule = "bypass = { methods = [\"GET\", \"HEAD\", \"OPTIONS\"] }";
    let (gate, generation) = held(&upstream, rule).await;
    for method in ["GET", "OPTIONS"] {
        assert_eq!(asked(&gate, &format!("{method} /read HTTP/1.1")).await.status, 200);
    }
    assert_eq!(upstream.arrived(), 2);
    let writes = ["POST /1 HTTP/1.1", "PUT /2 HTTP/1.1", "DELETE /3 HTTP/1.1", "PURGE /4 HTTP/1.1"];
    assert_held(&gate, generation, &writes).await;
    let mut written = upstream.paths().split_off(2);
    written.sort_unstable();
    assert_eq!(written, ["/1", "/2", "/3", "/4"]);
}

#[tokio::test]
async fn no_drain_waits_for_what_passes() {
    let upstream = Upstream::start().await;
    let gate = Setup::default()
        .app("shop", "*", &upstream, "bypass = { paths = [\"/slow\"] }\ndrain = \"100ms\"")
        .start()
        .await;
    let slow = tokio::spawn(get(gate.address, "/slow"));
    upstream.until_arrived(1).await;
    let reply = gate.hold("shop").await;
    assert_eq!(gate.shop().await.in_flight, 0);
    upstream.let_go(1);
    assert_eq!(slow.await.unwrap().status, 200);
    gate.release("shop", reply.generation).await;
}

#[tokio::test]
async fn an_address_a_name_and_a_token_pass_and_the_token_ends_here() {
    let upstream = Upstream::start().await;
    let directory = super::gate::directory();
    let token = directory.path().join("token");
    super::certificate::write(&token, TOKEN);
    let header = format!("header = {{ name = \"x-pass\", token_file = {token:?} }}");
    let rules = format!("bypass = {{ user_agents = [\"Probe/1.0\"], {header} }}");
    let setup = Setup::default().app("shop", "*", &upstream, &rules);
    let gate = setup.start_in(directory).await;
    let generation = gate.hold("shop").await.generation;
    let probe = asked(&gate, "GET / HTTP/1.1\r\nuser-agent: Probe/1.0").await;
    let known = asked(&gate, &format!("POST / HTTP/1.1\r\nx-pass: {TOKEN}")).await;
    assert_eq!((probe.status, known.status), (200, 200));
    assert!(upstream.seen().iter().all(|seen| !seen.headers.contains_key("x-pass")));
    assert_held(
        &gate,
        generation,
        &["GET /1 HTTP/1.1\r\nuser-agent: Probe", "GET /2 HTTP/1.1\r\nx-pass: x"],
    )
    .await;
    drop(gate);
    let (near, generation) = held(&upstream, "bypass = { from = [\"127.0.0.0/8\"] }").await;
    assert_eq!(asked(&near, "POST / HTTP/1.1").await.status, 200);
    near.release("shop", generation).await;
    let (far, generation) = held(&upstream, "bypass = { from = [\"192.0.2.0/24\"] }").await;
    assert_held(&far, generation, &["GET /far HTTP/1.1"]).await;
}

#[tokio::test]
async fn who_asks_whether_the_gate_is_there_is_answered_by_the_gate() {
    let upstream = Upstream::start().await;
    let (gate, generation) = held(&upstream, "answer_paths = [\"/lb\"]").await;
    let answer = get(gate.address, "/lb").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    assert_eq!(upstream.arrived(), 0);
    assert_held(&gate, generation, &["GET /lb/x HTTP/1.1"]).await;
    assert_eq!(get(gate.address, "/lb").await.status, 200);
    assert_eq!(upstream.arrived(), 1);
}

#[tokio::test]
async fn h13_a_token_that_cannot_be_read_is_no_open_door() {
    let upstream = Upstream::start().await;
    let header = "bypass = { header = { name = \"x-pass\", token_file = \"/nonexistent\" } }";
    let setup = Setup::default().app("shop", "*", &upstream, header);
    let directory = super::gate::directory();
    setup.write(&directory);
    let said = run(&directory.path().join("config.toml"), &["serve"]).await;
    assert_ne!(said.code, Some(0));
    assert_contains(&said.stderr, "app.shop.bypass.header.token_file");
}
