//! A gate of one test: the built binary with its own directory.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use intermission::admin::api::{AppState, AppStatus, HoldReply, HoldRequest, ReleaseRequest};
use intermission::admin::client::Client;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::harness::{Ran, run, soon, until};

pub(crate) const LEASE_MS: u64 = 30_000;

/// Dropped: killed, and its log shown if the test fails.
pub(crate) struct Gate {
    pub(crate) directory: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    process: Child,
    /// Not our child.
    successor: Option<Pid>,
    /// Before the command that starts it.
    prefix: Vec<String>,
}

/// The text of `[gate]`'s further keys and of `[[app]]`s.
#[derive(Default)]
pub(crate) struct Setup {
    gate: String,
    apps: String,
    prefix: Vec<String>,
    /// Where it listens; none: at any port.
    listen: Option<SocketAddr>,
}

impl Setup {
    /// One app `shop` for every host.
    pub(crate) fn shop(upstream: impl std::fmt::Display) -> Self {
        Self::default().app("shop", "*", upstream, "")
    }

    pub(crate) fn app(
        mut self,
        name: &str,
        host: &str,
        upstream: impl std::fmt::Display,
        further: &str,
    ) -> Self {
        writeln!(
            self.apps,
            "[[app]]\nname = {name:?}\nhosts = [{host:?}]\nupstreams = [\"{upstream}\"]\n{further}"
        )
        .unwrap();
        self
    }

    /// An app that a web server asks for, and that nothing goes through.
    pub(crate) fn asked(mut self, name: &str, host: &str, further: &str) -> Self {
        writeln!(self.apps, "[[app]]\nname = {name:?}\nhosts = [{host:?}]\n{further}").unwrap();
        self
    }

    /// An app of several upstreams for every host.
    pub(crate) fn shops(upstreams: &[&dyn std::fmt::Display], further: &str) -> Self {
        let all: Vec<_> = upstreams.iter().map(ToString::to_string).collect();
        Self::default().app("shop", "*", all.join("\", \""), further)
    }

    /// Starts it by another command, which runs what follows it.
    pub(crate) fn behind(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(ToString::to_string).collect();
        self
    }

    pub(crate) fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// Further lines of `[gate]`.
    pub(crate) fn gate(mut self, line: &str) -> Self {
        writeln!(self.gate, "{line}").unwrap();
        self
    }

    pub(crate) fn write(&self, directory: &TempDir) {
        let path = directory.path();
        let text = format!(
            "[gate]\nlisten = [\"{3}\"]\nadmin_socket = \"{0}/admin.sock\"\n\
             state_dir = \"{0}/state\"\n{1}{2}",
            path.display(),
            self.gate,
            self.apps,
            self.listen.map_or("127.0.0.1:0".to_owned(), |address| address.to_string()),
        );
        let file = std::fs::File::create(path.join("config.toml")).unwrap();
        std::io::Write::write_all(&mut { file }, text.as_bytes()).unwrap();
    }

    pub(crate) async fn start(self) -> Gate {
        self.start_in(directory()).await
    }

    pub(crate) async fn start_in(self, directory: TempDir) -> Gate {
        self.write(&directory);
        let process = spawn(&directory, &self.prefix);
        let client = Client::new(directory.path().join("admin.sock"));
        let address = "127.0.0.1:0".parse().unwrap();
        let mut gate =
            Gate { directory, address, client, process, successor: None, prefix: self.prefix };
        gate.wait_until_serving().await;
        gate
    }
}

impl Gate {
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    /// Where it speaks TLS.
    pub(crate) async fn tls_address(&self) -> SocketAddr {
        self.client.status().await.unwrap().listen_tls[0].parse().unwrap()
    }

    /// Resident memory.
    pub(crate) fn memory_kib(&self) -> usize {
        let path = format!("/proc/{}/status", self.process.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Where its admin API is over TCP.
    pub(crate) async fn admin_address(&self) -> SocketAddr {
        self.client.status().await.unwrap().admin_listen[0].parse().unwrap()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("config.toml")
    }

    pub(crate) fn state_file(&self, app: &str) -> PathBuf {
        self.directory.path().join(format!("state/hold-{app}.json"))
    }

    pub(crate) async fn cli(&self, arguments: &[&str]) -> Ran {
        run(&self.config(), arguments).await
    }

    pub(crate) async fn app(&self, name: &str) -> AppStatus {
        let apps = self.client.apps().await.unwrap().apps;
        apps.into_iter().find(|app| app.name == name).unwrap()
    }

    pub(crate) async fn shop(&self) -> AppStatus {
        self.app("shop").await
    }

    pub(crate) async fn hold(&self, app: &str) -> HoldReply {
        self.client.hold(app, &ask(LEASE_MS, 5_000)).await.unwrap()
    }

    pub(crate) async fn release(&self, app: &str, generation: u64) {
        self.client.release(app, &ReleaseRequest { generation }).await.unwrap();
    }

    pub(crate) async fn until_state(&self, app: &str, state: AppState) -> AppStatus {
        until(&format!("{app} is {}", state.name()), async || {
            Some(self.app(app).await).filter(|app| app.state == state)
        })
        .await
    }

    pub(crate) async fn until_held(&self, app: &str, held: usize) {
        until(&format!("{held} held"), async || (self.app(app).await.held == held).then_some(()))
            .await;
    }

    /// SIGKILL, then the same gate again.
    pub(crate) async fn crash_and_restart(&mut self) {
        self.crash();
        self.process = spawn(&self.directory, &self.prefix);
        self.wait_until_serving().await;
    }

    pub(crate) fn crash(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let own = || Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(self.successor.unwrap_or_else(own), signal).unwrap();
    }

    /// A successor takes over, which this is from then on; the predecessor's process is given back.
    pub(crate) async fn take_over(&mut self) -> Predecessor {
        let before = self.client.status().await.unwrap().pid;
        self.signal(Signal::USR2);
        let pid = until("a successor serves", async || {
            let status = self.client.status().await.ok()?;
            (status.pid != before).then_some(status.pid)
        })
        .await;
        self.successor = Some(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap());
        Predecessor(before)
    }

    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        until("the gate has ended", async || self.process.try_wait().unwrap()).await.code()
    }

    /// Starts the binary again and gives what it says when it refuses to.
    pub(crate) async fn refusal_to_start(&mut self) -> Ran {
        soon("serve ends", run(&self.config(), &["serve"])).await
    }

    pub(crate) fn log(&self) -> String {
        log(&self.directory)
    }

    /// An error in it was wanted.
    pub(crate) fn clear_log(&self) {
        let path = self.directory.path().join("log");
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
    }

    async fn wait_until_serving(&mut self) {
        let status = until("the gate serves", async || {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("serve ended: {status}\n{}", log(&self.directory));
            }
            self.client.status().await.ok()
        })
        .await;
        self.address = status.listen[0].parse().unwrap();
    }
}

/// A process that has a successor.
pub(crate) struct Predecessor(u32);

impl Predecessor {
    pub(crate) fn is_there(&self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", self.0))
            .is_ok_and(|stat| !stat.contains(") Z "))
    }

    pub(crate) async fn until_gone(&self) {
        until("the predecessor has finished", async || (!self.is_there()).then_some(())).await;
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(successor) = self.successor
            && let Err(error) = kill_process(successor, Signal::KILL)
        {
            println!("the successor has ended: {error}");
        }
        drop(self.process.kill());
        drop(self.process.wait());
        let log = log(&self.directory);
        if std::thread::panicking() {
            println!("--- the gate's log\n{log}");
        } else {
            assert!(!log.contains(" ERROR "), "the gate logged an error:\n{log}");
        }
    }
}

/// In memory: what is tested is the order of the writes, not the disk.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_error| tempfile::tempdir()).unwrap()
}

pub(crate) fn ask(lease_ms: u64, drain_ms: u64) -> HoldRequest {
    HoldRequest {
        holder: "test".to_owned(),
        reason: "because".to_owned(),
        lease_ms: Some(lease_ms),
        drain_ms: Some(drain_ms),
    }
}

fn spawn(directory: &TempDir, prefix: &[String]) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(directory.path().join("log"))
        .unwrap();
    let program = env!("CARGO_BIN_EXE_intermission").to_owned();
    let mut words = prefix.iter().cloned().chain([program]);
    Command::new(words.next().unwrap())
        .args(words)
        .arg("-c")
        .arg(directory.path().join("config.toml"))
        .arg("serve")
        // Of every frame that a flood is made of nobody wants to read.
        .env("INTERMISSION_LOG", "debug,h2=info")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn log(directory: &TempDir) -> String {
    std::fs::read_to_string(directory.path().join("log")).unwrap_or_default()
}
