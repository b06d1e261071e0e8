//! Under systemd: what it is told, and the sockets that it passes.

use std::net::SocketAddr;
use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::UnixDatagram;

use super::gate::{Setup, directory};
use super::harness::{assert_contains, run_behind, soon};
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
async fn the_watchdog_is_told_again_and_again() {
    let upstream = Upstream::start().await;
    let directory = directory();
    let systemd = Systemd::new(&directory);
    let notify = format!("NOTIFY_SOCKET={}", directory.path().join("notify").display());
    let setup = Setup::shop(&upstream).behind(&["env", &notify, "WATCHDOG_USEC=2000000"]);
    let gate = setup.start_in(directory).await;
    for _ in 0..2 {
        systemd.until_told("WATCHDOG=1").await;
    }
    drop(gate);
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
