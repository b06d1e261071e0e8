//! What bounds the line of an app, and what becomes of it when something goes wrong.

use std::time::{Duration, Instant};

use intermission::admin::api::{AppState, EventKind};
use intermission::admin::client::Notice;

use super::gate::{Gate, Setup, ask};
use super::harness::{assert_contains, soon, until};
use super::reload::{READ, reload};
use super::upstream::Upstream;
use super::wire::{Wire, get};

/// Requests in line, in the order of their numbers.
async fn queue(gate: &Gate, count: usize) -> Vec<Wire> {
    let mut waiting = Vec::new();
    for number in 0..count {
        let mut wire = Wire::connect(gate.address).await;
        wire.get(&format!("/{number}")).await;
        waiting.push(wire);
        gate.until_held("shop", number + 1).await;
    }
    waiting
}

async fn statuses(waiting: &mut [Wire]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for wire in waiting {
        statuses.push(wire.answer().await.status);
    }
    statuses
}

fn shop(upstream: &Upstream, further: &str) -> Setup {
    Setup::default().app("shop", "*", upstream, further)
}

#[tokio::test]
async fn a_lease_that_ends_rejects_the_line_where_it_is_to_and_the_app_is_open() {
    let upstream = Upstream::start().await;
    let gate = shop(&upstream, "on_expiry = \"reject\"").start().await;
    gate.client.hold("shop", &ask(1_000, 500)).await.unwrap();
    let mut waiting = queue(&gate, 3).await;
    for wire in &mut waiting {
        let answer = wire.answer().await;
        assert_eq!((answer.status, &*answer.headers["retry-after"]), (503, "5"));
    }
    assert_eq!(upstream.arrived(), 0, "nothing of it was forwarded");
    let shop = gate.until_state("shop", AppState::Open).await;
    assert_eq!((shop.summary.rejected, shop.summary.released, shop.summary.held), (3, 0, 3));
    assert_eq!(get(gate.address, "/later").await.status, 200);
    // A release is one where leases reject, too.
    let held = gate.hold("shop").await;
    let mut waiting = queue(&gate, 2).await;
    gate.release("shop", held.generation).await;
    assert_eq!(statuses(&mut waiting).await, [200, 200]);
}

#[tokio::test]
async fn h37_a_longer_wait_counts_for_who_is_held_already() {
    let upstream = Upstream::start().await;
    let gate = shop(&upstream, "max_wait = \"1500ms\"").start().await;
    let held = gate.hold("shop").await;
    let began = Instant::now();
    let mut waiting = queue(&gate, 3).await;
    reload(&gate, &shop(&upstream, "max_wait = \"20s\""), READ).await;
    assert!(began.elapsed() < Duration::from_millis(1500), "the test was too slow to show it");
    until("longer than they were to wait", async || {
        (began.elapsed() > Duration::from_secs(2)).then_some(())
    })
    .await;
    assert_eq!(gate.shop().await.held, 3);
    gate.release("shop", held.generation).await;
    assert_eq!(statuses(&mut waiting).await, [200, 200, 200]);
}

#[tokio::test]
async fn one_client_has_its_share_of_the_line_and_others_theirs() {
    let upstream = Upstream::start().await;
    let proxies = "trusted_proxies = [\"127.0.0.0/8\"]";
    let gate = shop(&upstream, "held_per_client_max = 2").gate(proxies).start().await;
    let held = gate.hold("shop").await;
    let ask = async |from: &str| {
        let mut wire = Wire::connect(gate.address).await;
        let from =
            if from.is_empty() { String::new() } else { format!("x-forwarded-for: {from}\r\n") };
        wire.send(&format!("GET / HTTP/1.1\r\nhost: a\r\n{from}\r\n")).await;
        wire
    };
    // What a client writes itself stands to the left of what the proxy adds.
    let mut waiting = vec![ask("192.0.2.1").await, ask("198.51.100.7, 192.0.2.1, 127.0.0.2").await];
    gate.until_held("shop", 2).await;
    let refused = ask("192.0.2.1").await.answer().await;
    assert_eq!((refused.status, &*refused.headers["retry-after"]), (503, "5"));
    waiting.push(ask("192.0.2.2").await);
    // Nobody is named: it may be anybody.
    for _ in 0..3 {
        waiting.push(ask("").await);
    }
    gate.until_held("shop", 6).await;
    // Who leaves gives its place back.
    drop(waiting.remove(0));
    gate.until_held("shop", 5).await;
    waiting.push(ask("192.0.2.1").await);
    gate.until_held("shop", 6).await;
    assert_eq!(gate.shop().await.summary.refused, 1);
    gate.release("shop", held.generation).await;
    assert_eq!(statuses(&mut waiting).await, [200; 6]);
    assert_eq!(upstream.arrived(), 6);
}

#[tokio::test]
async fn held_requests_leave_connections_for_who_is_not_held() {
    let upstream = Upstream::start().await;
    let gate = shop(&upstream, "bypass = { paths = [\"/up\"] }")
        .gate("connections_max = 32\nthreads = 1")
        .start()
        .await;
    let held = gate.hold("shop").await;
    let mut waiting = queue(&gate, 30).await;
    let mut wire = Wire::connect(gate.address).await;
    wire.get("/too-many").await;
    let refused = wire.answer().await;
    assert_eq!((refused.status, &*refused.headers["retry-after"]), (503, "5"));
    drop(wire);
    until("room for who is not held", async || {
        (get(gate.address, "/up").await.status == 200).then_some(())
    })
    .await;
    gate.release("shop", held.generation).await;
    assert_eq!(statuses(&mut waiting).await, [200; 30]);
}

const STOPPING: &str = "release = { concurrency = 2, concurrency_max = 4, failures_max = 3 }";

#[tokio::test]
async fn failures_in_a_row_stop_a_release_until_one_does_not_fail() {
    let upstream = Upstream::start().await;
    let gate = shop(&upstream, STOPPING).start().await;
    let mut events = gate.client.events().await.unwrap();
    let held = gate.hold("shop").await;
    let mut waiting = queue(&gate, 30).await;
    upstream.answer_always(500);
    gate.release("shop", held.generation).await;
    until("it stops", async || gate.shop().await.release_stopped.then_some(())).await;
    let shop = gate.shop().await;
    assert_eq!(shop.state, AppState::Releasing);
    assert!(shop.held >= 20, "{} are left", shop.held);
    let status = gate.cli(&["status"]).await;
    assert_contains(&status.stdout, "released requests fail");
    let arrived = upstream.arrived();
    upstream.until_arrived(arrived + 2).await;
    upstream.answer_always(200);
    let answered = statuses(&mut waiting).await;
    let failed = answered.iter().filter(|status| **status == 500).count();
    assert!((5..15).contains(&failed), "{answered:?}");
    assert!(answered.iter().skip(failed).all(|status| *status == 200), "{answered:?}");
    gate.until_state("shop", AppState::Open).await;
    let mut told = Vec::new();
    while told.last() != Some(&EventKind::ReleaseResumed) {
        let notice = soon("an event", events.next()).await.unwrap();
        let Notice::Event(event) = notice else { panic!("{notice:?}") };
        told.push(event.kind);
    }
    let expected = [
        EventKind::Draining,
        EventKind::Held,
        EventKind::Released,
        EventKind::ReleaseStopped,
        EventKind::ReleaseResumed,
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn h23_a_release_that_fails_for_long_goes_on_all_the_same() {
    let upstream = Upstream::start().await;
    let release = "release = { concurrency = 1, concurrency_max = 1, failures_max = 2, stopped_max = \"1s\" }";
    let gate = shop(&upstream, release).start().await;
    let held = gate.hold("shop").await;
    let mut waiting = queue(&gate, 20).await;
    upstream.answer_always(503);
    gate.release("shop", held.generation).await;
    assert_eq!(statuses(&mut waiting).await, [503; 20]);
    assert_eq!(upstream.arrived(), 20, "each was asked for");
    gate.until_state("shop", AppState::Open).await;
    assert_contains(&gate.log(), "the others go on all the same");
}

#[tokio::test]
async fn an_upstream_that_is_gone_stops_a_release_and_what_comes_back_ends_it() {
    let upstream = Upstream::start().await;
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let further = format!("try_duration = \"0s\"\n{STOPPING}");
    let setup = Setup::default().app("shop", "*", gone, &further);
    let gate = setup.start().await;
    let held = gate.hold("shop").await;
    let mut waiting = queue(&gate, 20).await;
    gate.release("shop", held.generation).await;
    until("it stops", async || gate.shop().await.release_stopped.then_some(())).await;
    reload(&gate, &shop(&upstream, STOPPING), READ).await;
    let answered = statuses(&mut waiting).await;
    let failed = answered.iter().filter(|status| **status == 502).count();
    assert!(
        failed < 15 && answered.iter().skip(failed).all(|status| *status == 200),
        "{answered:?}"
    );
    assert_eq!(upstream.arrived(), 20 - failed);
}
