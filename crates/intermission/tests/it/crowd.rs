//! Many who are held, and others under load, while the gate changes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use intermission::admin::api::AppState;
use tokio::task::JoinSet;

use super::gate::{Gate, Setup};
use super::harness::{soon, until};
use super::reload::{READ, reload};
use super::upstream::Upstream;
use super::wire::Wire;

const HELD: usize = 2000;
/// They come when those before them are in line: among themselves the order is that of the sockets.
const AT_ONCE: usize = 100;
const LATER: usize = 300;

/// Clients that ask again and again by connections that they keep, as nginx keeps them: one that is told to end is not used
/// again. Every answer has to be 200.
pub(crate) struct Load {
    clients: JoinSet<()>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    answers: AtomicUsize,
}

impl Load {
    pub(crate) fn start(address: SocketAddr, host: &'static str, clients: usize) -> Self {
        let shared = Arc::<Shared>::default();
        let client = |_| ask_again(address, host, Arc::clone(&shared));
        let clients = (0..clients).map(client).collect();
        Self { clients, shared }
    }

    pub(crate) fn answers(&self) -> usize {
        self.shared.answers.load(Ordering::SeqCst)
    }

    pub(crate) async fn until_answers(&self, count: usize) {
        until("more answers", async || (self.answers() >= count).then_some(())).await;
    }

    /// How many answers there were; none was missing.
    pub(crate) async fn end(mut self) -> usize {
        self.shared.over.store(true, Ordering::SeqCst);
        while let Some(ended) = soon("a client", self.clients.join_next()).await {
            ended.unwrap();
        }
        self.answers()
    }
}

async fn ask_again(address: SocketAddr, host: &str, shared: Arc<Shared>) {
    let mut wire = None;
    while !shared.over.load(Ordering::SeqCst) {
        let mut kept = match wire.take() {
            Some(kept) => kept,
            None => Wire::connect(address).await,
        };
        kept.send(&format!("GET /load HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        let answer = kept.answer().await;
        assert_eq!(answer.status, 200);
        shared.answers.fetch_add(1, Ordering::SeqCst);
        if answer.headers.get("connection").is_none_or(|value| value != "close") {
            wire = Some(kept);
        }
    }
}

async fn come(gate: &Gate, numbers: std::ops::Range<usize>, waiting: &mut Vec<Wire>) {
    for number in numbers {
        let mut wire = Wire::connect(gate.address).await;
        wire.get(&format!("/{number}")).await;
        waiting.push(wire);
        if waiting.len() % AT_ONCE == 0 {
            gate.until_held("shop", waiting.len()).await;
        }
    }
}

/// The app `shop` for everybody, and `blog`, which is not held.
fn setup(shop: &Upstream, blog: &Upstream) -> Setup {
    let serial = "release = { concurrency = 1, concurrency_max = 1 }";
    let setup = Setup::default().app("shop", "*", shop, serial);
    setup.app("blog", "blog.example", blog, "").gate("shutdown_grace = \"3s\"")
}

async fn nobody_notices(change: impl AsyncFnOnce(&mut Gate, &Upstream, &Upstream)) {
    let (shop, blog) = (Upstream::start().await, Upstream::start().await);
    let mut gate = setup(&shop, &blog).start().await;
    let load = Load::start(gate.address, "blog.example", 8);
    let held = gate.hold("shop").await;
    let mut waiting = Vec::new();
    come(&gate, 0..HELD, &mut waiting).await;
    let before = load.answers();
    change(&mut gate, &shop, &blog).await;
    load.until_answers(before + 200).await;
    let status = gate.shop().await;
    assert_eq!((status.state, status.held), (AppState::Held, HELD));
    assert_eq!(status.hold.unwrap().generation, held.generation);
    come(&gate, HELD..HELD + LATER, &mut waiting).await;
    assert_eq!(shop.arrived(), 0);
    gate.release("shop", held.generation).await;
    for wire in &mut waiting {
        assert_eq!(wire.answer().await.status, 200);
    }
    let order: Vec<usize> = shop.paths().iter().map(|path| path[1..].parse().unwrap()).collect();
    assert_eq!(order.len(), HELD + LATER);
    for (index, crowd) in order.chunks(AT_ONCE).enumerate() {
        assert!(crowd.iter().all(|number| number / AT_ONCE == index), "{index}: {crowd:?}");
    }
    gate.until_state("shop", AppState::Open).await;
    assert_eq!(load.end().await, blog.arrived());
}

#[tokio::test]
async fn two_thousand_held_outlast_a_take_over_and_go_on_in_order() {
    nobody_notices(async |gate, _, _| {
        let predecessor = gate.take_over().await;
        let status = gate.client.status().await.unwrap();
        assert!(predecessor.is_there() && status.predecessor_pid.is_some(), "{status:?}");
    })
    .await;
}

#[tokio::test]
async fn two_thousand_held_outlast_two_take_overs() {
    nobody_notices(async |gate, _, _| {
        gate.take_over().await;
        gate.take_over().await;
    })
    .await;
}

#[tokio::test]
async fn two_thousand_held_outlast_a_reload_and_go_on_in_order() {
    nobody_notices(async |gate, shop, blog| reload(gate, &setup(shop, blog), READ).await).await;
}
