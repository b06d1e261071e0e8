//! The process dies or stands still while the address is nowhere: its guardian gives it back, or a recovery where that is dead
//! too, and clients find the old primary.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use lab::{
    network::Network,
    server::Flavor,
    stage::{Endpoint, Programs, Stage, StageOptions},
};

async fn holders(stage: &Stage) -> Vec<usize> {
    let Endpoint::FloatingIp(network) = &stage.endpoint else { panic!("no floating IP") };
    let floating = Network::floating().to_string();
    let mut holders = Vec::new();
    for index in 0..2 {
        let shown = network.hosts[index].ip(&["-o", "addr", "show", "to", &floating]).await;
        if !shown.unwrap().is_empty() {
            holders.push(index);
        }
    }
    holders
}

/// How long a guardian may take on a busy machine, and a process to be where it is made to stand still.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);
const MOMENTS: [&str; 3] = ["before", "after", "recorded"];

async fn stage(flavor: Flavor) -> Stage {
    let usual = Programs::find_or_build().await.expect("built by who runs the tests");
    let intermission = env!("CARGO_BIN_EXE_intermission-faults").into();
    let programs = Programs { intermission, ..usual };
    let options = StageOptions { floating_ip: true, ..StageOptions::new(flavor) };
    Stage::start_with(&options, programs).await.expect("a stage")
}

async fn expect_as_before(stage: &Stage, moment: &str) {
    assert_eq!(holders(stage).await, [0], "{moment}");
    assert_eq!(stage.pair.primary_index().await.unwrap(), 0, "{moment}");
}

async fn expect_ready(stage: &Stage) {
    let checked = stage.intermission().arg("check").output().await.unwrap();
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
}

async fn f16_lost_at_withdraw(flavor: Flavor) {
    let stage = stage(flavor).await;
    for (moment, left) in MOMENTS.into_iter().zip([vec![0], vec![], vec![]]) {
        let mut swap = stage.intermission();
        swap.env("INTERMISSION_FAULT", format!("lose:{moment}:perform:withdraw"));
        let killed = swap.args(["swap", "--yes"]).output().await.unwrap();
        assert_eq!(killed.status.code(), None, "{moment}: it lives");
        assert_eq!(holders(&stage).await, left, "{moment}");
        let recovered = stage.intermission().arg("recover").output().await.unwrap();
        let said = String::from_utf8(recovered.stdout).unwrap();
        assert_eq!(recovered.status.code(), Some(1), "{moment}: {said}");
        expect_as_before(&stage, moment).await;
    }
    expect_ready(&stage).await;
}

async fn f16_killed_at_withdraw(flavor: Flavor) {
    let stage = stage(flavor).await;
    for moment in MOMENTS {
        let mut swap = stage.intermission();
        swap.env("INTERMISSION_FAULT", format!("kill:{moment}:perform:withdraw"));
        // Its guardian has its standard error, too: this waits for both.
        let killed = swap.args(["swap", "--yes"]).output().await.unwrap();
        assert_eq!(killed.status.code(), None, "{moment}: it lives");
        let said = String::from_utf8(killed.stderr).unwrap();
        assert!(said.contains("is taken back after"), "{moment}: {said}");
        expect_as_before(&stage, moment).await;
    }
    expect_ready(&stage).await;
}

/// What it was about to do to the host when it stood still it does when it goes on: that is seen to once more.
async fn f16_standing_still_at_withdraw(flavor: Flavor) {
    let stage = stage(flavor).await;
    for moment in MOMENTS {
        let mut swap = stage.intermission();
        swap.env("INTERMISSION_FAULT", format!("stop:{moment}:perform:withdraw"));
        swap.args(["swap", "--yes"]).stdin(std::process::Stdio::null());
        swap.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let swap = swap.spawn().unwrap();
        let pid = swap.id().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let stands = || {
            std::fs::read_to_string(format!("/proc/{pid}/status"))
                .is_ok_and(|status| status.contains("State:\tT"))
        };
        while !stands() {
            assert!(Instant::now() < deadline, "{moment}: nothing made it stand still");
            tokio::time::sleep(POLL).await;
        }
        // Until the address is back, and the fence lifted before it, by the guardian alone.
        let records = async || stage.records().await.unwrap().pop().map(|last| last.outcome);
        while records().await.as_deref() != Some("rolled_back") {
            assert!(Instant::now() < deadline, "{moment}: not taken back");
            tokio::time::sleep(POLL).await;
        }
        expect_as_before(&stage, moment).await;
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGCONT).unwrap();
        let ended = swap.wait_with_output().await.unwrap();
        let said = String::from_utf8(ended.stdout).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{moment}: {said}");
        assert!(said.contains("its guardian has taken the swap over"), "{moment}: {said}");
        expect_as_before(&stage, moment).await;
    }
    expect_ready(&stage).await;
}

lab::on_both!(f16_lost_at_withdraw, f16_killed_at_withdraw, f16_standing_still_at_withdraw);
