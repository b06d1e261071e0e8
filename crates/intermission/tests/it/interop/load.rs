//! Load generators, which a hold must not be an error to.

use std::time::Duration;

use super::super::certificate::Authority;
use super::super::gate::{Gate, Setup};
use super::super::harness::assert_contains;
use super::super::tls_client::serving;
use super::super::upstream::Upstream;
use super::case::Case;

/// What it has said in the end. A hold comes once it is under way.
async fn through_a_hold(mut case: Case, at_once: usize) -> String {
    let (authority, upstream) = (Authority::new(), Upstream::start().await);
    authority.issue("shop", "shop.example.com", false);
    let gate = Setup::shop(&upstream).gate(&serving(&authority, &["shop"])).start().await;
    case.place(8080, gate.address);
    case.place(8443, gate.tls_address().await);
    let program = case.start(0);
    upstream.until_arrived(500).await;
    hold(&gate, &upstream, at_once).await;
    let (said, succeeded) = program.ended().await;
    assert!(succeeded, "{said}");
    assert!(gate.shop().await.summary.released >= at_once.try_into().unwrap());
    said
}

async fn hold(gate: &Gate, upstream: &Upstream, at_once: usize) {
    let held = gate.hold("shop").await;
    gate.until_held("shop", at_once).await;
    let arrived = upstream.arrived();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(upstream.arrived(), arrived, "nothing passes");
    gate.release("shop", held.generation).await;
}

pub(super) async fn wrk_notices_no_hold(case: Case) {
    let said = through_a_hold(case, 50).await;
    assert_contains(&said, "Requests/sec:");
    for error in ["Socket errors", "Non-2xx"] {
        assert!(!said.contains(error), "{said}");
    }
}

async fn all_succeed(case: Case, at_once: usize, protocol: &str) {
    let said = through_a_hold(case, at_once).await;
    assert_contains(&said, protocol);
    assert_contains(
        &said,
        "8000 total, 8000 started, 8000 done, 8000 succeeded, 0 failed, 0 errored, 0 timeout",
    );
    assert_contains(&said, "status codes: 8000 2xx, 0 3xx, 0 4xx, 0 5xx");
}

pub(super) async fn h2load_notices_no_hold(case: Case) {
    all_succeed(case, 200, "Application protocol: h2c").await;
}

pub(super) async fn h2load_notices_no_hold_with_tls(case: Case) {
    all_succeed(case, 200, "Application protocol: h2\n").await;
}

pub(super) async fn h2load_notices_no_hold_by_http1(case: Case) {
    all_succeed(case, 50, "Application protocol: http/1.1").await;
}
