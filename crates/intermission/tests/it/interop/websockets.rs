//! Python's websockets: its client, and an application made with it.

use std::io::Write as _;

use super::super::gate::{Gate, Setup};
use super::case::{Case, Program, Server};

async fn gate(case: &mut Case, upgrades: &str) -> (Gate, Server) {
    let app = case.serve(0, &[3000]).await;
    let further = format!("upgrades = \"{upgrades}\"");
    let gate = Setup::default().app("shop", "*", app.addresses[0], &further).start().await;
    case.place(8080, gate.address);
    (gate, app)
}

/// What is typed in comes back.
async fn echoed(client: &mut Program, message: &str) {
    writeln!(client.input.as_mut().unwrap(), "{message}").unwrap();
    client.until_said(&format!("< {message}")).await;
}

async fn connected(case: &Case) -> Program {
    let client = case.start(1);
    client.until_said("Connected to ").await;
    client
}

pub(super) async fn websockets_go_on_through_a_hold(mut case: Case) {
    let (gate, _app) = gate(&mut case, "keep").await;
    let mut client = connected(&case).await;
    echoed(&mut client, "before").await;
    let held = gate.hold("shop").await;
    echoed(&mut client, "meanwhile").await;
    let mut late = case.start(1);
    gate.until_held("shop", 1).await;
    assert!(!late.said().contains("Connected"), "{}", late.said());
    gate.release("shop", held.generation).await;
    late.until_said("Connected to ").await;
    echoed(&mut late, "late").await;
    echoed(&mut client, "after").await;
    drop(client.input.take());
    let (said, succeeded) = client.ended().await;
    assert!(succeeded && said.contains("Connection closed: 1000"), "{said}");
}

pub(super) async fn websockets_are_told_to_come_again(mut case: Case) {
    let (gate, _app) = gate(&mut case, "close").await;
    let mut client = connected(&case).await;
    echoed(&mut client, "before").await;
    let held = gate.hold("shop").await;
    client.until_said("Connection closed: 1012 (service restart)").await;
    let mut again = case.start(1);
    gate.until_held("shop", 1).await;
    gate.release("shop", held.generation).await;
    again.until_said("Connected to ").await;
    echoed(&mut again, "again").await;
}
