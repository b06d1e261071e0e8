//! The commands: what they do, print and exit with.

use std::process::Stdio;
use std::time::Duration;

use intermission::admin::api::AppState;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use super::gate::{Gate, Setup};
use super::harness::{Ran, assert_contains, command, run, soon, until};
use super::upstream::Upstream;
use super::wire::{Wire, get};

async fn gate() -> Gate {
    Setup::shop(Upstream::start().await).start().await
}

fn signal(child: &Child, signal: Signal) {
    let id = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(id, signal).unwrap();
}

async fn ended(child: Child) -> Ran {
    soon("the command ends", child.wait_with_output()).await.unwrap().into()
}

#[tokio::test]
async fn usage_is_2_help_is_0_and_says_the_exit_codes() {
    let nowhere = std::path::Path::new("/nonexistent/x.toml");
    assert_eq!(run(nowhere, &["no-such-command"]).await.code, Some(2));
    assert_eq!(run(nowhere, &[]).await.code, Some(2));
    let help = run(nowhere, &["--help"]).await;
    assert_eq!(help.code, Some(0));
    for code in ["0  done", "1  refused", "2  usage", "3  needs an operator"] {
        assert_contains(&help.stdout, code);
    }
    let missing = run(nowhere, &["status"]).await;
    assert_eq!((missing.code, missing.stdout.as_str()), (Some(2), ""));
    assert_contains(&missing.stderr, "/nonexistent/x.toml");
}

#[tokio::test]
async fn completions_and_man_need_no_configuration() {
    let nowhere = std::path::Path::new("/nonexistent/x.toml");
    for arguments in [&["completions", "bash"][..], &["completions", "zsh"], &["man"]] {
        let ran = run(nowhere, arguments).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
        assert_contains(&ran.stdout, "intermission");
    }
}

#[tokio::test]
async fn a_section_that_a_command_needs_and_the_file_lacks_is_named_with_the_file() {
    let directory = tempfile::tempdir().unwrap();
    Setup::shop("127.0.0.1:3000").write(&directory);
    let config = directory.path().join("config.toml");
    for (arguments, section) in [
        (&["check"][..], "cluster"),
        (&["swap", "--yes"], "cluster"),
        (&["journal"], "swap"),
        (&["grants", "mysql"], "cluster"),
    ] {
        let ran = run(&config, arguments).await;
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
        assert_contains(&ran.stderr, config.display().to_string());
        assert_contains(&ran.stderr, format!("write a section [{section}]"));
    }
}

#[tokio::test]
async fn config_check_prints_what_it_comes_to_or_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    Setup::shop("127.0.0.1:3000").write(&directory);
    let config = directory.path().join("config.toml");
    let good = run(&config, &["config", "check"]).await;
    assert_eq!(good.code, Some(0));
    assert_contains(&good.stdout, "max_wait = \"30s\"");
    Setup::shop("127.0.0.1:3000").gate("threds = 2").write(&directory);
    let bad = run(&config, &["config", "check"]).await;
    assert_eq!((bad.code, bad.stdout.as_str()), (Some(2), ""));
    assert_contains(
        &bad.stderr,
        "config.toml:5: `threds`: unknown field `threds`, expected one of",
    );
}

#[tokio::test]
async fn without_a_gate_every_command_says_so() {
    let directory = tempfile::tempdir().unwrap();
    Setup::shop("127.0.0.1:3000").write(&directory);
    let config = directory.path().join("config.toml");
    for arguments in [&["status"][..], &["hold", "shop"], &["release", "shop"]] {
        let ran = run(&config, arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert_contains(&ran.stderr, "is `intermission serve` running");
    }
}

#[tokio::test]
async fn status_shows_apps_as_a_table_or_as_json() {
    let gate = gate().await;
    gate.hold("shop").await;
    let table = gate.cli(&["status"]).await;
    assert_eq!((table.code, table.stderr.as_str()), (Some(0), ""));
    let row = table.stdout.lines().find(|line| line.starts_with("shop")).unwrap();
    assert_contains(row, "held");
    assert_contains(row, "test (because)");
    let json = gate.cli(&["status", "--json"]).await.stdout;
    let status: intermission::admin::api::Status = serde_json::from_str(&json).unwrap();
    assert_eq!(status.apps[0].state, AppState::Held);
}

#[tokio::test]
async fn release_releases_what_somebody_holds_and_refuses_what_nobody_does() {
    let gate = gate().await;
    gate.hold("shop").await;
    let ran = gate.cli(&["release", "shop"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
    assert_contains(&ran.stderr, "`shop` is released");
    assert_eq!(gate.cli(&["release", "shop"]).await.code, Some(1));
    let unknown = gate.cli(&["release", "nope"]).await;
    assert_eq!(unknown.code, Some(2));
    assert_contains(&unknown.stderr, "there is: shop");
}

#[tokio::test]
async fn hold_with_a_command_passes_its_exit_code_on_and_always_releases() {
    let gate = gate().await;
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)] {
        let ran = gate.cli(&["hold", "shop", "--", "sh", "-c", script]).await;
        assert_eq!(ran.code, Some(code), "{script}: {}", ran.stderr);
        assert_contains(&ran.stderr, "`shop` is released");
        assert!(gate.shop().await.hold.is_none());
    }
    let ran = gate.cli(&["hold", "shop", "--", "/nonexistent/command"]).await;
    assert_eq!(ran.code, Some(127));
    assert!(gate.shop().await.hold.is_none());
    let unknown = gate.cli(&["hold", "nope", "--", "true"]).await;
    assert_eq!(unknown.code, Some(2));
    gate.hold("shop").await;
    let refused = gate.cli(&["hold", "shop", "--", "touch", "/nonexistent/x"]).await;
    assert_eq!(refused.code, Some(1));
    assert_contains(&refused.stderr, "test (because)");
}

#[tokio::test]
async fn the_command_runs_while_held_and_longer_than_the_lease() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let wait = "until test -e \"$0\"; do sleep 0.05; done";
    let file = gate.directory.path().join("go");
    let file = file.to_str().unwrap();
    let arguments = ["hold", "shop", "--lease", "600ms", "--", "sh", "-c", wait, file];
    let child = command(&gate.config(), &arguments).spawn().unwrap();
    gate.until_state("shop", AppState::Held).await;
    let mut wire = Wire::connect(gate.address).await;
    wire.get("/").await;
    until("the request has waited for two leases", async || {
        gate.shop().await.oldest_ms.filter(|oldest| *oldest > 1_200)
    })
    .await;
    assert_eq!(upstream.arrived(), 0);
    std::fs::File::create(file).unwrap();
    let ran = ended(child).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_contains(&ran.stderr, "1 requests held");
    assert_eq!(wire.answer().await.status, 200);
}

#[tokio::test]
async fn a_signal_is_passed_on_to_the_command_and_the_app_is_released() {
    let gate = gate().await;
    let running = gate.directory.path().join("running");
    for (sent, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let script = "touch \"$0\"; exec sleep 60";
        let file = running.to_str().unwrap();
        let arguments = ["hold", "shop", "--", "sh", "-c", script, file];
        let child = command(&gate.config(), &arguments).spawn().unwrap();
        gate.until_state("shop", AppState::Held).await;
        until("the command runs", async || running.exists().then_some(())).await;
        signal(&child, sent);
        assert_eq!(ended(child).await.code, Some(code));
        assert!(gate.shop().await.hold.is_none());
        std::fs::remove_file(&running).unwrap();
    }
}

#[tokio::test]
async fn hold_without_a_command_holds_until_a_signal() {
    let gate = gate().await;
    let arguments = ["hold", "shop", "--lease", "600ms", "--reason", "lunch"];
    let child = command(&gate.config(), &arguments).spawn().unwrap();
    let app = gate.until_state("shop", AppState::Held).await;
    assert_eq!(app.hold.unwrap().reason, "lunch");
    until("two leases have passed", async || {
        gate.shop().await.hold.filter(|hold| hold.held_for_ms > 1_200)
    })
    .await;
    signal(&child, Signal::TERM);
    let ran = ended(child).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
    assert!(gate.shop().await.hold.is_none());
}

#[tokio::test]
async fn a_signal_during_the_drain_leaves_nothing_held() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let mut slow = Wire::connect(gate.address).await;
    slow.get("/slow").await;
    upstream.until_arrived(1).await;
    let arguments = ["hold", "shop", "--drain", "20s", "--", "touch", "/nonexistent/x"];
    let child = command(&gate.config(), &arguments).spawn().unwrap();
    gate.until_state("shop", AppState::Draining).await;
    signal(&child, Signal::TERM);
    let ran = ended(child).await;
    assert_eq!(ran.code, Some(1));
    gate.until_state("shop", AppState::Open).await;
    upstream.let_go(1);
}

#[tokio::test]
async fn a_signal_at_any_moment_leaves_nothing_held() {
    let gate = gate().await;
    for delay_us in (0..20_000).step_by(1_000) {
        let mut command = command(&gate.config(), &["hold", "shop", "--", "sleep", "60"]);
        let child = command.spawn().unwrap();
        tokio::time::sleep(Duration::from_micros(delay_us)).await;
        signal(&child, Signal::TERM);
        ended(child).await;
        gate.until_state("shop", AppState::Open).await;
    }
}

#[tokio::test]
async fn h9_the_command_lists_the_stragglers() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let mut slow = Wire::connect(gate.address).await;
    slow.get("/slow/export").await;
    upstream.until_arrived(1).await;
    let ran = gate.cli(&["hold", "shop", "--drain", "100ms", "--", "true"]).await;
    assert_eq!(ran.code, Some(1));
    assert_contains(&ran.stderr, "still in flight: GET /slow/export for");
    upstream.let_go(1);
    assert_eq!(slow.answer().await.status, 200);
}

#[tokio::test]
async fn h42_if_the_command_line_is_killed_the_lease_ends_the_hold() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).start().await;
    let arguments = ["hold", "shop", "--lease", "700ms"];
    let mut command = command(&gate.config(), &arguments);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    gate.until_state("shop", AppState::Held).await;
    let mut wire = Wire::connect(gate.address).await;
    wire.get("/").await;
    gate.until_held("shop", 1).await;
    child.kill().await.unwrap();
    assert_eq!(wire.answer().await.status, 200);
    gate.until_state("shop", AppState::Open).await;
}

#[tokio::test]
async fn a_hold_that_ended_under_a_command_that_succeeds_needs_an_operator() {
    let gate = gate().await;
    let wait = "until test -e \"$0\"; do sleep 0.05; done";
    let file = gate.directory.path().join("go");
    let arguments =
        ["hold", "shop", "--lease", "600ms", "--", "sh", "-c", wait, file.to_str().unwrap()];
    let child = command(&gate.config(), &arguments).spawn().unwrap();
    gate.until_state("shop", AppState::Held).await;
    assert_eq!(gate.cli(&["release", "shop"]).await.code, Some(0));
    assert_eq!(get(gate.address, "/").await.status, 200);
    std::fs::File::create(file).unwrap();
    let ran = ended(child).await;
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
}

#[tokio::test]
async fn a_gate_that_crashes_under_a_command_comes_up_held_and_is_released() {
    let upstream = Upstream::start().await;
    let mut gate = Setup::shop(&upstream).start().await;
    let wait = "until test -e \"$0\"; do sleep 0.05; done";
    let file = gate.directory.path().join("go");
    let path = file.to_str().unwrap().to_owned();
    let arguments = ["hold", "shop", "--", "sh", "-c", wait, &path];
    let child = command(&gate.config(), &arguments).spawn().unwrap();
    gate.until_state("shop", AppState::Held).await;
    gate.crash_and_restart().await;
    assert_eq!(gate.shop().await.state, AppState::Held);
    std::fs::File::create(file).unwrap();
    let ran = ended(child).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    gate.until_state("shop", AppState::Open).await;
}
