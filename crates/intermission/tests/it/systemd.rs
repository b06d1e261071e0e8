//! Under systemd: what it is told, and the sockets that it passes.

use std::net::SocketAddr;
use std::path::Path;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::UnixDatagram;

use super::gate::{Setup, directory};
use super::harness::{assert_contains, run_behind, soon, until};
use super::upstream::Upstream;
use super::wire::get;

/// Listens on a port and on a unix socket, and runs what follows as systemd would.
const PASSES: &str = r#"
use Socket;
$^F = 100;
my ($port, $path) = (shift, shift);
socket(my $tcp, PF_INET, SOCK_STREAM, 0) or die $!;
setsockopt($tcp, SOL_SOCKET, SO_REUSEADDR, 1) or die $!;
bind($tcp, sockaddr_in($port, inet_aton("127.0.0.1"))) or die $!;
listen($tcp, 128) or die $!;
socket(my $unix, PF_UNIX, SOCK_STREAM, 0) or die $!;
bind($unix, sockaddr_un($path)) or die $!;
listen($unix, 128) or die $!;
fileno($tcp) == 3 && fileno($unix) == 4 or die "other files are open";
@ENV{qw(LISTEN_PID LISTEN_FDS)} = ($$, 2);
exec @ARGV or die $!;
"#;

fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

struct Systemd {
    socket: UnixDatagram,
}

impl Systemd {
    fn new(directory: &TempDir) -> Self {
        Self { socket: UnixDatagram::bind(directory.path().join("notify")).unwrap() }
    }

    async fn told(&self) -> String {
        let mut bytes = [0; 1000];
        let length = soon("a word", self.socket.recv(&mut bytes)).await.unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    fn try_told(&self) -> Option<String> {
        let mut bytes = [0; 1000];
        let length = self.socket.try_recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    /// Whatever comes before it is passed over.
    async fn until_told(&self, word: &str) -> String {
        loop {
            let told = self.told().await;
            if told.lines().any(|line| line == word) {
                return told;
            }
        }
    }
}

#[tokio::test]
async fn systemd_is_told_of_readiness_reloads_and_the_stop() {
    let upstream = Upstream::start().await;
    let directory = directory();
    let systemd = Systemd::new(&directory);
    let notify = format!("NOTIFY_SOCKET={}", directory.path().join("notify").display());
    let setup = Setup::shop(&upstream).behind(&["env", &notify]);
    let mut gate = setup.start_in(directory).await;
    assert_eq!(systemd.told().await.trim(), "READY=1");
    gate.signal(Signal::HUP);
    let told = systemd.told().await;
    assert_contains(&told, "RELOADING=1\n");
    assert_contains(&told, "MONOTONIC_USEC=");
    assert_eq!(systemd.told().await.trim(), "READY=1");
    gate.terminate();
    assert_eq!(systemd.told().await.trim(), "STOPPING=1");
    assert_eq!(gate.exit_code().await, Some(0));
}

#[tokio::test]
async fn the_watchdog_is_told_as_long_as_no_worker_thread_hangs() {
    let upstream = Upstream::start().await;
    let directory = directory();
    let systemd = Systemd::new(&directory);
    let notify = format!("NOTIFY_SOCKET={}", directory.path().join("notify").display());
    let setup = Setup::shop(&upstream).behind(&["env", &notify, "WATCHDOG_USEC=1000000"]);
    let gate = setup.gate("threads = 2").start_in(directory).await;
    for _ in 0..2 {
        systemd.until_told("WATCHDOG=1").await;
    }
    // One of the two threads stops where it is; the others go on.
    let pid = gate.client.status().await.unwrap().pid;
    let _stopped = Stopped::new(thread_of(pid, "worker-1"));
    until("it is noticed", async || gate.log().contains("a worker thread hangs").then_some(()))
        .await;
    while systemd.try_told().is_some() {}
    let noticed = gate.log().matches("a worker thread hangs").count();
    until("it is noticed again", async || {
        (gate.log().matches("a worker thread hangs").count() > noticed).then_some(())
    })
    .await;
    assert_eq!(systemd.try_told(), None, "told that all is well");
    gate.clear_log();
}

/// A thread that stands still until this is dropped. The process cannot end before that.
struct Stopped(Pid);

impl Stopped {
    fn new(thread: Pid) -> Self {
        ptrace::seize(thread, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        Self(thread)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        ptrace::detach(self.0, None).unwrap();
    }
}

/// The thread of that name.
fn thread_of(process: u32, name: &str) -> Pid {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let task = tasks.map(Result::unwrap).find(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    });
    let id = task.expect("the thread is there").file_name();
    Pid::from_raw(id.to_str().unwrap().parse().unwrap())
}

#[tokio::test]
async fn sockets_that_systemd_passes_are_listened_on_and_left_where_they_are() {
    let upstream = Upstream::start().await;
    let directory = directory();
    let address = free();
    let socket = directory.path().join("admin.sock");
    let words = ["perl", "-e", PASSES, &address.port().to_string(), socket.to_str().unwrap()];
    let setup = Setup::shop(&upstream).listen(address).gate("threads = 3").behind(&words);
    let mut gate = setup.start_in(directory).await;
    assert_eq!(gate.address, address);
    for _ in 0..10 {
        assert_eq!(get(address, "/").await.status, 200);
    }
    gate.terminate();
    assert_eq!(gate.exit_code().await, Some(0));
    assert!(socket.exists());
}

#[tokio::test]
async fn a_socket_that_nobody_asked_for_is_named() {
    let upstream = Upstream::start().await;
    let directory = directory();
    let address = free();
    let socket = directory.path().join("other.sock");
    Setup::shop(&upstream).listen(free()).write(&directory);
    let words = ["perl", "-e", PASSES, &address.port().to_string(), socket.to_str().unwrap()];
    let ran = refusal(&words, &directory.path().join("config.toml")).await;
    assert_contains(&ran, format!("systemd passed a socket for {address} that gate.listen"));
}

async fn refusal(words: &[&str], config: &Path) -> String {
    let ran = soon("serve ends", run_behind(words, config, &["serve"])).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    ran.stderr
}
