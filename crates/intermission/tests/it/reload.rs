//! SIGHUP: the configuration is read again.

use intermission::admin::api::AppState;
use rustix::process::Signal;

use super::gate::{Gate, Setup};
use super::harness::{assert_contains, soon, until};
use super::upstream::Upstream;
use super::wire::{Wire, get};

pub(crate) const READ: &str = "the configuration was read again";
pub(crate) const REFUSED: &str = "going on with the former configuration";

/// Until the log has one more of `said`.
pub(crate) async fn reload(gate: &Gate, setup: &Setup, said: &str) {
    setup.write(&gate.directory);
    let before = gate.log().matches(said).count();
    gate.signal(Signal::HUP);
    until(said, async || (gate.log().matches(said).count() > before).then_some(())).await;
}

#[tokio::test]
async fn h30_a_held_request_is_released_to_the_new_upstreams() {
    let (old, new) = (Upstream::start().await, Upstream::start().await);
    let gate = Setup::shop(&old).start().await;
    assert_eq!(get(gate.address, "/before").await.status, 200);
    let held = gate.hold("shop").await;
    let mut waiting = Vec::new();
    for number in 0..20 {
        let mut wire = Wire::connect(gate.address).await;
        wire.get(&format!("/{number}")).await;
        waiting.push(wire);
        gate.until_held("shop", number + 1).await;
    }
    reload(&gate, &Setup::shop(&new), READ).await;
    assert_eq!(gate.shop().await.held, 20);
    gate.release("shop", held.generation).await;
    for wire in &mut waiting {
        assert_eq!(wire.answer().await.status, 200);
    }
    assert_eq!((old.paths(), new.arrived()), (vec!["/before".to_owned()], 20));
    assert_eq!(get(gate.address, "/after").await.status, 200);
    assert_eq!(new.arrived(), 21);
}

#[tokio::test]
async fn a_connection_and_a_request_in_flight_go_on() {
    let (old, new) = (Upstream::start().await, Upstream::start().await);
    let gate = Setup::shop(&old).start().await;
    let mut wire = Wire::connect(gate.address).await;
    wire.get("/slow").await;
    old.until_arrived(1).await;
    reload(&gate, &Setup::shop(&new), READ).await;
    old.let_go(1);
    assert_eq!(wire.answer().await.status, 200);
    wire.get("/next").await;
    assert_eq!(wire.answer().await.status, 200);
    assert_eq!(new.paths(), ["/next"]);
}

#[tokio::test]
async fn a_broken_configuration_is_refused_whole() {
    let (old, new) = (Upstream::start().await, Upstream::start().await);
    let gate = Setup::shop(&old).start().await;
    for (setup, said) in [
        (Setup::shop(&new).gate("nonsense = 1"), "unknown field `nonsense`"),
        (
            Setup::shop(&new).gate("threads = 7"),
            "gate.threads cannot be changed by SIGHUP: let a new gate take over with SIGUSR2",
        ),
        (
            Setup::shop(&new).gate("audit_log = \"/dev/null\""),
            "gate.audit_log cannot be changed by SIGHUP",
        ),
        (Setup::default(), "has no [[app]]"),
        (
            Setup::default().app(
                "shop",
                "*",
                &new,
                "bypass = { header = { name = \"x\", token_file = \"/none\" } }",
            ),
            "app.shop.bypass.header.token_file: cannot read /none",
        ),
        (Setup::shop(&new).app("two", "*", &new, ""), "`*` is already served by the app `shop`"),
    ] {
        reload(&gate, &setup, REFUSED).await;
        assert_contains(&gate.log(), said);
        gate.clear_log();
        assert_eq!(get(gate.address, "/").await.status, 200);
    }
    assert_eq!((old.arrived(), new.arrived()), (6, 0));
}

#[tokio::test]
async fn apps_come_and_go_but_not_one_that_is_held() {
    let (shop, blog) = (Upstream::start().await, Upstream::start().await);
    let both = |blog_waits: &str| {
        let setup = Setup::default().app("shop", "shop.example", &shop, "");
        setup.app("blog", "blog.example", &blog, blog_waits)
    };
    let only_shop = || Setup::default().app("shop", "shop.example", &shop, "");
    let gate = only_shop().start().await;
    let blog_status = async || {
        let mut wire = Wire::connect(gate.address).await;
        wire.send("GET / HTTP/1.1\r\nhost: blog.example\r\n\r\n").await;
        wire.answer().await.status
    };
    assert_eq!(blog_status().await, 421);
    reload(&gate, &both(""), READ).await;
    assert_eq!(blog_status().await, 200);

    let held = gate.hold("blog").await;
    assert!(gate.state_file("blog").exists());
    reload(&gate, &only_shop(), REFUSED).await;
    assert_contains(&gate.log(), "the app `blog` is missing, and it is held: release it first");
    gate.clear_log();
    let mut waiting = Wire::connect(gate.address).await;
    waiting.send("GET / HTTP/1.1\r\nhost: blog.example\r\n\r\n").await;
    gate.until_held("blog", 1).await;
    // A bound that is smaller than the line refuses only who comes later.
    reload(&gate, &both("held_max = 1"), READ).await;
    assert_eq!(blog_status().await, 503);
    gate.release("blog", held.generation).await;
    assert_eq!(waiting.answer().await.status, 200);
    gate.until_state("blog", AppState::Open).await;

    reload(&gate, &only_shop(), READ).await;
    assert_eq!(blog_status().await, 421);
    assert_eq!(gate.client.apps().await.unwrap().apps.len(), 1);
    // Its generations go on counting when it comes back.
    reload(&gate, &both(""), READ).await;
    assert!(gate.hold("blog").await.generation > held.generation);
}

#[tokio::test]
async fn another_hold_file_is_looked_for_and_the_former_forgotten() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let file = |name: &str| gate.directory.path().join(name);
    let setup = |name: &str| {
        Setup::default().app("shop", "*", &upstream, &format!("hold_file = {:?}", file(name)))
    };
    for name in ["one", "two"] {
        drop(std::fs::File::create(file(name)).unwrap());
    }
    reload(&gate, &setup("one"), READ).await;
    let one = gate.until_state("shop", AppState::Held).await.hold.unwrap();
    assert_contains(&one.holder, "/one");
    reload(&gate, &setup("two"), READ).await;
    until("held for the other file", async || {
        gate.shop().await.hold.filter(|hold| hold.holder.ends_with("/two"))
    })
    .await;
    reload(&gate, &Setup::shop(&upstream), READ).await;
    gate.until_state("shop", AppState::Open).await;
    assert_eq!(soon("an answer", get(gate.address, "/")).await.status, 200);
}
