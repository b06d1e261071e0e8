//! The whole stage: real servers, floating address, app, gate and swap. Needs the workspace's programs to be built.

use std::path::Path;
use std::time::Duration;

use lab::server::Series;
use lab::stage::{Endpoint, Stage, StageOptions};
use lab::trial::{self, Trial, TrialOptions};

async fn swap_there_and_back(series: Series) -> Trial {
    let stage = Stage::start(&StageOptions::new(series)).await.expect("a stage");
    let load = stage.load_options();
    let options = TrialOptions::new(load, 2, Duration::from_millis(500));
    let trial = trial::run(&stage, options, |_| {}).await.expect("a trial");
    // Back again: the server that began as the primary is it.
    assert_eq!(stage.pair.primary_index().await.expect("one primary"), 0);
    trial
}

fn assert_nobody_noticed(trial: &Trial) {
    for swapped in &trial.swaps {
        assert!(swapped.run.done(), "{}", swapped.run.said);
        let record = swapped.record.as_ref().expect("its journal");
        assert_eq!(record.outcome, "swapped");
        for step in ["hold", "fence", "promote", "release"] {
            assert!(trial.named_step(swapped, step).is_some(), "{step} in {record:?}");
        }
        assert!(trial.write_pause(swapped) >= Some(Duration::from_micros(1)));
    }
    assert_eq!(trial.recording.failed(), 0, "{:?}", trial.recording.notes);
    assert!(trial.verdict.is_clean(), "{}", trial.verdict);
    assert!(trial.verdict.acknowledged > 500, "{}", trial.verdict);
    assert!(trial.is_clean());
}

#[tokio::test]
async fn a_mariadb_swap_there_and_back_under_load_fails_and_loses_nothing() {
    assert_nobody_noticed(&swap_there_and_back(Series::MariaDb).await);
}

#[tokio::test]
async fn a_mariadb_11_8_swap_there_and_back_under_load_fails_and_loses_nothing() {
    assert_nobody_noticed(&swap_there_and_back(Series::MariaDb118).await);
}

#[tokio::test]
async fn a_mysql_swap_there_and_back_under_load_fails_and_loses_nothing() {
    assert_nobody_noticed(&swap_there_and_back(Series::MySql).await);
}

#[tokio::test]
async fn a_dropped_stage_leaves_no_process_and_no_folder() {
    let stage = Stage::start(&StageOptions::new(Series::MariaDb)).await.expect("a stage");
    let Endpoint::Forwarder(forwarder) = &stage.endpoint else { panic!("no forwarder") };
    let pids = [stage.gate.pid(), stage.app.pid(), forwarder.pid()];
    let folders = [&stage.gate, &stage.app, forwarder].map(|part| part.folder().to_owned());
    drop(stage);
    for (pid, folder) in pids.into_iter().zip(folders) {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is there");
        assert!(!folder.exists(), "{} is there", folder.display());
    }
}
