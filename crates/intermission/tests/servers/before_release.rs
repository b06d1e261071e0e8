//! What is done before users are released, on real pairs: hooks, and an application whose pool has dead connections.

use std::{path::Path, sync::Arc, time::Duration};

use intermission::swap::{
    hook::{CommandHooks, Hook, Hooks},
    plan::Request,
    record::{Action, Ending, Entry, Outcome, Record},
    run::{self, Parties, Report},
    step::Step,
};
use lab::{
    app::Checks,
    load::{Kind, Load, LoadOptions},
    oracle::{self, Write},
    server::Flavor,
    stage::{Programs, Stage, StageOptions},
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, outcome_of};

lab::on_both!(
    f13_a_hook_is_told_both_servers_and_is_heard,
    f13_f18_f34_a_hook_that_hangs_is_killed_and_users_are_released,
    f25_h34_a_pool_that_does_not_check_is_renewed_before_its_users_come,
);

const PATIENCE: Duration = Duration::from_secs(20);

fn with_hook(bench: &Bench, script: &str, timeout: Duration) -> (Parties, Request) {
    let args = vec!["-c".to_owned(), script.to_owned()];
    let hook = Hook { program: "sh".to_owned(), args, timeout };
    let hooks = CommandHooks::new(vec![hook], Vec::new());
    let request = Request { before_release: hooks.bound(), ..Bench::request() };
    (Parties { hooks: Arc::new(hooks), ..bench.parties() }, request)
}

/// The order in which steps were begun.
fn begun(journal: &[Entry]) -> Vec<Step> {
    let steps = journal.iter().filter_map(|entry| {
        let Record::Intent { action: Action::Perform, step, .. } = &entry.record else {
            return None;
        };
        Some(*step)
    });
    steps.collect()
}

async fn f13_a_hook_is_told_both_servers_and_is_heard(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let script = "echo $INTERMISSION_OLD_PRIMARY to $INTERMISSION_NEW_PRIMARY";
    let (parties, request) = with_hook(&bench, script, Duration::from_secs(5));
    let report = bench.swap_by(&parties, &request).await;
    bench.assert_swapped(&report).await;
    let journal = bench.journal();
    let Some(Outcome::Done { facts }) = outcome_of(&journal, Step::BeforeRelease) else {
        panic!("{journal:#?}");
    };
    let [old, new] = [0, 1].map(|index| bench.pair.server(index).address());
    let note = facts.note.as_ref().unwrap();
    assert!(note.ends_with(&format!(": {old} to {new}")), "{note}");
    assert!(note.contains("ended with exit status: 0 after "), "{note}");
    let steps = begun(&journal);
    let at = |step| steps.iter().position(|begun| *begun == step).unwrap();
    assert!(at(Step::EndSessions) < at(Step::BeforeRelease), "{steps:?}");
    assert!(at(Step::BeforeRelease) < at(Step::Release), "{steps:?}");
    // No step that has nothing to do.
    assert!(!steps.contains(&Step::WarmUp), "{steps:?}");
    let report = bench.swap().await;
    assert!(matches!(report, Report::Ended { ending: Ending::Swapped, .. }), "{report:?}");
    assert!(!begun(&bench.journal()).contains(&Step::BeforeRelease));
}

async fn f13_f18_f34_a_hook_that_hangs_is_killed_and_users_are_released(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let script = format!("sleep 600 & echo $$ $! >>{}; echo waiting; wait", pids.display());
    let timeout = Duration::from_millis(300);
    let (parties, request) = with_hook(&bench, &script, timeout);
    let report = bench.swap_by(&parties, &request).await;
    let Report::Ended { ending: Ending::NeedsOperator, cause: Some(cause), .. } = report else {
        panic!("{report:?}");
    };
    assert!(cause.starts_with("before_release: 1 of 1 hooks failed: sh -c "), "{cause}");
    assert!(cause.contains("was killed after 3") && cause.contains(": waiting; by hand: INTER"));
    assert!(bench.asked.all().contains(&"release".to_owned()), "{:?}", bench.asked.all());
    for pid in std::fs::read_to_string(&pids).unwrap().split_whitespace() {
        assert_gone(pid).await;
    }
    bench.write(1, "after").await.expect("a write on the new primary");
    // All else was done, and a recovery with a hook that works has nothing else to do.
    bench.assert_same_rows().await;
    let (parties, _) = with_hook(&bench, "echo restarted", timeout);
    let (cancel, listener) = (CancellationToken::new(), Arc::new(|_: &_| {}));
    let recovered =
        run::recover(&parties, bench.journals(), |_| (), cancel, listener).await.unwrap();
    bench.assert_swapped(&recovered.expect("something to recover")).await;
}

async fn assert_gone(pid: &str) {
    let deadline = Instant::now() + PATIENCE;
    let lives = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        !status.is_empty() && !status.contains("State:\tZ")
    };
    while lives() {
        assert!(Instant::now() < deadline, "{pid} lives");
        sleep(Duration::from_millis(2)).await;
    }
}

const POOL: usize = 12;
/// All of its connections have their turn at once.
const WARM_UP: &str = r#"{ path = "/entries/latest", successes = 2, concurrency = 12, interval = "5ms", timeout = "5s" }"#;

/// The same swap of the same application without a warm-up and with one: its pool hands dead connections out, and the
/// first users after the swap meet them, or nobody does.
async fn f25_h34_a_pool_that_does_not_check_is_renewed_before_its_users_come(flavor: Flavor) {
    let (code, said, failed, note) = swap_under_load(flavor, None).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(failed > 0, "{flavor}: no user met a dead connection: {said}");
    assert_eq!(note, None, "{said}");
    let (code, said, failed, note) = swap_under_load(flavor, Some(WARM_UP)).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(failed, 0, "{flavor}: {said}");
    // The dead ones were met by the warm-up.
    let note = note.unwrap();
    let failed = note.split(" failed)").next().and_then(|text| text.rsplit(' ').next());
    let failed: usize = failed.unwrap().parse().unwrap_or_else(|_| panic!("{flavor}: {note}"));
    assert!(failed > 0, "{flavor}: {note}");
}

/// The exit code, what was said, how many requests failed, and what the warm-up had to say.
async fn swap_under_load(
    flavor: Flavor,
    warm_up: Option<&str>,
) -> (Option<i32>, String, usize, Option<String>) {
    let intermission = Path::new(env!("CARGO_BIN_EXE_intermission"));
    let lab = intermission.with_file_name("lab");
    let repoint = intermission.with_file_name("lab-repoint");
    let programs = Programs { lab, repoint, intermission: intermission.to_owned() };
    let options = StageOptions {
        pool: POOL,
        checks: Checks::Never,
        warm_up: warm_up.map(str::to_owned),
        ..StageOptions::new(flavor)
    };
    let stage = Stage::start_with(&options, programs).await.expect("a stage");
    let load = Load::start(LoadOptions { rate: 200, ..stage.load_options() }).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while load.progress().requests < 100 {
        assert!(Instant::now() < deadline, "the load is not answered");
        sleep(Duration::from_millis(5)).await;
    }
    let run = stage.swap().await.expect("a swap");
    let answered = load.progress().requests;
    while load.progress().requests < answered + 100 {
        assert!(Instant::now() < deadline + PATIENCE, "the load is not answered after the swap");
        sleep(Duration::from_millis(5)).await;
    }
    let recording = tokio::task::spawn_blocking(|| load.stop()).await.unwrap().unwrap();
    let writes = recording.acknowledged().map(|sample| Write {
        client: sample.client,
        seq: sample.seq,
        token: sample.token_text(),
    });
    let verdict = oracle::examine(&stage.pair, &writes.collect::<Vec<_>>()).await.unwrap();
    assert!(verdict.lost.is_empty(), "{verdict}");
    let record = stage.records().await.unwrap().pop().expect("a journal");
    let note = record.note("warm_up").map(str::to_owned);
    let failed = recording.samples.iter().filter(|sample| sample.failed());
    let kinds: Vec<Kind> = failed.map(|sample| sample.kind).collect();
    let said = format!("{}\n{kinds:?} {:?}", run.said, recording.notes);
    (run.code, said, recording.failed(), note)
}
