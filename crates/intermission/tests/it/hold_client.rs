//! Clients that leave while their request is held.

use std::net::SocketAddr;
use std::time::Duration;

use intermission::admin::api::AppState;
use socket2::SockRef;

use super::gate::{Gate, Setup};
use super::harness::soon;
use super::upstream::Upstream;
use super::wire::Wire;

const ENDING_BODY: &str = "POST /gone HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody";
const PART_OF_A_BODY: &str = "POST /gone HTTP/1.1\r\nhost: a\r\ncontent-length: 400\r\n\r\nbody";

async fn held_shop(upstream: &Upstream) -> (Gate, u64) {
    let gate = Setup::shop(upstream).start().await;
    let generation = gate.hold("shop").await.generation;
    (gate, generation)
}

/// It has left, the next one has not, and it is the app's first request.
async fn assert_never_executed(gate: &Gate, generation: u64, upstream: &Upstream) {
    let mut next = Wire::connect(gate.address).await;
    next.get("/next").await;
    gate.until_held("shop", 1).await;
    gate.release("shop", generation).await;
    assert_eq!(next.answer().await.status, 200);
    let app = gate.until_state("shop", AppState::Open).await;
    assert_eq!(upstream.paths(), ["/next"]);
    assert_eq!((app.summary.left, app.summary.released, app.in_flight), (1, 1, 0));
}

#[tokio::test]
async fn h12_a_client_that_leaves_frees_its_place_and_the_others_go_on() {
    let upstream = Upstream::start().await;
    let (gate, generation) = held_shop(&upstream).await;
    let mut wire = Wire::connect(gate.address).await;
    wire.get("/gone").await;
    gate.until_held("shop", 1).await;
    drop(wire);
    gate.until_held("shop", 0).await;
    assert_never_executed(&gate, generation, &upstream).await;
}

#[tokio::test]
async fn h12_a_client_that_leaves_with_a_second_request_behind_the_held_one_frees_its_place() {
    let get = "GET /gone HTTP/1.1\r\nhost: a\r\n\r\n";
    for behind in [get, "GET /half HTTP"] {
        for at_once in [true, false] {
            let upstream = Upstream::start().await;
            let (gate, generation) = held_shop(&upstream).await;
            let mut wire = Wire::connect(gate.address).await;
            if at_once {
                wire.send(&[get, behind].concat()).await;
                gate.until_held("shop", 1).await;
            } else {
                wire.send(get).await;
                gate.until_held("shop", 1).await;
                wire.send(behind).await;
            }
            drop(wire);
            gate.until_held("shop", 0).await;
            assert_never_executed(&gate, generation, &upstream).await;
        }
    }
}

#[tokio::test]
async fn h39_a_post_whose_client_left_is_never_executed_its_body_unread() {
    for request in [ENDING_BODY, PART_OF_A_BODY] {
        let upstream = Upstream::start().await;
        let (gate, generation) = held_shop(&upstream).await;
        let mut wire = Wire::connect(gate.address).await;
        wire.send(request).await;
        gate.until_held("shop", 1).await;
        drop(wire);
        gate.until_held("shop", 0).await;
        assert_never_executed(&gate, generation, &upstream).await;
    }
}

#[tokio::test]
async fn h39_a_post_whose_client_reset_the_connection_is_never_executed() {
    let upstream = Upstream::start().await;
    let (gate, generation) = held_shop(&upstream).await;
    let mut wire = Wire::connect(gate.address).await;
    wire.send(ENDING_BODY).await;
    gate.until_held("shop", 1).await;
    SockRef::from(&wire.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(wire);
    gate.until_held("shop", 0).await;
    assert_never_executed(&gate, generation, &upstream).await;
}

#[tokio::test]
async fn h39_a_client_that_left_right_before_the_release_is_not_executed() {
    for _ in 0..20 {
        let upstream = Upstream::start().await;
        let (gate, generation) = held_shop(&upstream).await;
        let mut wire = Wire::connect(gate.address).await;
        wire.send(ENDING_BODY).await;
        gate.until_held("shop", 1).await;
        let client = wire.stream.local_addr().unwrap();
        // The gate has not been told yet: only the look before forwarding can see it.
        drop(wire);
        soon("the end of the connection", async {
            while is_established(gate.address, client) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        gate.release("shop", generation).await;
        let app = gate.until_state("shop", AppState::Open).await;
        assert_eq!((app.summary.held, app.in_flight), (1, 0));
        assert_eq!(upstream.arrived(), 0);
    }
}

/// Whether the system still takes a connection for one: where the machine is busy, what goes over loopback arrives a little later.
fn is_established(gate: SocketAddr, client: SocketAddr) -> bool {
    const ESTABLISHED: &str = "01";
    let [gate, client] = [gate, client].map(|address| format!(":{:04X}", address.port()));
    std::fs::read_to_string("/proc/net/tcp").unwrap().lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let mut is_at = |port: &str| fields.next().is_some_and(|at| at.ends_with(port));
        is_at(&gate) && is_at(&client) && fields.next() == Some(ESTABLISHED)
    })
}
