//! The process dies while the address is nowhere: recovery gives it back, and clients find the old primary.

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

async fn f16_killed_at_withdraw(flavor: Flavor) {
    let usual = Programs::find_or_build().await.expect("built by who runs the tests");
    let intermission = env!("CARGO_BIN_EXE_intermission-faults").into();
    let programs = Programs { intermission, ..usual };
    let options = StageOptions { floating_ip: true, ..StageOptions::new(flavor) };
    let stage = Stage::start_with(&options, programs).await.expect("a stage");
    for (moment, left) in [("before", vec![0]), ("after", vec![]), ("recorded", vec![])] {
        let mut swap = stage.intermission();
        swap.env("INTERMISSION_FAULT", format!("kill:{moment}:perform:withdraw"));
        let killed = swap.args(["swap", "--yes"]).output().await.unwrap();
        assert_eq!(killed.status.code(), None, "{moment}: it lives");
        assert_eq!(holders(&stage).await, left, "{moment}");
        let recovered = stage.intermission().arg("recover").output().await.unwrap();
        let said = String::from_utf8(recovered.stdout).unwrap();
        assert_eq!(recovered.status.code(), Some(1), "{moment}: {said}");
        assert_eq!(holders(&stage).await, [0], "{moment}");
        assert_eq!(stage.pair.primary_index().await.unwrap(), 0, "{moment}");
    }
    let checked = stage.intermission().arg("check").output().await.unwrap();
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
}

lab::on_both!(f16_killed_at_withdraw);
