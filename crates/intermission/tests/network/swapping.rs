//! Whole swaps over the floating IP, under load.

use std::{fs::File, io::Write, time::Duration};

use lab::{
    network::{DEVICE, Network},
    server::Flavor,
    stage::{Endpoint, Stage, StageOptions, StepTime},
    trial::{self, TrialOptions},
};
use mysql_async::prelude::Queryable;

async fn stage(flavor: Flavor) -> Stage {
    let options = StageOptions { floating_ip: true, ..StageOptions::new(flavor) };
    Stage::start(&options).await.expect("a stage")
}

fn network(stage: &Stage) -> &Network {
    match &stage.endpoint {
        Endpoint::FloatingIp(network) => network,
        Endpoint::Forwarder(_) => panic!("no floating IP"),
    }
}

async fn holder(stage: &Stage) -> Vec<usize> {
    let mut holders = Vec::new();
    for index in 0..2 {
        let show = ["-o", "addr", "show", "to", &Network::floating().to_string()];
        if !network(stage).hosts[index].ip(&show).await.unwrap().is_empty() {
            holders.push(index);
        }
    }
    holders
}

async fn check(stage: &Stage) -> (Option<i32>, String) {
    let output = stage.intermission().args(["check", "--json"]).output().await.unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

async fn f27_f28_swaps_under_load_lose_nothing_and_fail_nobody(flavor: Flavor) {
    let stage = stage(flavor).await;
    let (code, said) = check(&stage).await;
    assert_eq!(code, Some(0), "{said}");
    let (load, quiet) = (stage.load_options(), Duration::from_millis(300));
    let options = TrialOptions::new(load, 2, quiet);
    let trial = trial::run(&stage, options, |_| {}).await.expect("a trial");
    let said: Vec<&str> = trial.swaps.iter().map(|swap| swap.run.said.as_str()).collect();
    assert!(trial.is_clean(), "{:?} {:?} {said:?}", trial.verdict, trial.recording.notes);
    assert_eq!(holder(&stage).await, [0]);
    for record in trial.swaps.iter().filter_map(|swap| swap.record.as_ref()) {
        let steps: Vec<&str> = record.steps.iter().map(|step| step.step.as_str()).collect();
        for step in ["withdraw", "endpoint", "canary"] {
            assert_eq!(steps.iter().filter(|name| **name == step).count(), 1, "{steps:?}");
        }
    }
}

async fn f27_an_address_in_the_wrong_place_is_refused(flavor: Flavor) {
    let stage = stage(flavor).await;
    let prefix = Network::floating_prefix();
    let hosts = &network(&stage).hosts;
    hosts[1].ip(&["addr", "add", &prefix, "dev", DEVICE]).await.unwrap();
    let (code, said) = check(&stage).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("floating-ip-twice"), "{said}");
    hosts[0].ip(&["addr", "del", &prefix, "dev", DEVICE]).await.unwrap();
    hosts[3].ip(&["neigh", "flush", "dev", DEVICE]).await.unwrap();
    let (code, said) = check(&stage).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("floating-ip-not-on-primary"), "{said}");
    assert!(said.contains("client-address-elsewhere"), "{said}");
}

/// Somebody's lock is in the way of the fence: the address goes back to where it was.
async fn f5_f39_an_unwound_swap_gives_the_address_back(flavor: Flavor) {
    let stage = stage(flavor).await;
    let mut blocker = stage.pair.connect(0).await.unwrap();
    // A swap looks for locks older than this before anybody waits; it is to find this one at the fence.
    let text = std::fs::read_to_string(stage.configuration()).unwrap();
    let patient = stage.configuration().with_file_name("patient.toml");
    let text = format!("{text}attempts = 1\n[swap.bounds]\nquiet_age = \"1h\"\n");
    File::create(&patient).unwrap().write_all(text.as_bytes()).unwrap();
    let swap = async || {
        let mut command = stage.intermission_with(&patient);
        command.args(["swap", "--yes"]).output().await.unwrap()
    };
    blocker.query_drop("LOCK TABLES ledger.entries WRITE").await.unwrap();
    let output = swap().await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("rolled back") && said.contains("because: fence"), "{said}");
    assert_eq!(holder(&stage).await, [0]);
    let records = stage.records().await.unwrap();
    let steps: Vec<String> = records[0].steps.iter().map(StepTime::label).collect();
    assert!(steps.contains(&"undo withdraw".to_owned()), "{steps:?}");
    drop(blocker);
    let output = swap().await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(holder(&stage).await, [1]);
}

lab::on_both!(
    f27_f28_swaps_under_load_lose_nothing_and_fail_nobody,
    f27_an_address_in_the_wrong_place_is_refused,
    f5_f39_an_unwound_swap_gives_the_address_back,
);
