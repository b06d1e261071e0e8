//! A server ends with its owner, however the owner ends.

use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::server::{Series, Server, ServerOptions};
use rustix::process::{Pid, Signal, kill_process};

/// Makes [`an_owner_for_the_other_tests`] start this server and wait for its end.
const SERIES_VARIABLE: &str = "LAB_TEST_OWNER_OF";
const MARK: &str = "owned:";
const GONE_DEADLINE: Duration = Duration::from_secs(20);

/// Not a test of its own: another test runs it as a process that owns a server, and kills it.
#[tokio::test]
async fn an_owner_for_the_other_tests() {
    let Ok(series) = std::env::var(SERIES_VARIABLE) else { return };
    let series: Series = series.parse().expect("the other test names a server");
    let server = Server::start(series, &ServerOptions::new(1)).await.expect("starts");
    println!("\n{MARK}{}:{}", server.pid(), server.folder().display());
    tokio::time::sleep(3 * GONE_DEADLINE).await;
}

/// The owner, the server's process and its folder.
fn start_owner(series: Series) -> (Child, Pid, PathBuf) {
    let mut owner = Command::new(std::env::current_exe().expect("a test has a program"))
        .args(["--exact", "owner::an_owner_for_the_other_tests", "--nocapture"])
        .env(SERIES_VARIABLE, series.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test program runs");
    let lines = BufReader::new(owner.stdout.take().expect("stdout is a pipe")).lines();
    let line = lines
        .map(|line| line.expect("the owner prints text"))
        .find_map(|line| line.strip_prefix(MARK).map(str::to_owned))
        .expect("the owner tells what it owns");
    let (pid, folder) = line.split_once(':').expect("a process and a folder");
    let pid = Pid::from_raw(pid.parse().expect("a number")).expect("not zero");
    (owner, pid, folder.into())
}

fn wait_gone(pid: Pid, folder: &Path) {
    let deadline = Instant::now() + GONE_DEADLINE;
    let process = PathBuf::from(format!("/proc/{pid}"));
    while process.exists() || folder.exists() {
        assert!(Instant::now() < deadline, "{} or {} is left", process.display(), folder.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ends_with_its_owner(series: Series, signal: Signal) {
    let (mut owner, pid, folder) = start_owner(series);
    assert!(folder.join("data").is_dir() && Path::new(&format!("/proc/{pid}")).exists());
    kill_process(Pid::from_child(&owner), signal).expect("the owner runs");
    owner.wait().expect("the owner ends");
    wait_gone(pid, &folder);
}

#[test]
fn sigkill_of_the_owner_leaves_no_mariadb() {
    ends_with_its_owner(Series::MariaDb, Signal::KILL);
}

#[test]
fn sigkill_of_the_owner_leaves_no_mysql() {
    ends_with_its_owner(Series::MySql, Signal::KILL);
}

#[test]
fn ctrl_c_leaves_no_server() {
    ends_with_its_owner(Series::MariaDb, Signal::INT);
}

#[test]
fn a_suspended_server_ends_with_its_owner() {
    let (mut owner, pid, folder) = start_owner(Series::MariaDb);
    kill_process(pid, Signal::STOP).expect("the server runs");
    owner.kill().expect("the owner runs");
    owner.wait().expect("the owner ends");
    wait_gone(pid, &folder);
}

#[test]
fn a_panic_leaves_no_server() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let server = runtime.block_on(Server::start(Series::MariaDb, &ServerOptions::new(1)));
    let server = server.expect("starts");
    let pid = Pid::from_raw(server.pid().try_into().expect("fits")).expect("not zero");
    let folder = server.folder().to_owned();
    let panicking = AssertUnwindSafe(move || {
        let _owned = server;
        std::panic::resume_unwind(Box::new("a failed test"));
    });
    catch_unwind(panicking).expect_err("it panics");
    wait_gone(pid, &folder);
}

#[tokio::test]
async fn sigkill_of_the_supervisor_ends_the_server_too() {
    let server = Server::start(Series::MySql, &ServerOptions::new(1)).await.expect("starts");
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()));
    let status = status.expect("the server runs");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent");
    let parent = Pid::from_raw(parent.trim().parse().expect("a number")).expect("not zero");
    kill_process(parent, Signal::KILL).expect("the supervisor runs");
    let deadline = Instant::now() + GONE_DEADLINE;
    while server.is_running() {
        assert!(Instant::now() < deadline, "the server outlived its supervisor");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let folder = server.folder().to_owned();
    drop(server);
    assert!(!folder.exists());
}
