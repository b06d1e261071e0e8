//! SIGUSR2: a successor takes over.

use intermission::admin::api::{AppState, ReleaseRequest};
use rustix::process::Signal;

use super::crowd::Load;
use super::gate::{LEASE_MS, Setup, ask};
use super::harness::{assert_contains, until};
use super::upstream::Upstream;
use super::wire::{Wire, get};

const SOON_GONE: &str = "shutdown_grace = \"300ms\"";

#[tokio::test]
async fn nothing_is_refused_or_lost_under_load() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).gate(SOON_GONE).start().await;
    let load = Load::start(gate.address, "shop.example", 16);
    for _ in 0..3 {
        let before = load.answers();
        let predecessor = gate.take_over().await;
        predecessor.until_gone().await;
        load.until_answers(before + 500).await;
    }
    assert_eq!(load.end().await, upstream.arrived());
}

#[tokio::test]
async fn a_hold_waits_for_what_is_in_flight_in_the_predecessor() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).start().await;
    let mut slow = Wire::connect(gate.address).await;
    slow.get("/slow").await;
    upstream.until_arrived(1).await;
    let predecessor = gate.take_over().await;
    let refused = gate.client.hold("shop", &ask(LEASE_MS, 100)).await.unwrap_err();
    assert_contains(&refused.to_string(), "1 requests were still in flight");
    assert_eq!(get(gate.address, "/").await.status, 200);
    let asked = ask(LEASE_MS, 20_000);
    let hold = gate.client.hold("shop", &asked);
    let (held, ()) = tokio::join!(hold, async {
        gate.until_state("shop", AppState::Held).await;
        upstream.let_go(1);
    });
    let held = held.unwrap();
    assert_eq!(slow.answer().await.status, 200);
    gate.release("shop", held.generation).await;
    assert!(predecessor.is_there());
}

#[tokio::test]
async fn a_lease_that_is_renewed_is_renewed_in_both_and_one_that_is_not_ends_in_both() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).start().await;
    let held = gate.client.hold("shop", &ask(1_000, 500)).await.unwrap();
    let mut before = Wire::connect(gate.address).await;
    before.get("/before").await;
    gate.until_held("shop", 1).await;
    let predecessor = gate.take_over().await;
    let renew = intermission::admin::api::RenewRequest {
        generation: held.generation,
        lease_ms: Some(2_500),
    };
    gate.client.renew("shop", &renew).await.unwrap();
    let early = tokio::time::timeout(std::time::Duration::from_millis(1_800), before.head()).await;
    assert!(early.is_err(), "released although the lease was renewed");
    assert_eq!(before.answer().await.status, 200);
    gate.until_state("shop", AppState::Open).await;
    assert!(predecessor.is_there());
}

#[tokio::test]
async fn a_call_by_a_connection_of_before_is_the_successors() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).start().await;
    let held = gate.hold("shop").await;
    let old = intermission::admin::client::Client::new(gate.socket());
    let pid = old.status().await.unwrap().pid;
    gate.take_over().await;
    let status = old.status().await.unwrap();
    assert_ne!(status.pid, pid);
    old.release("shop", &ReleaseRequest { generation: held.generation }).await.unwrap();
    gate.until_state("shop", AppState::Open).await;
}

#[tokio::test]
async fn a_successor_that_does_not_come_up_changes_nothing() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let held = gate.hold("shop").await;
    let mut waiting = Wire::connect(gate.address).await;
    waiting.get("/").await;
    gate.until_held("shop", 1).await;
    let state_dir = |line: &str| Setup::shop(&upstream).gate(line);
    for (setup, said) in [
        (Setup::shop(&upstream).gate("nonsense = 1"), "unknown field `nonsense`"),
        (state_dir("listen_tls = [\"127.0.0.1:0\"]"), "gate.certificates"),
    ] {
        setup.write(&gate.directory);
        gate.signal(Signal::USR2);
        until("it is refused", async || {
            gate.log().contains("no successor has taken over").then_some(())
        })
        .await;
        assert_contains(&gate.log(), said);
        gate.clear_log();
    }
    gate.release("shop", held.generation).await;
    assert_eq!(waiting.answer().await.status, 200);
    assert_eq!(get(gate.address, "/").await.status, 200);
}

#[tokio::test]
async fn a_successor_may_listen_elsewhere_with_other_threads() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).gate("threads = 3").start().await;
    Setup::shop(&upstream).gate("threads = 1").write(&gate.directory);
    gate.take_over().await;
    let status = gate.client.status().await.unwrap();
    assert_eq!((status.workers, status.listen[0].parse()), (1, Ok(gate.address)));
    for _ in 0..20 {
        assert_eq!(get(gate.address, "/").await.status, 200);
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Setup::shop(&upstream).listen(free).gate("threads = 2").write(&gate.directory);
    gate.take_over().await;
    assert_eq!(get(free, "/").await.status, 200);
    let refused = async || tokio::net::TcpStream::connect(gate.address).await.is_err();
    until("the former address is closed", async || refused().await.then_some(())).await;
}

#[tokio::test]
async fn sigterm_ends_both() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).gate(SOON_GONE).start().await;
    let mut slow = Wire::connect(gate.address).await;
    slow.get("/slow").await;
    upstream.until_arrived(1).await;
    let predecessor = gate.take_over().await;
    gate.terminate();
    until("the successor has ended", async || gate.client.status().await.is_err().then_some(()))
        .await;
    assert!(predecessor.is_there());
    upstream.let_go(1);
    assert_eq!(slow.answer().await.status, 200);
    predecessor.until_gone().await;
    assert!(!gate.socket().exists());
}
