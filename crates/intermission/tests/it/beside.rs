//! What a web server that asks is answered, and holding by a file.

use std::path::Path;
use std::time::Duration;

use intermission::admin::api::AppState;

use super::gate::{Setup, directory};
use super::harness::{assert_contains, soon};
use super::upstream::Upstream;
use super::wire::{Wire, get};

const ASK: &str = "ask_path = \"/_intermission/ask\"";

fn touch(file: &Path) {
    drop(std::fs::File::create(file).unwrap());
}

#[tokio::test]
async fn one_who_asks_is_answered_by_the_gate_and_nothing_else_is_served() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).asked("only", "only", ASK).start().await;
    let answer = get(gate.address, "/_intermission/ask").await;
    assert_eq!((answer.status, upstream.arrived()), (200, 1), "an app that is not asked serves it");
    let mut wire = Wire::connect(gate.address).await;
    for (target, status) in [
        ("/_intermission/ask", 204),
        ("/_intermission/ask?x=1", 204),
        ("/", 404),
        ("/_intermission/asked", 404),
    ] {
        wire.send(&format!("GET {target} HTTP/1.1\r\nhost: only\r\n\r\n")).await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, status, "{target}");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    assert_eq!(gate.app("only").await.in_flight, 0);
    assert_eq!(upstream.arrived(), 1);
}

#[tokio::test]
async fn while_the_file_exists_the_app_is_held() {
    let upstream = Upstream::start().await;
    let folder = directory();
    let file = folder.path().join("hold");
    let further = format!("hold_file = {file:?}\nlease = \"1s\"");
    let mut gate = Setup::default().app("shop", "*", &upstream, &further).start().await;
    assert_eq!(get(gate.address, "/").await.status, 200);
    touch(&file);
    let status = gate.until_state("shop", AppState::Held).await;
    assert_contains(&status.hold.unwrap().holder, "file ");
    let address = gate.address;
    let waiting = tokio::spawn(async move { get(address, "/").await });
    gate.until_held("shop", 1).await;
    // For longer than the lease, which is renewed.
    let generation = gate.shop().await.generation;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let status = gate.shop().await;
    assert_eq!(
        (status.state, status.generation, upstream.arrived()),
        (AppState::Held, generation, 1)
    );
    std::fs::remove_file(&file).unwrap();
    assert_eq!(soon("an answer", waiting).await.unwrap().status, 200);
    gate.until_state("shop", AppState::Open).await;

    // Somebody else's hold is left alone, and followed by the file's.
    let held = gate.hold("shop").await;
    touch(&file);
    gate.release("shop", held.generation).await;
    let status = gate.until_state("shop", AppState::Held).await;
    assert_contains(&status.hold.unwrap().holder, "file ");
    // A gate that comes back takes it up again, and the end of the file ends it.
    gate.crash_and_restart().await;
    assert_eq!(gate.shop().await.state, AppState::Held);
    std::fs::remove_file(&file).unwrap();
    gate.until_state("shop", AppState::Open).await;
    assert_eq!(get(gate.address, "/").await.status, 200);

    // Given up while it drains, for nobody waits for it any more.
    let address = gate.address;
    let slow = tokio::spawn(async move { get(address, "/slow").await });
    upstream.until_arrived(4).await;
    touch(&file);
    gate.until_state("shop", AppState::Draining).await;
    std::fs::remove_file(&file).unwrap();
    gate.until_state("shop", AppState::Open).await;
    upstream.let_go(1);
    drop(slow);
}
