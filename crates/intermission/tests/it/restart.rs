//! A gate that crashed comes up as it was.

use intermission::admin::api::AppState;
use intermission::admin::client::{Client, ClientError};

use super::gate::{LEASE_MS, Setup, ask};
use super::harness::{assert_contains, until};
use super::upstream::Upstream;
use super::wire::{Wire, get};

#[tokio::test]
async fn h1_restarted_while_held_it_holds_then_releases() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).start().await;
    let generation = gate.hold("shop").await.generation;
    gate.crash_and_restart().await;
    let app = gate.shop().await;
    assert_eq!((app.state, app.generation), (AppState::Held, generation));
    let hold = app.hold.unwrap();
    assert_eq!((hold.holder.as_str(), hold.reason.as_str()), ("test", "because"));
    assert!(hold.lease_left_ms <= LEASE_MS && hold.lease_left_ms > LEASE_MS / 2);
    let mut wire = Wire::connect(gate.address).await;
    wire.get("/").await;
    gate.until_held("shop", 1).await;
    assert_eq!(upstream.arrived(), 0);
    gate.release("shop", generation).await;
    assert_eq!(wire.answer().await.status, 200);
    gate.crash_and_restart().await;
    assert_eq!(gate.shop().await.state, AppState::Open);
    assert!(gate.hold("shop").await.generation > generation, "generations go on counting");
}

#[tokio::test]
async fn h4_killed_during_the_drain_it_comes_up_held() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).start().await;
    let mut slow = Wire::connect(gate.address).await;
    slow.get("/slow").await;
    upstream.until_arrived(1).await;
    let holder = Client::new(gate.socket());
    let hold = tokio::spawn(async move { holder.hold("shop", &ask(LEASE_MS, 20_000)).await });
    gate.until_state("shop", AppState::Draining).await;
    gate.crash();
    assert!(matches!(hold.await.unwrap(), Err(ClientError::Broke { .. })));
    gate.crash_and_restart().await;
    let app = gate.shop().await;
    assert_eq!((app.state, app.generation), (AppState::Held, 1));
    gate.release("shop", 1).await;
    assert_eq!(get(gate.address, "/").await.status, 200);
}

#[tokio::test]
async fn the_lease_goes_on_while_no_gate_runs() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).start().await;
    let held = gate.client.hold("shop", &ask(1, 1)).await;
    drop(held);
    until("the lease has ended", async || gate.shop().await.hold.is_none().then_some(())).await;
    gate.client.hold("shop", &ask(200, 200)).await.unwrap();
    gate.crash();
    let file = gate.state_file("shop");
    let text = std::fs::read_to_string(&file).unwrap();
    let end = text.split("\"lease_end_unix_ms\":").nth(1).unwrap().trim_end_matches('}');
    let end_ms: u128 = end.parse().unwrap();
    let now_ms = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    until("the lease has ended", async || (now_ms() > end_ms).then_some(())).await;
    gate.crash_and_restart().await;
    assert_eq!(get(gate.address, "/").await.status, 200);
    until("its end is written", async || {
        std::fs::read_to_string(&file).unwrap().contains("\"hold\":null").then_some(())
    })
    .await;
}

#[tokio::test]
async fn h5_a_torn_state_file_is_refused_with_what_to_do() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).start().await;
    gate.hold("shop").await;
    gate.crash();
    let file = gate.state_file("shop");
    let length = std::fs::metadata(&file).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(length / 2).unwrap();
    let refused = gate.refusal_to_start().await;
    assert_eq!(refused.code, Some(2));
    assert_contains(&refused.stderr, "hold-shop.json");
    assert_contains(&refused.stderr, "remove the file and start again");
    std::fs::remove_file(&file).unwrap();
    gate.crash_and_restart().await;
    assert_eq!(gate.shop().await.state, AppState::Open);
}

#[tokio::test]
async fn what_a_crash_left_of_a_write_is_not_read() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).start().await;
    gate.crash();
    std::fs::File::create(gate.directory.path().join("state/hold-shop.json.new")).unwrap();
    gate.crash_and_restart().await;
    assert_eq!(gate.shop().await.state, AppState::Open);
    gate.hold("shop").await;
}
