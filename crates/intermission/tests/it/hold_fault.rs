//! Failures of holds that really hurt users of other tools, each by its number.

use std::time::Instant;

use intermission::admin::api::{AppState, ErrorCode, EventKind, ReleaseRequest};
use intermission::admin::client::Notice;

use super::gate::{Gate, Setup, directory};
use super::harness::{assert_contains, run, soon, until};
use super::upstream::Upstream;
use super::wire::{Wire, get};

/// Requests that wait in line, each on a connection of its own, in their order.
async fn line(gate: &Gate, count: usize) -> Vec<Wire> {
    let before = gate.shop().await.held;
    let mut wires = Vec::new();
    for number in 0..count {
        let mut wire = Wire::connect(gate.address).await;
        wire.get(&format!("/{number}")).await;
        gate.until_held("shop", before + number + 1).await;
        wires.push(wire);
    }
    wires
}

/// Elsewhere 0 places meant places without limit, and what was to be paused went on.
#[tokio::test]
async fn h17_nothing_of_a_hold_may_be_zero() {
    let directory = directory();
    for (line, key) in [
        ("held_max = 0", "held_max"),
        ("release = { concurrency = 0, concurrency_max = 1 }", "release.concurrency"),
        ("release = { concurrency = 1, concurrency_max = 0 }", "release.concurrency_max"),
        ("max_wait = \"0s\"", "max_wait"),
        ("lease = \"0s\"", "lease"),
        ("drain = \"0s\"", "drain"),
    ] {
        Setup::default().app("shop", "*", "127.0.0.1:1", line).write(&directory);
        let ran = run(&directory.path().join("config.toml"), &["config", "check"]).await;
        assert_eq!(ran.code, Some(2), "{line}: {ran:?}");
        assert_contains(&ran.stderr, format!("`app.shop.{key}`"));
    }
}

/// The upstream is gone for good: whoever was held is told so, one after the other, and nobody stays.
#[tokio::test]
async fn h23_who_was_held_is_answered_when_the_upstream_never_comes_back() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let further = "try_duration = \"150ms\"\nrelease = { concurrency = 1, concurrency_max = 2 }";
    let gate = Setup::default().app("shop", "*", gone, further).start().await;
    let held = gate.hold("shop").await;
    let mut waiting = line(&gate, 6).await;
    gate.release("shop", held.generation).await;
    for wire in &mut waiting {
        assert_eq!(wire.answer().await.status, 502);
    }
    let app = gate.until_state("shop", AppState::Open).await;
    assert_eq!((app.held, app.in_flight, app.summary.released), (0, 0, 6));
}

/// A second hold in the middle of a release takes over who is still in line; its release lets everybody go on.
#[tokio::test]
async fn h24_two_holds_that_overlap_leave_nobody_waiting_for_the_longest_wait() {
    let upstream = Upstream::start().await;
    let further = "max_wait = \"2m\"\nrelease = { concurrency = 1, concurrency_max = 1 }";
    let gate = Setup::default().app("shop", "*", &upstream, further).start().await;
    let first = gate.hold("shop").await;
    let mut slow = Wire::connect(gate.address).await;
    slow.get("/slow").await;
    gate.until_held("shop", 1).await;
    let mut waiting = line(&gate, 10).await;
    gate.release("shop", first.generation).await;
    // The first of the line is on its way and keeps the others in it.
    until("the first is at the upstream", async || (upstream.waiting() == 1).then_some(())).await;
    assert_eq!(gate.shop().await.state, AppState::Releasing);
    let (second, ()) = tokio::join!(gate.hold("shop"), async {
        gate.until_state("shop", AppState::Draining).await;
        upstream.let_go(1);
    });
    assert_eq!(slow.answer().await.status, 200);
    assert_eq!(gate.shop().await.held, 10);
    let stale = ReleaseRequest { generation: first.generation };
    assert_eq!(
        gate.client.release("shop", &stale).await.unwrap_err().code(),
        Some(ErrorCode::Stale)
    );
    gate.release("shop", second.generation).await;
    for wire in &mut waiting {
        assert_eq!(wire.answer().await.status, 200);
    }
    let summary = gate.until_state("shop", AppState::Open).await.summary;
    assert_eq!((summary.held, summary.released, summary.timed_out), (10, 10, 0));
    let paths: Vec<_> = (0..10).map(|number| format!("/{number}")).collect();
    assert_eq!(upstream.paths()[1..], paths);
}

/// One listener asks the gate at every event, another one never listens: holds go on, and so do the events.
#[tokio::test]
async fn h28_whoever_listens_to_events_may_ask_the_gate_and_whoever_does_not_stops_nobody() {
    const ROUNDS: u64 = 300;
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let deaf = gate.client.events().await.unwrap();
    let mut events = gate.client.events().await.unwrap();
    let asking = async {
        let mut released = 0;
        while released < ROUNDS {
            match soon("an event", events.next()).await.unwrap() {
                Notice::Event(event) => {
                    let status = soon("the status", gate.client.status()).await.unwrap();
                    assert!(status.apps[0].generation >= event.generation);
                    released += u64::from(event.kind == EventKind::Released);
                }
                Notice::Lost(lost) => panic!("{lost} events lost by who listens"),
            }
        }
    };
    let holding = async {
        for _ in 0..ROUNDS {
            let held = soon("a hold", gate.hold("shop")).await;
            let (answer, ()) = tokio::join!(get(gate.address, "/"), async {
                gate.until_held("shop", 1).await;
                soon("a release", gate.release("shop", held.generation)).await;
            });
            assert_eq!(answer.status, 200);
        }
    };
    tokio::join!(asking, holding);
    drop(deaf);
}

/// A pause between two tries that grows with each one would make users wait as long again.
#[tokio::test]
async fn h40_no_pause_between_tries_grows_while_the_upstream_is_away() {
    let directory = directory();
    let socket = directory.path().join("shop.sock");
    let at = format!("unix:{}", socket.display());
    let gate =
        Setup::default().app("shop", "*", &at, "try_duration = \"1m\"").start_in(directory).await;
    let held = gate.hold("shop").await;
    let mut waiting = line(&gate, 3).await;
    gate.release("shop", held.generation).await;
    let began = Instant::now();
    until("many tries", async || {
        (gate.log().matches("upstream unreachable").count() > 60).then_some(())
    })
    .await;
    let away = began.elapsed();
    let upstream = Upstream::start_unix(&socket);
    let back = Instant::now();
    for wire in &mut waiting {
        assert_eq!(wire.answer().await.status, 200);
    }
    let late = back.elapsed();
    // Three waited for twenty tries each: with a pause that doubles the last one takes half of the time.
    assert!(late < away / 4, "away for {away:?}, and {late:?} more");
    assert_eq!(get(gate.address, "/next").await.status, 200);
    assert_eq!(upstream.arrived(), 4);
}

/// What is not the held app's users' goes on: the gate's own checks, what a rule lets pass, another app of the same upstream.
#[tokio::test]
async fn h41_what_is_not_held_by_intention_is_not_held_by_mistake() {
    let upstream = Upstream::start().await;
    let further = "health = { path = \"/up\", host = \"shop.example\", interval = \"10ms\" }\n\
                   bypass = { paths = [\"/mirror\"] }";
    let gate = Setup::default()
        .app("shop", "shop.example", &upstream, further)
        .app("jobs", "jobs.example", &upstream, "")
        .start()
        .await;
    let held = gate.hold("shop").await;
    let mut waiting = line(&gate, 2).await;
    let checks = || upstream.paths().iter().filter(|path| *path == "/up").count();
    let before = checks();
    until("further health checks", async || (checks() > before + 5).then_some(())).await;
    let mut wire = Wire::connect(gate.address).await;
    for host in ["jobs.example", "shop.example"] {
        wire.send(&format!("POST /mirror HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n"))
            .await;
        assert_eq!(wire.answer().await.status, 200, "{host}");
    }
    let app = gate.shop().await;
    assert_eq!((app.state, app.held, app.in_flight), (AppState::Held, 2, 0));
    assert!(!upstream.paths().iter().any(|path| path == "/0" || path == "/1"));
    gate.release("shop", held.generation).await;
    for wire in &mut waiting {
        assert_eq!(wire.answer().await.status, 200);
    }
}
