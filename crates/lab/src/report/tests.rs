//! A made-up trial, drawn. `REPORT_SAMPLE=path cargo test -p lab report` keeps the page to look at.

use std::time::Duration;

use super::*;
use crate::load::{Failure, Kind, LoadOptions, Outcome, Recording, Sample, Window};
use crate::oracle::Verdict;
use crate::server::Series;
use crate::stage::{StepTime, SwapRecord, SwapRun};
use crate::trial::{Swapped, TrialOptions};

const STEPS: &[(&str, u64, u64)] = &[
    ("lock", 3_000, 4_000),
    ("quiet", 7_000, 21_000),
    ("hold", 28_000, 9_000),
    ("settle", 37_000, 1_000),
    ("fence", 38_000, 400),
    ("barrier", 38_400, 300),
    ("catch_up", 38_700, 2_600),
    ("promote", 41_300, 200),
    ("endpoint", 41_500, 4_000),
    ("canary", 45_500, 5_000),
    ("end_sessions", 50_500, 1_500),
    ("release", 52_000, 700),
    ("detach", 52_700, 19_000),
    ("rejoin", 71_700, 60_000),
    ("marker", 131_700, 14_000),
];

fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

/// Two swaps at 1.5 s and 3 s in a run of 4.5 s; one request fails in the second.
pub(crate) fn made_up_trial(series: Series) -> Trial {
    let mut random = fastrand::Rng::with_seed(3);
    let starts = [1_500_000, 3_000_000];
    let started: Timestamp = "2025-01-01T12:00:00Z".parse().expect("a time");
    let samples = (0..1800_u32).map(|n| made_up_request(n, &starts, &mut random)).collect();
    let swaps = starts.map(|at| made_up_swap(at, started)).into();
    Trial {
        series,
        version: "10.11.19".to_owned(),
        options: TrialOptions {
            load: LoadOptions::new("127.0.0.1:80".parse().expect("an address"), "shop"),
            swaps: 2,
            quiet: Duration::from_secs(1),
            burden: crate::burden::Burden::default(),
        },
        recording: Recording { started, samples, notes: Vec::new(), truncated: false },
        swaps,
        verdict: Verdict { acknowledged: 900, rows: vec![900, 900], ..Verdict::default() },
        transactions_lost: 0,
    }
}

fn made_up_request(n: u32, swap_starts: &[u64], random: &mut fastrand::Rng) -> Sample {
    let intended = u64::from(n) * 2500 + random.u64(0..2500);
    let kind = if n.is_multiple_of(2) { Kind::Read } else { Kind::Write };
    let mut latency = match kind {
        Kind::Read => 900 + random.u64(0..600),
        Kind::Write => 2500 + random.u64(0..2000),
    };
    for start in swap_starts {
        let (hold, release) = (start + 28_000, start + 52_000);
        if intended > hold && intended < release {
            latency += release - intended + random.u64(0..3000);
        }
    }
    let intended = us(intended);
    let token = u64::from(n);
    let status = if kind == Kind::Read { 200 } else { 201 };
    Sample {
        kind,
        client: n % 64,
        seq: 1,
        token,
        intended,
        sent: intended,
        finished: intended + us(latency),
        outcome: Outcome::Answered(status),
    }
}

fn made_up_swap(at: u64, started: Timestamp) -> Swapped {
    let window = Window { from: us(at), to: us(at + 150_000) };
    let zero_ms = f64::from(u32::try_from(at / 1000).expect("small"))
        + 1000.0 * started.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64();
    let ms = |us: u64| f64::from(u32::try_from(us).expect("small")) / 1000.0;
    let steps = STEPS
        .iter()
        .map(|(step, at, took)| StepTime {
            step: (*step).to_owned(),
            action: "perform".to_owned(),
            started_ms: zero_ms + ms(*at),
            took_ms: Some(ms(*took)),
            note: None,
        })
        .collect();
    let record = SwapRecord {
        id: format!("swap-{at}"),
        at: started,
        outcome: "swapped".to_owned(),
        old_primary: "db1 (127.0.0.1:3306)".to_owned(),
        new_primary: "db2 (127.0.0.1:3307)".to_owned(),
        write_pause_ms: Some(9.0),
        users: None,
        steps,
    };
    Swapped {
        window,
        quiet: Window { from: us(at - 500_000), to: us(at) },
        run: SwapRun { code: Some(0), said: String::new(), started, took: us(150_000) },
        record: Some(record),
    }
}

#[test]
fn a_clean_trial_says_so_and_shows_every_part() {
    let trials = [Series::MariaDb, Series::MySql].map(made_up_trial);
    let html = render(&trials, Timestamp::UNIX_EPOCH);
    assert!(html.contains("Nobody noticed"));
    assert_eq!(html.matches("<svg viewBox=\"0 0 960").count(), 2 * 3);
    for (step, ..) in STEPS {
        assert!(html.contains(&format!(">{step}</text>")), "{step} is not drawn");
    }
    // 24 ms of hold at 400 requests per second are about ten held requests in each swap.
    let held = trials[0].held(&trials[0].swaps[0]).expect("known").len();
    assert!((8..=12).contains(&held), "{held}");
    // Nothing outside the file.
    assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("<script"));
    if let Some(path) = std::env::var_os("REPORT_SAMPLE") {
        write(Path::new(&path), &html).expect("written");
    }
}

#[test]
fn a_failure_is_told_in_the_headline_and_its_text_is_escaped() {
    let mut trial = made_up_trial(Series::MySql);
    trial.version = "<9.7.4>".to_owned();
    trial.recording.notes.push("Write at 3 ms: 503 <html>\"'&".to_owned());
    trial.recording.samples[650].outcome = Outcome::Failed(Failure::Timeout);
    trial.swaps[1].run.code = Some(3);
    trial.swaps[1].run.said = "needs-operator: <do this>".to_owned();
    trial.swaps[1].record = None;
    let html = render(&[trial], Timestamp::UNIX_EPOCH);
    assert!(html.contains("Somebody noticed"));
    assert!(html.contains("mysql &lt;9.7.4&gt;") && !html.contains("<9.7.4>"));
    assert!(html.contains("503 &lt;html&gt;&quot;&#39;&amp;"));
    assert!(html.contains("not done: needs-operator: &lt;do this&gt;"));
    assert_eq!(html.matches("class=\"failed\" d=\"M").count(), 1 + 2);
}

#[test]
fn a_report_is_written_whole_into_a_folder_that_may_not_exist() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("new/report.html");
    write(&path, "<p>one</p>").expect("written");
    write(&path, "<p>two</p>").expect("written again");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "<p>two</p>");
}

#[test]
fn of_many_swaps_those_users_saw_most_of_are_drawn_in_their_order() {
    let mut trial = made_up_trial(Series::MariaDb);
    let mut quiet = trial.swaps[0].clone();
    quiet.window = Window { from: us(500_000), to: us(600_000) };
    trial.swaps = vec![quiet.clone(), quiet.clone(), trial.swaps[0].clone()];
    trial.swaps.extend([quiet.clone(), quiet.clone(), quiet]);
    let drawn: Vec<usize> = worth_drawing(&trial).into_iter().map(|(number, _)| number).collect();
    assert_eq!(drawn.len(), 4);
    assert!(drawn.contains(&3) && drawn.is_sorted(), "{drawn:?}");
}
