//! Requests while their app is held, and when it is released.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use intermission::admin::api::{AppState, ErrorCode, ReleaseRequest, RenewRequest};
use intermission::admin::client::{Client, ClientError};

use super::gate::{LEASE_MS, Setup, ask};
use super::harness::{soon, until};
use super::upstream::Upstream;
use super::wire::{Wire, get};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h3_no_request_passes_after_the_acknowledgement_and_none_is_refused() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).gate("threads = 4").start().await;
    let done = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let (address, done) = (gate.address, Arc::clone(&done));
        clients.push(tokio::spawn(async move {
            let mut wire = Wire::connect(address).await;
            let mut answered = 0;
            while !done.load(Ordering::SeqCst) {
                wire.get("/").await;
                assert_eq!(wire.answer().await.status, 200);
                answered += 1;
            }
            answered
        }));
    }
    for round in 1..=20 {
        upstream.until_arrived(upstream.arrived() + 20).await;
        let held = gate.hold("shop").await;
        let arrived = upstream.arrived();
        assert_eq!(gate.shop().await.in_flight, 0, "round {round}");
        gate.until_held("shop", 8).await;
        assert_eq!(upstream.arrived(), arrived, "round {round}");
        gate.release("shop", held.generation).await;
    }
    done.store(true, Ordering::SeqCst);
    let mut answered = 0;
    for client in clients {
        answered += soon("a client", client).await.unwrap();
    }
    assert_eq!(upstream.arrived(), answered, "each was forwarded exactly once");
}

#[tokio::test]
async fn h6_the_second_holder_is_told_who_holds_and_the_first_gets_its_drain() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let mut slow = Wire::connect(gate.address).await;
    slow.get("/slow").await;
    upstream.until_arrived(1).await;
    let request = ask(LEASE_MS, 15_000);
    let first = gate.client.hold("shop", &request);
    let second = async {
        gate.until_state("shop", AppState::Draining).await;
        let refused = gate.client.hold("shop", &ask(LEASE_MS, 15_000)).await.unwrap_err();
        upstream.let_go(1);
        refused
    };
    let (first, second) = tokio::join!(first, second);
    let ClientError::Refused(body) = second else { panic!("{second}") };
    assert_eq!((body.status, body.code), (409, ErrorCode::AlreadyHeld));
    let held_by = body.held_by.unwrap();
    assert_eq!((held_by.holder.as_str(), held_by.reason.as_str()), ("test", "because"));
    assert_eq!(held_by.generation, first.unwrap().generation);
    assert_eq!(slow.answer().await.body, "ok");
}

#[tokio::test]
async fn h7_h8_a_release_during_the_drain_kills_nothing_and_answers_the_waiting_holder() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let mut slow = Wire::connect(gate.address).await;
    slow.get("/slow").await;
    upstream.until_arrived(1).await;
    let mut waiting = Wire::connect(gate.address).await;
    let request = ask(LEASE_MS, 15_000);
    let hold = gate.client.hold("shop", &request);
    let release = async {
        let app = gate.until_state("shop", AppState::Draining).await;
        waiting.get("/waiting").await;
        gate.until_held("shop", 1).await;
        gate.release("shop", app.generation).await;
    };
    let (hold, ()) = tokio::join!(hold, release);
    assert_eq!(hold.unwrap_err().code(), Some(ErrorCode::ReleasedWhileDraining));
    assert_eq!(waiting.answer().await.status, 200);
    upstream.let_go(1);
    assert_eq!(slow.answer().await.status, 200);
}

#[tokio::test]
async fn h9_a_drain_that_takes_too_long_lists_the_stragglers_and_ends_the_hold() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let mut slow = Wire::connect(gate.address).await;
    slow.send("POST /slow/report?token=secret HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi")
        .await;
    upstream.until_arrived(1).await;
    let mut waiting = Wire::connect(gate.address).await;
    let request = ask(LEASE_MS, 300);
    let hold = gate.client.hold("shop", &request);
    let (refused, ()) = tokio::join!(hold, waiting.get("/waiting"));
    let ClientError::Refused(body) = refused.unwrap_err() else { panic!() };
    assert_eq!((body.status, body.code), (504, ErrorCode::DrainTimedOut));
    assert_eq!(body.stragglers.len(), 1, "{:?}", body.stragglers);
    let straggler = &body.stragglers[0];
    assert_eq!((straggler.method.as_str(), straggler.path.as_str()), ("POST", "/slow/report"));
    assert!(straggler.age_ms >= 300);
    assert_eq!(waiting.answer().await.status, 200);
    assert!(gate.shop().await.hold.is_none());
    upstream.let_go(1);
    assert_eq!(slow.answer().await.body, "ok", "nothing was killed");
}

#[tokio::test]
async fn h10_apps_are_isolated() {
    let (shop, blog) = (Upstream::start().await, Upstream::start().await);
    let setup = Setup::default().app("shop", "shop.example", &shop, "");
    let gate = setup.app("blog", "blog.example", &blog, "").start().await;
    let held_shop = gate.hold("shop").await;
    let held_blog = gate.hold("blog").await;
    let mut wire = Wire::connect(gate.address).await;
    wire.get("/held").await;
    gate.until_held("shop", 1).await;
    gate.release("blog", held_blog.generation).await;
    let mut other = Wire::connect(gate.address).await;
    other.send("GET /blog HTTP/1.1\r\nhost: blog.example\r\n\r\n").await;
    assert_eq!(other.answer().await.status, 200);
    assert_eq!((shop.arrived(), blog.paths()), (0, vec!["/blog".to_owned()]));
    assert_eq!(gate.shop().await.state, AppState::Held);
    gate.release("shop", held_shop.generation).await;
    assert_eq!(wire.answer().await.status, 200);
}

#[tokio::test]
async fn h38_who_would_be_given_up_in_front_of_the_gate_is_answered_before() {
    let upstream = Upstream::start().await;
    // max_wait is half a minute.
    let gate = Setup::shop(&upstream).gate("front_timeout = \"1s\"").start().await;
    gate.hold("shop").await;
    let front = tokio::time::timeout(Duration::from_secs(1), get(gate.address, "/")).await;
    let answer = front.expect("before the front gives up");
    assert_eq!((answer.status, answer.headers.contains_key("retry-after")), (503, true));
    assert_eq!((gate.shop().await.summary.held, upstream.arrived()), (1, 0));
}

#[tokio::test]
async fn h11_a_request_that_waited_too_long_gets_503_and_never_reaches_the_upstream() {
    let upstream = Upstream::start().await;
    let setup = Setup::default().app("shop", "*", &upstream, "max_wait = \"200ms\"");
    let gate = setup.start().await;
    let held = gate.hold("shop").await;
    let mut wire = Wire::connect(gate.address).await;
    wire.send("POST /late HTTP/1.1\r\nhost: a\r\naccept: application/json\r\ncontent-length: 4\r\n\r\nbody")
        .await;
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (503, "5"));
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    gate.release("shop", held.generation).await;
    // The same connection goes on, and the late request does not.
    wire.get("/next").await;
    assert_eq!(wire.answer().await.status, 200);
    assert_eq!(upstream.paths(), ["/next"]);
    assert_eq!(gate.shop().await.summary.timed_out, 1);
}

#[tokio::test]
async fn h14_h35_new_connections_are_held_on_every_worker_thread() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).gate("threads = 4").start().await;
    let held = gate.hold("shop").await;
    let mut wires = Vec::new();
    for number in 0..60 {
        let mut wire = Wire::connect(gate.address).await;
        wire.get(&format!("/{number}")).await;
        wires.push(wire);
    }
    gate.until_held("shop", 60).await;
    assert_eq!(upstream.arrived(), 0);
    gate.release("shop", held.generation).await;
    for wire in &mut wires {
        assert_eq!(wire.answer().await.status, 200);
    }
    let summary = gate.until_state("shop", AppState::Open).await.summary;
    assert_eq!((summary.held, summary.released), (60, 60));
}

#[tokio::test]
async fn h15_a_connection_opened_before_the_hold_is_held() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let mut wire = Wire::connect(gate.address).await;
    wire.get("/before").await;
    assert_eq!(wire.answer().await.status, 200);
    let held = gate.hold("shop").await;
    wire.get("/during").await;
    gate.until_held("shop", 1).await;
    assert_eq!(upstream.paths(), ["/before"]);
    gate.release("shop", held.generation).await;
    assert_eq!(wire.answer().await.status, 200);
}

#[tokio::test]
async fn h16_a_full_line_turns_away_and_is_released_without_a_deadlock() {
    let upstream = Upstream::start().await;
    let further = "held_max = 5\nrelease = { concurrency = 1, concurrency_max = 1 }";
    let gate = Setup::default().app("shop", "*", &upstream, further).start().await;
    let held = gate.hold("shop").await;
    let mut wires = Vec::new();
    for number in 0..5 {
        let mut wire = Wire::connect(gate.address).await;
        wire.get(&format!("/{number}")).await;
        gate.until_held("shop", number + 1).await;
        wires.push(wire);
    }
    let refused = get(gate.address, "/sixth").await;
    assert_eq!((refused.status, refused.headers["retry-after"].as_str()), (503, "5"));
    assert_contains_html(&refused.body);
    gate.release("shop", held.generation).await;
    for wire in &mut wires {
        assert_eq!(wire.answer().await.status, 200);
    }
    assert_eq!(upstream.paths(), ["/0", "/1", "/2", "/3", "/4"]);
    assert_eq!(gate.shop().await.summary.refused, 1);
}

#[tokio::test]
async fn h18_requests_are_released_in_the_order_they_came_and_later_ones_go_to_the_tail() {
    let upstream = Upstream::start().await;
    let further = "release = { concurrency = 1, concurrency_max = 1 }";
    let setup = Setup::default().app("shop", "*", &upstream, further);
    let gate = setup.gate("threads = 4").start().await;
    let held = gate.hold("shop").await;
    let mut wires = Vec::new();
    for number in 0..40 {
        let mut wire = Wire::connect(gate.address).await;
        wire.get(&format!("/slow/{number}")).await;
        gate.until_held("shop", number + 1).await;
        wires.push(wire);
    }
    gate.release("shop", held.generation).await;
    upstream.until_arrived(1).await;
    assert_eq!(gate.shop().await.state, AppState::Releasing);
    for number in 40..45 {
        let mut wire = Wire::connect(gate.address).await;
        wire.get(&format!("/slow/{number}")).await;
        gate.until_held("shop", number).await;
        wires.push(wire);
    }
    assert_eq!(upstream.arrived(), 1, "a window of one");
    upstream.let_go(45);
    for wire in &mut wires {
        assert_eq!(wire.answer().await.status, 200);
    }
    let expected: Vec<_> = (0..45).map(|number| format!("/slow/{number}")).collect();
    assert_eq!(upstream.paths(), expected);
}

#[tokio::test]
async fn h29_a_stale_generation_changes_nothing() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let old = gate.hold("shop").await.generation;
    gate.release("shop", old).await;
    let new = gate.hold("shop").await.generation;
    assert!(new > old);
    for generation in [old, new + 1, 0] {
        let release = gate.client.release("shop", &ReleaseRequest { generation }).await;
        assert_eq!(release.unwrap_err().code(), Some(ErrorCode::Stale));
        let renew = RenewRequest { generation, lease_ms: None };
        let renew = gate.client.renew("shop", &renew).await;
        assert_eq!(renew.unwrap_err().code(), Some(ErrorCode::Stale));
    }
    let app = gate.shop().await;
    assert_eq!((app.state, app.generation), (AppState::Held, new));
}

#[tokio::test]
async fn the_end_of_the_lease_releases_unless_it_is_renewed() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let held = gate.client.hold("shop", &ask(400, 400)).await.unwrap();
    let began = Instant::now();
    let mut wire = Wire::connect(gate.address).await;
    wire.get("/").await;
    let renew = RenewRequest { generation: held.generation, lease_ms: Some(1_500) };
    gate.client.renew("shop", &renew).await.unwrap();
    assert_eq!(wire.answer().await.status, 200);
    assert!(began.elapsed() > Duration::from_millis(1_000));
    let summary = gate.shop().await.summary;
    assert_eq!((summary.held, summary.released), (1, 1));
    let again = gate.client.renew("shop", &renew).await;
    assert_eq!(again.unwrap_err().code(), Some(ErrorCode::Stale));
}

#[tokio::test]
async fn a_holder_that_leaves_during_the_drain_leaves_nothing_held() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let mut slow = Wire::connect(gate.address).await;
    slow.get("/slow").await;
    upstream.until_arrived(1).await;
    let holder = Client::new(gate.socket());
    let hold = tokio::spawn(async move { holder.hold("shop", &ask(LEASE_MS, 20_000)).await });
    gate.until_state("shop", AppState::Draining).await;
    hold.abort();
    gate.until_state("shop", AppState::Open).await;
    upstream.let_go(1);
    assert_eq!(slow.answer().await.status, 200);
}

#[tokio::test]
async fn h10_apps_of_one_host_are_parted_by_their_paths() {
    let (shop, api, tenants) =
        (Upstream::start().await, Upstream::start().await, Upstream::start().await);
    let gate = Setup::default()
        .app("shop", "shop.example", &shop, "")
        .app("api", "shop.example", &api, "paths = [\"/api\"]")
        .app("tenants", "*.shop.example", &tenants, "")
        .start()
        .await;
    let held = gate.hold("api").await;
    let mut waiting = Wire::connect(gate.address).await;
    waiting.send("GET /api/orders HTTP/1.1\r\nhost: shop.example\r\n\r\n").await;
    gate.until_held("api", 1).await;
    let mut wire = Wire::connect(gate.address).await;
    for (host, path) in
        [("shop.example", "/"), ("shop.example", "/apis"), ("a.b.shop.example", "/api")]
    {
        wire.send(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        assert_eq!(wire.answer().await.status, 200, "{host}{path}");
    }
    assert_eq!((shop.arrived(), tenants.arrived(), api.arrived()), (2, 1, 0));
    gate.release("api", held.generation).await;
    assert_eq!(waiting.answer().await.status, 200);
    assert_eq!(api.arrived(), 1);
    wire.send("GET / HTTP/1.1\r\nhost: other.example\r\n\r\n").await;
    assert_eq!(wire.answer().await.status, 421);
}

#[tokio::test]
async fn h31_a_body_stays_in_the_socket_and_continue_is_sent_at_the_release() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let held = gate.hold("shop").await;
    let mut wire = Wire::connect(gate.address).await;
    wire.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        .await;
    gate.until_held("shop", 1).await;
    let early = tokio::time::timeout(Duration::from_millis(100), wire.head()).await;
    assert!(early.is_err(), "{early:?}");
    gate.release("shop", held.generation).await;
    assert_eq!(wire.head().await.status, 100);
    wire.send("body").await;
    assert_eq!(wire.answer().await.status, 200);
    let seen = until("the request", async || upstream.seen().pop()).await;
    assert_eq!(seen.body, "body");
    assert!(!seen.headers.contains_key("expect"));
}

#[track_caller]
fn assert_contains_html(body: &str) {
    assert!(body.starts_with("<!doctype html>"), "{body}");
}
