//! The audit log of a running gate.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use intermission::admin::api::{AppState, ReleaseRequest, RenewRequest};
use intermission::admin::client::Client;
use serde_json::{Value, json};

use super::by_hand::By;
use super::certificate::{Authority, TOKEN};
use super::gate::{Gate, LEASE_MS, Setup, ask, directory};
use super::harness::{assert_contains, run, until};
use super::role::gate_with_certificates;
use super::upstream::Upstream;
use super::wire::get;

fn path(gate: &Gate) -> PathBuf {
    gate.directory.path().join("audit.log")
}

/// A gate that keeps one.
async fn gate(setup: Setup) -> Gate {
    let directory = directory();
    let line = format!("audit_log = {:?}", directory.path().join("audit.log"));
    setup.gate(&line).start_in(directory).await
}

/// Every line, once there are `count`.
async fn lines(gate: &Gate, count: usize) -> Vec<Value> {
    until(&format!("{count} lines"), async || {
        let text = std::fs::read_to_string(path(gate)).ok()?;
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.len() <= count, "{text}");
        (lines.len() == count).then_some(lines)
    })
    .await
}

/// What was done, and what it came to.
fn deeds(lines: &[Value]) -> Vec<(&str, &str)> {
    let mut deeds = Vec::new();
    for line in lines {
        deeds.push((line["action"].as_str().unwrap(), line["outcome"].as_str().unwrap()));
    }
    deeds
}

#[tokio::test]
async fn every_change_by_the_socket_is_told_with_the_process_behind_it() {
    let gate = gate(Setup::shop(Upstream::start().await)).await;
    let generation = gate.hold("shop").await.generation;
    gate.client.hold("shop", &ask(LEASE_MS, 100)).await.unwrap_err();
    gate.client.renew("shop", &RenewRequest { generation, lease_ms: None }).await.unwrap();
    gate.release("shop", generation).await;
    gate.client.release("shop", &ReleaseRequest { generation }).await.unwrap_err();
    gate.client.warm_up("shop", Duration::from_secs(1)).await.unwrap();
    let lines = lines(&gate, 7).await;
    assert_eq!(
        deeds(&lines),
        [
            ("hold", "draining"),
            ("hold", "held"),
            ("hold", "refused"),
            ("renew", "renewed"),
            ("release", "released"),
            ("release", "refused"),
            ("warm_up", "warm"),
        ]
    );
    let uid = rustix::process::geteuid().as_raw();
    for line in &lines {
        assert_eq!(line["app"], "shop");
        assert!(line["unix_ms"].as_u64().unwrap() > 1_700_000_000_000);
        let actor = &line["actor"];
        assert_eq!((&actor["kind"], &actor["uid"]), (&json!("unix"), &json!(uid)));
        assert_eq!(actor["pid"], std::process::id());
        if uid == 0 {
            assert_eq!(actor["user"], "root");
        }
    }
    for line in &lines[..5] {
        assert_eq!((&line["holder"], &line["reason"]), (&json!("test"), &json!("because")));
    }
    assert_eq!(lines[4]["generation"], generation);
    assert_contains(lines[2]["error"].as_str().unwrap(), "test");
    assert_contains(&gate.log(), format!("pid {}", std::process::id()));
    let status = gate.client.status().await.unwrap().audit_log.unwrap();
    assert_eq!((status.written, status.lost, status.problem), (7, 0, None));
}

#[tokio::test]
async fn holds_that_do_not_come_about_or_end_by_themselves_are_told() {
    let upstream = Upstream::start().await;
    let mut gate = gate(Setup::shop(&upstream)).await;
    let slow = tokio::spawn(get(gate.address, "/slow"));
    upstream.until_arrived(1).await;
    gate.client.hold("shop", &ask(LEASE_MS, 50)).await.unwrap_err();
    let holder = Client::new(gate.socket());
    let hold = tokio::spawn(async move { holder.hold("shop", &ask(LEASE_MS, 20_000)).await });
    gate.until_state("shop", AppState::Draining).await;
    hold.abort();
    gate.until_state("shop", AppState::Open).await;
    upstream.let_go(1);
    assert_eq!(slow.await.unwrap().status, 200);
    gate.client.hold("shop", &ask(100, 100)).await.unwrap();
    lines(&gate, 7).await;
    let held = gate.hold("shop").await;
    lines(&gate, 9).await;
    gate.crash_and_restart().await;
    gate.release("shop", held.generation).await;
    let lines = lines(&gate, 11).await;
    assert_eq!(
        deeds(&lines),
        [
            ("hold", "draining"),
            ("hold", "drain_timed_out"),
            ("hold", "draining"),
            ("hold", "caller_left"),
            ("hold", "draining"),
            ("hold", "held"),
            ("lease_end", "released"),
            ("hold", "draining"),
            ("hold", "held"),
            ("restore", "held"),
            ("release", "released"),
        ]
    );
    assert_eq!(lines[6]["actor"], json!({ "kind": "lease" }));
    assert_eq!(lines[9]["actor"], json!({ "kind": "gate" }));
    for line in &lines {
        assert_eq!(line["holder"], "test", "{line}");
    }
}

#[tokio::test]
async fn a_hold_by_a_file_is_told_and_its_waiting_is_not() {
    let directory = directory();
    let file = directory.path().join("hold");
    let further = format!("hold_file = {file:?}\nlease = \"300ms\"");
    let line = format!("audit_log = {:?}", directory.path().join("audit.log"));
    let upstream = Upstream::start().await;
    let setup = Setup::default().app("shop", "*", &upstream, &further).gate(&line);
    let gate = setup.start_in(directory).await;
    let theirs = gate.hold("shop").await;
    std::fs::File::create(&file).unwrap();
    // Long enough for it to be seen; that it is refused is no line.
    tokio::time::sleep(Duration::from_millis(200)).await;
    gate.release("shop", theirs.generation).await;
    let renewed = until("it was renewed", async || {
        let text = std::fs::read_to_string(path(&gate)).unwrap();
        text.lines().any(|line| line.contains("renewed")).then_some(text)
    });
    let text = renewed.await;
    std::fs::remove_file(&file).unwrap();
    gate.until_state("shop", AppState::Open).await;
    let first: Vec<Value> =
        text.lines().take(6).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        deeds(&first),
        [
            ("hold", "draining"),
            ("hold", "held"),
            ("release", "released"),
            ("hold", "draining"),
            ("hold", "held"),
            ("renew", "renewed"),
        ]
    );
    for line in &first[3..] {
        assert_eq!(line["actor"], json!({ "kind": "file", "path": file }));
    }
}

async fn remote() -> (Authority, Gate, SocketAddr) {
    let authority = Authority::new();
    authority.issue("gate", "127.0.0.1", false);
    let lines = authority.serving("127.0.0.1:0", "gate");
    let gate = gate(Setup::shop(Upstream::start().await).gate(&lines)).await;
    let address = gate.admin_address().await;
    (authority, gate, address)
}

#[tokio::test]
async fn who_calls_over_tcp_is_told_by_role_or_name_and_address() {
    let hold = r#"{"holder":"swap 1"}"#;
    let (authority, with_token, address) = remote().await;
    let here = By::nobody(&authority, address);
    assert_eq!(here.call(Some(TOKEN), "POST /v1/apps/shop/hold", hold).await.0, 200);
    let actor = &lines(&with_token, 2).await[1]["actor"];
    assert_eq!((&actor["kind"], &actor["role"]), (&json!("token"), &json!("operate")));
    assert_contains(actor["peer"].as_str().unwrap(), "127.0.0.1:");

    let (authority, gate, address) = gate_with_certificates().await;
    let swap = By { certificate: Some("swap"), ..By::nobody(&authority, address) };
    assert_eq!(swap.call(None, "POST /v1/apps/shop/hold", hold).await.0, 200);
    // Without a file it is in the log.
    assert_contains(&gate.log(), "actor=certificate swap1.internal from 127.0.0.1:");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_hinders_nothing_and_is_told() {
    let gate = gate(Setup::shop(Upstream::start().await)).await;
    let moved = gate.directory.path().join("audit.log.1");
    std::fs::rename(path(&gate), &moved).unwrap();
    std::fs::create_dir(path(&gate)).unwrap();
    let generation = gate.hold("shop").await.generation;
    gate.release("shop", generation).await;
    let status = until("three lines", async || {
        let status = gate.client.status().await.unwrap().audit_log.unwrap();
        (status.written == 3).then_some(status)
    })
    .await;
    assert!(status.problem.is_some());
    assert_contains(&gate.log(), " ERROR ");
    let ran = gate.cli(&["status"]).await;
    assert_contains(&ran.stdout, "the audit log is not written as it should be");
    gate.clear_log();
    std::fs::remove_dir(path(&gate)).unwrap();
    gate.hold("shop").await;
    assert_eq!(deeds(&lines(&gate, 2).await), [("hold", "draining"), ("hold", "held")]);
    assert_eq!(gate.client.status().await.unwrap().audit_log.unwrap().problem, None);
}

#[tokio::test]
async fn what_was_done_last_is_on_disk_when_the_gate_has_stopped() {
    let mut gate = gate(Setup::shop(Upstream::start().await)).await;
    for _ in 0..50 {
        let generation = gate.hold("shop").await.generation;
        gate.release("shop", generation).await;
    }
    gate.terminate();
    assert_eq!(gate.exit_code().await, Some(0));
    assert_eq!(lines(&gate, 150).await.len(), 150);
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_is_named_at_the_start() {
    let directory = directory();
    let line = format!("audit_log = {:?}", directory.path());
    Setup::shop("127.0.0.1:3000").gate(&line).write(&directory);
    let ran = run(&directory.path().join("config.toml"), &["serve"]).await;
    assert_eq!(ran.code, Some(2));
    assert_contains(&ran.stderr, "cannot open the audit log ");
    assert_contains(&ran.stderr, "(gate.audit_log)");
}
