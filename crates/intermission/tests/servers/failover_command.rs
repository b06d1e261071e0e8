//! `intermission failover` as it is typed: a word that is wrong, and a process that is killed in the middle.

use std::process::Stdio;

use lab::{
    server::Flavor,
    stage::{Programs, Stage, StageOptions},
};
use tokio::io::AsyncWriteExt as _;

lab::on_both!(f16_a_killed_failover_is_recovered_from_each_step);

/// Before its commit point it is taken back, after it finished.
async fn f16_a_killed_failover_is_recovered_from_each_step(flavor: Flavor) {
    let usual = Programs::find_or_build().await.expect("built by who runs the tests");
    let intermission = env!("CARGO_BIN_EXE_intermission-faults").into();
    let options = StageOptions::new(flavor);
    let programs = Programs { intermission, ..usual };
    let stage = Stage::start_with(&options, programs).await.expect("a stage");
    let pair = &stage.pair;
    pair.wait_replicated().await.unwrap();
    pair.server(0).kill().await.unwrap();
    let configuration = stage.configuration().to_owned();
    let text = std::fs::read_to_string(&configuration).unwrap();
    a_wrong_word_is_no_proof(&stage).await;
    let hooked = format!("{text}\n[failover]\nfence = {{ command = [\"/bin/true\"] }}\n");
    write(&configuration, &hooked);
    let before = ["lock", "fence", "ready", "quiet", "hold", "barrier", "catch_up"];
    for moment in ["before", "after"] {
        for step in before {
            let fault = format!("kill:{moment}:perform:{step}");
            let (code, said) = run(&stage, &["failover", "--yes"], &fault).await;
            assert_eq!(code, None, "{moment} {step}: {said}");
            let (code, said) = run(&stage, &["failover", "--yes"], "").await;
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("unfinished-swap"), "{said}");
            let (code, said) = run(&stage, &["recover"], "").await;
            assert_eq!(code, Some(1), "{moment} {step}: {said}");
            assert!(said.contains("taken back"), "{said}");
            assert!(pair.is_read_only(1).await.unwrap(), "{moment} {step}");
        }
    }
    let (code, said) = run(&stage, &["failover", "--yes"], "kill:after:perform:promote").await;
    assert_eq!(code, None, "{said}");
    let (code, said) = run(&stage, &["recover"], "").await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("failed over: "), "{said}");
    assert!(!pair.is_read_only(1).await.unwrap());
    let (code, said) = run(&stage, &["failover", "--yes"], "").await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("primary-alive"), "{said}");
}

/// The exit code (none: killed) and what it said.
async fn run(stage: &Stage, arguments: &[&str], fault: &str) -> (Option<i32>, String) {
    let mut command = stage.intermission();
    command.args(arguments).env("INTERMISSION_FAULT", fault).stdin(Stdio::null());
    let output = command.output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

async fn a_wrong_word_is_no_proof(stage: &Stage) {
    for (word, wanted) in [("db2\n", Some(1)), ("yes\n", Some(1)), ("", Some(1))] {
        let mut command = stage.intermission();
        command.arg("failover").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut asking = command.spawn().unwrap();
        asking.stdin.take().unwrap().write_all(word.as_bytes()).await.unwrap();
        let output = asking.wait_with_output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let talk = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), wanted, "{word:?}: {said}{talk}");
        assert!(said.contains("not confirmed"), "{word:?}: {said}{talk}");
        assert!(talk.contains("ipmitool") && talk.contains("what may be lost"), "{talk}");
    }
    let (code, said) = run(stage, &["failover", "--yes"], "").await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("failover.fence"), "{said}");
    let (code, said) = run(stage, &["failover", "--dry-run"], "").await;
    assert_eq!(code, Some(0), "{said}");
    assert!(stage.pair.is_read_only(1).await.unwrap());
}

fn write(path: &std::path::Path, text: &str) {
    use std::io::Write as _;
    std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}
