//! SIGTERM.

use super::gate::Setup;
use super::upstream::Upstream;
use super::wire::Wire;

#[tokio::test]
async fn sigterm_lets_requests_in_flight_finish_and_takes_no_new_ones() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).start().await;
    let mut idle = Wire::connect(gate.address).await;
    idle.get("/").await;
    assert_eq!(idle.answer().await.status, 200);
    let mut slow = Wire::connect(gate.address).await;
    slow.get("/slow").await;
    upstream.until_arrived(2).await;
    gate.terminate();
    assert!(idle.is_closed().await);
    assert!(gate.client.status().await.unwrap().stopping);
    upstream.let_go(1);
    let answer = slow.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    assert!(slow.is_closed().await);
    assert_eq!(gate.exit_code().await, Some(0));
    assert!(!gate.socket().exists());
}

#[tokio::test]
async fn h32_sigterm_while_held_answers_503_at_the_end_of_the_grace() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).gate("shutdown_grace = \"300ms\"").start().await;
    gate.hold("shop").await;
    let mut wire = Wire::connect(gate.address).await;
    wire.get("/").await;
    gate.until_held("shop", 1).await;
    gate.terminate();
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (503, "5"));
    assert_eq!(gate.exit_code().await, Some(0));
    assert_eq!(upstream.arrived(), 0);
}

#[tokio::test]
async fn h32_a_release_while_the_gate_stops_lets_the_held_requests_go_on() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).start().await;
    let generation = gate.hold("shop").await.generation;
    let mut wire = Wire::connect(gate.address).await;
    wire.get("/").await;
    gate.until_held("shop", 1).await;
    gate.terminate();
    gate.release("shop", generation).await;
    assert_eq!(wire.answer().await.status, 200);
    assert_eq!(gate.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_after_the_grace() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).gate("shutdown_grace = \"100ms\"").start().await;
    let mut slow = Wire::connect(gate.address).await;
    slow.get("/slow").await;
    upstream.until_arrived(1).await;
    gate.terminate();
    assert_eq!(gate.exit_code().await, Some(0));
    assert!(slow.is_closed().await);
}
