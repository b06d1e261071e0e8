//! Gates on other machines: over TCP, with TLS and a token, and together with one by its socket.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use intermission::admin::api::{AppState, ReleaseRequest};
use intermission::admin::client::Client;
use intermission::admin::gates::AdminGate;
use intermission::swap::gates::{AllGates, Gates};
use intermission::swap::refusal::Code;
use rustix::process::Signal;

use super::certificate::{Authority, write};
use super::cut::Cut;
use super::gate::{Gate, LEASE_MS, Setup, ask};
use super::harness::{assert_contains, command, run};
use super::remote_caller::{client as of, settings};
use super::upstream::Upstream;
use super::wire::get;

const HOLDER: &str = "swap 1";
const LEASE: Duration = Duration::from_secs(20);
const SHORT_LEASE: Duration = Duration::from_secs(6);
const DRAIN: Duration = Duration::from_millis(300);
/// What a hold may take that fails: the drain, the acknowledgement, and telling the gate that did not give it.
const FAILS_WITHIN: Duration = Duration::from_millis(300 + 1_000 + 1_000 + 1_500);

/// Three gates, the last one reached by its socket.
struct Three {
    authority: Authority,
    upstreams: Vec<Upstream>,
    gates: Vec<Gate>,
}

impl Three {
    async fn start() -> Self {
        let authority = Authority::new();
        authority.issue("gate", "127.0.0.1", false);
        let (mut upstreams, mut gates) = (Vec::new(), Vec::new());
        for remote in [true, true, false] {
            let upstream = Upstream::start().await;
            let setup = Setup::shop(&upstream);
            let setup =
                if remote { setup.gate(&authority.serving("127.0.0.1:0", "gate")) } else { setup };
            gates.push(setup.start().await);
            upstreams.push(upstream);
        }
        Self { authority, upstreams, gates }
    }

    async fn together(&self) -> AllGates {
        let ports = [self.gates[0].admin_address().await, self.gates[1].admin_address().await];
        self.by_way_of(ports)
    }

    fn by_way_of(&self, remotes: [SocketAddr; 2]) -> AllGates {
        let remotes = remotes.map(|address| of(&settings(&self.authority, address)));
        let socket = Client::new(self.gates[2].socket());
        let each = remotes.into_iter().chain([socket]).map(gates);
        AllGates::new(each.collect())
    }

    async fn are(&self, which: &[usize], state: AppState) {
        for index in which {
            self.gates[*index].until_state("shop", state).await;
        }
    }
}

fn gates(client: Client) -> Arc<dyn Gates> {
    Arc::new(AdminGate::new(Arc::new(client), "shop".to_owned(), "intermission".to_owned()))
}

#[tokio::test]
async fn two_over_tcp_and_one_by_its_socket_hold_and_release_together() {
    let three = Three::start().await;
    let all = three.together().await;
    assert!(all.preflight().await.is_empty());
    all.prepare().await.unwrap();
    let began = Instant::now();
    all.hold(HOLDER, LEASE, DRAIN).await.unwrap();
    println!("held after {:?}", began.elapsed());
    three.are(&[0, 1, 2], AppState::Held).await;
    let waiting: Vec<_> =
        three.gates.iter().map(|gate| tokio::spawn(get(gate.address, "/page"))).collect();
    for gate in &three.gates {
        gate.until_held("shop", 1).await;
    }
    all.renew(HOLDER, LEASE).await.unwrap();
    all.release(HOLDER).await.unwrap();
    for answer in waiting {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    three.are(&[0, 1, 2], AppState::Open).await;
    assert_eq!(all.users(HOLDER).await.unwrap().held, 3);
    assert!(all.answered(HOLDER).await.unwrap());
}

/// Nobody who holds is left held for want of the one that does not, and the swap knows it soon.
async fn fails_and_opens(three: &Three, all: &AllGates, others: &[usize], why: &str) {
    let began = Instant::now();
    let error = all.hold(HOLDER, SHORT_LEASE, DRAIN).await.unwrap_err();
    let took = began.elapsed();
    assert_contains(&error.to_string(), why);
    assert!(took < FAILS_WITHIN, "{took:?}: {error}");
    for index in others {
        // Not a moment later.
        let app = three.gates[*index].shop().await;
        assert!(app.hold.is_none(), "{app:?}");
        assert_eq!(get(three.gates[*index].address, "/page").await.status, 200);
    }
}

#[tokio::test]
async fn a_stopped_gate_over_tcp_opens_every_gate() {
    let three = Three::start().await;
    let all = three.together().await;
    all.prepare().await.unwrap();
    three.gates[1].signal(Signal::STOP);
    fails_and_opens(&three, &all, &[0, 2], "no acknowledgement within 1.3s").await;
    // It gets the call when it runs again, and nobody has a use for it any more: that ends with the lease.
    three.gates[1].signal(Signal::CONT);
    three.are(&[1], AppState::Open).await;
}

#[tokio::test]
async fn a_gate_over_tcp_that_was_killed_opens_every_gate() {
    let mut three = Three::start().await;
    let all = three.together().await;
    all.prepare().await.unwrap();
    three.gates[0].crash();
    fails_and_opens(&three, &all, &[1, 2], "cannot hold shop").await;
    let error = all.prepare().await.unwrap_err().to_string();
    assert_contains(&error, "cannot reach the gate at 127.0.0.1:");
    let refusals = all.preflight().await;
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(refusals[0].code, Code::GateUnreachable);
    assert_contains(&refusals[0].mend, "gate.admin_listen");
}

#[tokio::test]
async fn a_gate_that_is_cut_off_opens_every_gate_and_itself_by_its_lease() {
    let three = Three::start().await;
    let cut = Cut::before(three.gates[1].admin_address().await).await;
    let all = three.by_way_of([three.gates[0].admin_address().await, cut.address]);
    all.prepare().await.unwrap();
    cut.cut_answers();
    fails_and_opens(&three, &all, &[0, 2], "no acknowledgement within 1.3s").await;
    assert_eq!(three.gates[1].shop().await.state, AppState::Held, "it was told to, and did");
    three.are(&[1], AppState::Open).await;
}

/// A request that does not end keeps one gate from acknowledging.
#[tokio::test]
async fn a_drain_that_does_not_end_opens_every_gate() {
    let three = Three::start().await;
    let all = three.together().await;
    let slow = tokio::spawn(get(three.gates[1].address, "/slow/report"));
    three.upstreams[1].until_arrived(1).await;
    fails_and_opens(&three, &all, &[0, 2], "/slow/report").await;
    three.are(&[1], AppState::Open).await;
    three.upstreams[1].let_go(1);
    assert_eq!(slow.await.unwrap().status, 200);
}

/// The slow one does not keep the others waiting, and is not waited for itself.
#[tokio::test]
async fn the_first_that_says_no_ends_the_drain_of_the_others() {
    let three = Three::start().await;
    let all = three.together().await;
    all.prepare().await.unwrap();
    let slow = tokio::spawn(get(three.gates[0].address, "/slow/report"));
    three.upstreams[0].until_arrived(1).await;
    let held = three.gates[1].hold("shop").await;
    let began = Instant::now();
    let error = all.hold(HOLDER, LEASE, Duration::from_secs(15)).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_contains(&error.to_string(), "because");
    three.are(&[0, 2], AppState::Open).await;
    assert_eq!(three.gates[1].shop().await.state, AppState::Held, "somebody else's hold");
    three.gates[1].release("shop", held.generation).await;
    three.upstreams[0].let_go(1);
    assert_eq!(slow.await.unwrap().status, 200);
}

#[tokio::test]
async fn f16_each_gate_obeys_its_lease_when_the_coordinator_is_cut_off() {
    let three = Three::start().await;
    let cuts = [
        Cut::before(three.gates[0].admin_address().await).await,
        Cut::before(three.gates[1].admin_address().await).await,
    ];
    let all = three.by_way_of([cuts[0].address, cuts[1].address]);
    let lease = Duration::from_secs(2);
    let began = Instant::now();
    all.hold(HOLDER, lease, DRAIN).await.unwrap();
    three.are(&[0, 1, 2], AppState::Held).await;
    cuts.iter().for_each(Cut::cut);
    let waiting: Vec<_> =
        three.gates.iter().map(|gate| tokio::spawn(get(gate.address, "/page"))).collect();
    for answer in waiting {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    assert!(began.elapsed() >= lease, "{:?}", began.elapsed());
    three.are(&[0, 1, 2], AppState::Open).await;
}

/// What the swap's machine says of its gates.
fn write_swap(three: &Three, ports: [SocketAddr; 2]) -> PathBuf {
    let path = three.authority.path("swap.toml");
    let [first, second] = ports.map(|port| three.authority.swap_gate(&port.to_string()));
    let text = format!(
        "[swap]\napps = [\"shop\"]\nendpoint = {{ command = [\"true\"] }}\ngates = [{first}, {second}, {:?}]\n",
        three.gates[2].socket()
    );
    write(&path, &text);
    path
}

#[tokio::test]
async fn the_commands_reach_a_gate_of_swap_gates_by_its_address() {
    let three = Three::start().await;
    let ports = [three.gates[0].admin_address().await, three.gates[1].admin_address().await];
    let config = write_swap(&three, ports);
    let gate = ports[1].to_string();
    let status = run(&config, &["--gate", &gate, "status", "--json"]).await;
    assert_eq!(status.code, Some(0), "{}", status.stderr);
    assert_contains(&status.stdout, three.gates[1].address.to_string());
    let held = run(&config, &["--gate", &gate, "hold", "shop", "--", "sh", "-c", "exit 7"]).await;
    assert_eq!(held.code, Some(7), "{}", held.stderr);
    assert_contains(&held.stderr, "`shop` is released");
    three.gates[1].hold("shop").await;
    assert_eq!(run(&config, &["release", "shop", "--gate", &gate]).await.code, Some(0));
    assert!(three.gates[1].shop().await.hold.is_none());

    let unknown = run(&config, &["--gate", "10.0.0.5:7443", "status"]).await;
    assert_eq!(unknown.code, Some(2));
    assert_contains(&unknown.stderr, "no gate at 10.0.0.5:7443 in swap.gates");
    assert_contains(&unknown.stderr, &gate);
    let elsewhere = run(&config, &["--gate", &gate, "check"]).await;
    assert_eq!(elsewhere.code, Some(2));
    assert_contains(&elsewhere.stderr, "--gate is for status, hold, release and warm-up");
    // What `config check` prints has neither the token nor what is in the key.
    let printed = run(&config, &["config", "check"]).await;
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    assert_contains(&printed.stdout, &gate);
    assert!(!printed.stdout.contains(super::certificate::TOKEN), "{}", printed.stdout);
}

#[tokio::test]
async fn h42_a_hold_over_tcp_ends_by_its_lease_when_its_holder_is_killed() {
    let three = Three::start().await;
    let ports = [three.gates[0].admin_address().await, three.gates[1].admin_address().await];
    let config = write_swap(&three, ports);
    let gate = ports[0].to_string();
    let words = ["--gate", &gate, "hold", "shop", "--lease", "1s"];
    let mut holder = command(&config, &words).spawn().unwrap();
    three.are(&[0], AppState::Held).await;
    holder.kill().await.unwrap();
    three.are(&[0], AppState::Open).await;
}

#[tokio::test]
async fn a_kept_connection_that_died_is_made_anew() {
    let three = Three::start().await;
    let address = three.gates[0].admin_address().await;
    let cut = Cut::before(address).await;
    let client = of(&settings(&three.authority, cut.address));
    client.status().await.unwrap();
    let calls = 200;
    let began = Instant::now();
    for _ in 0..calls {
        client.status().await.unwrap();
    }
    let per_call = began.elapsed() / calls;
    println!("a call over TCP takes {per_call:?}");
    assert!(per_call < Duration::from_millis(5), "{per_call:?}");
    // As by a firewall that forgot it.
    cut.sever();
    client.status().await.unwrap();
    let held = client.hold("shop", &ask(LEASE_MS, 1_000)).await.unwrap();
    cut.sever();
    client.release("shop", &ReleaseRequest { generation: held.generation }).await.unwrap();
    assert!(three.gates[0].shop().await.hold.is_none());
}
