//! A whole swap under load before which two gates stand that are reached by TCP.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use intermission::admin::api::{AppState, Status};
use intermission::admin::client::Client;
use lab::load::{Load, LoadOptions};
use lab::server::Flavor;
use lab::stage::{HOST, Programs, Stage, StageOptions};
use lab::trial::{self, TrialOptions};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::certificate::Authority;

const DEADLINE: Duration = Duration::from_secs(20);

/// A gate of the stage's app, a process of its own. Dropped: killed.
struct Gate {
    process: Child,
    directory: TempDir,
}

impl Gate {
    fn start(stage: &Stage, authority: &Authority) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let of_stage = std::fs::read_to_string(stage.configuration()).unwrap();
        // Its app: the same host, upstream and pace.
        let app = of_stage.split_once("[[app]]").unwrap().1.split_once("[cluster]").unwrap().0;
        let config = format!(
            "[gate]\nlisten = [\"127.0.0.1:0\"]\nadmin_socket = {:?}\nstate_dir = {:?}\n{}\n[[app]]{app}",
            path.join("admin.sock"),
            path.join("state"),
            authority.serving("127.0.0.1:0", "gate"),
        );
        write(&path.join("config.toml"), &config);
        let process = Command::new(env!("CARGO_BIN_EXE_intermission"))
            .arg("-c")
            .arg(path.join("config.toml"))
            .arg("serve")
            .stdin(Stdio::null())
            .stderr(File::create(path.join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { process, directory }
    }

    async fn status(&self) -> Status {
        let client = Client::new(self.directory.path().join("admin.sock"));
        let began = Instant::now();
        loop {
            match client.status().await {
                Ok(status) => return status,
                Err(error) => assert!(began.elapsed() < DEADLINE, "{error}"),
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn write(path: &Path, text: &str) {
    File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// From now on the stage's swaps hold these gates, and not the stage's own.
fn swap_by(stage: &Stage, entries: &[String]) {
    let path: PathBuf = stage.configuration().to_owned();
    let text = std::fs::read_to_string(&path).unwrap();
    write(&path, &format!("{text}gates = [{}]\n", entries.join(", ")));
}

/// One gate with another token, one with another authority, one that is not there.
async fn check_names_all_that_is_wrong(stage: &Stage, authority: &Authority, gates: &[String]) {
    let strange = Authority::new();
    write(&strange.path("token"), &"x".repeat(40));
    let path = |authority: &Authority, file| authority.path(file).display().to_string();
    let change = |entry: &str, file| entry.replace(&path(authority, file), &path(&strange, file));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = authority.swap_gate(&nobody.local_addr().unwrap().to_string());
    drop(nobody);
    let entries = [change(&gates[0], "token"), change(&gates[1], "ca.pem"), closed];
    let wrong = stage.configuration().with_file_name("wrong.toml");
    let text = std::fs::read_to_string(stage.configuration()).unwrap();
    write(&wrong, &format!("{text}gates = [{}]\n", entries.join(", ")));
    let checked = stage.intermission_with(&wrong).args(["check", "--json"]).output().await.unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    assert_eq!(checked.status.code(), Some(1), "{said}");
    let answer: serde_json::Value = serde_json::from_str(&said).unwrap();
    let refusals = answer["refusals"].as_array().unwrap();
    let codes: Vec<&str> = refusals.iter().filter_map(|one| one["code"].as_str()).collect();
    assert_eq!(codes, ["gate-token", "gate-certificate", "gate-unreachable"], "{said}");
}

async fn f15_two_remote_gates_under_load_fail_nobody(flavor: Flavor) {
    let stage = Stage::start(&StageOptions::new(flavor)).await.expect("a stage");
    let authority = Authority::new();
    authority.issue("gate", "127.0.0.1", false);
    let gates = [Gate::start(&stage, &authority), Gate::start(&stage, &authority)];
    let (mut entries, mut targets) = (Vec::new(), Vec::<SocketAddr>::new());
    for gate in &gates {
        let status = gate.status().await;
        entries.push(authority.swap_gate(&status.admin_listen[0]));
        targets.push(status.listen[0].parse().unwrap());
    }
    check_names_all_that_is_wrong(&stage, &authority, &entries).await;
    swap_by(&stage, &entries);

    let reads = LoadOptions { rate: 100, writes_permille: 0, ..LoadOptions::new(targets[1], HOST) };
    let reads = Load::start(reads).unwrap();
    let load = LoadOptions { rate: 200, ..LoadOptions::new(targets[0], HOST) };
    let options = TrialOptions::new(load, 2, Duration::from_millis(300));
    let trial = trial::run(&stage, options, |_| {}).await.expect("a trial");
    let reads = tokio::task::spawn_blocking(|| reads.stop()).await.unwrap().unwrap();

    let said: Vec<&str> = trial.swaps.iter().map(|swap| swap.run.said.as_str()).collect();
    assert!(trial.is_clean(), "{:?} {:?} {said:?}", trial.verdict, trial.recording.notes);
    assert!(reads.samples.len() > 100 && reads.failed() == 0, "{:?}", reads.notes);
    assert_eq!(stage.pair.primary_index().await.unwrap(), 0);
    for swapped in &trial.swaps {
        assert!(trial.held_count(swapped).is_some_and(|held| held > 0), "nobody was held");
    }
    for gate in &gates {
        let app = gate.status().await.apps.remove(0);
        assert_eq!((app.generation, app.summary.timed_out + app.summary.refused), (2, 0));
    }
}

/// The gates know neither the servers nor the swap that is gone.
#[cfg(feature = "fault-injection")]
#[tokio::test]
async fn f16_h42_remote_gates_open_by_their_leases_when_the_swap_is_killed() {
    let usual = Programs::find_or_build().await.expect("built by who runs the tests");
    let intermission = env!("CARGO_BIN_EXE_intermission-faults").into();
    let programs = Programs { intermission, ..usual };
    let options = StageOptions::new(Flavor::MariaDb);
    let stage = Stage::start_with(&options, programs).await.expect("a stage");
    let authority = Authority::new();
    authority.issue("gate", "127.0.0.1", false);
    let gates = [Gate::start(&stage, &authority), Gate::start(&stage, &authority)];
    let mut entries = Vec::new();
    for gate in &gates {
        entries.push(authority.swap_gate(&gate.status().await.admin_listen[0]));
    }
    swap_by(&stage, &entries);
    let text = std::fs::read_to_string(stage.configuration()).unwrap();
    let bounds = "[swap.bounds]\nlease = \"6s\"\ndrain = \"1s\"\nstatement = \"400ms\"\n";
    write(stage.configuration(), &format!("{text}{bounds}"));
    let mut swap = stage.intermission();
    swap.env("INTERMISSION_FAULT", "lose:after:perform:hold").args(["swap", "--yes"]);
    let killed = swap.output().await.unwrap();
    assert_eq!(killed.status.code(), None, "it lives: {}", String::from_utf8_lossy(&killed.stdout));
    let held = Instant::now();
    for gate in &gates {
        let app = gate.status().await.apps.remove(0);
        assert_eq!((app.state, app.generation), (AppState::Held, 1));
    }
    for gate in &gates {
        while gate.status().await.apps[0].state != AppState::Open {
            assert!(held.elapsed() < DEADLINE, "still held");
            sleep(Duration::from_millis(20)).await;
        }
    }
    let recovered = stage.intermission().arg("recover").output().await.unwrap();
    let said = String::from_utf8_lossy(&recovered.stdout);
    assert_eq!(recovered.status.code(), Some(1), "{said}");
    assert_eq!(stage.pair.primary_index().await.unwrap(), 0);
}

lab::on_both!(f15_two_remote_gates_under_load_fail_nobody);
