//! Several gates before one database: all of them hold, or none does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use intermission::admin::api::AppState;
use intermission::admin::client::Client;
use intermission::admin::gates::AdminGate;
use intermission::swap::gates::{AllGates, Gates};
use intermission::swap::refusal::Code;

use super::gate::{Gate, Setup};
use super::harness::assert_contains;
use super::upstream::Upstream;
use super::wire::get;

const HOLDER: &str = "swap 1";
const LEASE: Duration = Duration::from_secs(20);
const DRAIN: Duration = Duration::from_millis(300);

async fn gates(count: usize) -> (Vec<Upstream>, Vec<Gate>) {
    let (mut upstreams, mut gates) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let upstream = Upstream::start().await;
        gates.push(Setup::shop(&upstream).start().await);
        upstreams.push(upstream);
    }
    (upstreams, gates)
}

fn together(gates: &[Gate]) -> AllGates {
    let each = gates.iter().map(|gate| -> Arc<dyn Gates> {
        let socket = gate.socket();
        let program = format!("intermission --gate {}", socket.display());
        Arc::new(AdminGate::new(Arc::new(Client::new(socket)), "shop".to_owned(), program))
    });
    AllGates::new(each.collect())
}

async fn are(gates: &[Gate], state: AppState) {
    for gate in gates {
        gate.until_state("shop", state).await;
    }
}

#[tokio::test]
async fn all_hold_and_all_release() {
    let (_upstreams, gates) = gates(3).await;
    let all = together(&gates);
    assert!(all.preflight().await.is_empty());
    all.hold(HOLDER, LEASE, DRAIN).await.unwrap();
    are(&gates, AppState::Held).await;
    let waiting: Vec<_> =
        gates.iter().map(|gate| tokio::spawn(get(gate.address, "/page"))).collect();
    for gate in &gates {
        gate.until_held("shop", 1).await;
    }
    all.renew(HOLDER, LEASE).await.unwrap();
    all.release(HOLDER).await.unwrap();
    for answer in waiting {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    are(&gates, AppState::Open).await;
    assert_eq!(all.users(HOLDER).await.unwrap().held, 3);
}

/// What an operator is told to type releases the gate that it names, and no other.
#[tokio::test]
async fn by_hand_each_gate_is_released_by_its_own_command() {
    let (_upstreams, gates) = gates(2).await;
    let all = together(&gates);
    all.hold(HOLDER, LEASE, DRAIN).await.unwrap();
    for (gate, command) in gates.iter().zip(all.commands_to_release()) {
        are(std::slice::from_ref(gate), AppState::Held).await;
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        // Any configuration will do: the command names the gate.
        assert_eq!(gates[0].cli(&words).await.code, Some(0), "{command}");
        are(std::slice::from_ref(gate), AppState::Open).await;
    }
}

/// A request that does not end keeps one gate from acknowledging.
#[tokio::test]
async fn one_missing_acknowledgement_opens_every_gate() {
    let (upstreams, gates) = gates(2).await;
    let all = together(&gates);
    let slow = tokio::spawn(get(gates[1].address, "/slow/report"));
    upstreams[1].until_arrived(1).await;
    let error = all.hold(HOLDER, LEASE, DRAIN).await.unwrap_err();
    assert_contains(&error.to_string(), "/slow/report");
    are(&gates, AppState::Open).await;
    upstreams[1].let_go(1);
    assert_eq!(slow.await.unwrap().status, 200);
    for gate in &gates {
        assert_eq!(get(gate.address, "/page").await.status, 200);
    }
}

/// One of two apps of the same gate is somebody else's, the other one waits for a request in flight: its users do not wait
/// out the drain.
#[tokio::test]
async fn an_app_that_cannot_be_held_opens_the_other_apps_of_its_gate_at_once() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).app("blog", "blog.example.com", &upstream, "").start().await;
    let client = Arc::new(Client::new(gate.socket()));
    let each = ["shop", "blog"].map(|app| -> Arc<dyn Gates> {
        let (client, program) = (Arc::clone(&client), "intermission".to_owned());
        Arc::new(AdminGate::new(client, app.to_owned(), program))
    });
    let all = AllGates::new(each.into());
    let theirs = gate.hold("blog").await;
    let slow = tokio::spawn(get(gate.address, "/slow/report"));
    upstream.until_arrived(1).await;

    let drain = Duration::from_secs(15);
    let began = Instant::now();
    let error = all.hold(HOLDER, LEASE, drain).await.unwrap_err();
    assert_contains(&error.to_string(), "cannot hold blog");
    assert!(gate.shop().await.hold.is_none(), "the other app is open");
    assert_eq!(get(gate.address, "/page").await.status, 200);
    assert!(began.elapsed() < drain / 3, "{:?}", began.elapsed());
    let blog = gate.app("blog").await;
    assert_eq!((blog.state, blog.generation), (AppState::Held, theirs.generation), "is theirs");
    upstream.let_go(1);
    assert_eq!(slow.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_gate_that_is_gone_opens_every_gate_and_is_named() {
    let (_upstreams, mut gates) = gates(2).await;
    let all = together(&gates);
    gates[1].crash();
    let refusals = all.preflight().await;
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(refusals[0].code, Code::GateUnreachable);
    let error = all.hold(HOLDER, LEASE, DRAIN).await.unwrap_err();
    assert_contains(&error.to_string(), gates[1].socket().display().to_string());
    are(&gates[..1], AppState::Open).await;
}

/// Nobody renews and nobody releases any more: each gate ends its hold by itself.
#[tokio::test]
async fn f16_h42_each_gate_obeys_its_lease_when_the_coordinator_is_gone() {
    let (_upstreams, gates) = gates(2).await;
    let all = together(&gates);
    all.hold(HOLDER, Duration::from_secs(1), DRAIN).await.unwrap();
    drop(all);
    are(&gates, AppState::Open).await;
}
