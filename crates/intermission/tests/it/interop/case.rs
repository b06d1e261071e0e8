//! What docs/INTEROP.md says of a case, and its programs.

use std::fs::{File, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use lab::server::lab_dir;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};

use super::super::certificate::write;
use super::super::harness::until;

pub(super) const MANUAL: &str = include_str!("../../../../../docs/INTEROP.md");

/// Its commands run in a folder that has the files of `examples/interop`.
pub(super) struct Case {
    commands: Vec<String>,
    folder: TempDir,
    /// What is written in commands and files, and what is there in the test.
    places: Vec<(String, String)>,
}

impl Case {
    pub(super) fn named(name: &str) -> Self {
        assert!(lab_dir().join("interop/recipe").exists(), "run scripts/servers");
        let row = MANUAL.lines().find(|line| line.starts_with(&format!("| `{name}` | ")));
        let cell = row.expect("docs/INTEROP.md has the case").split(" | ").nth(1).unwrap();
        let commands = cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let folder = tempfile::tempdir().unwrap();
        // Web servers leave root for somebody else.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let modules = lab_dir().canonicalize().unwrap().join("interop/usr/lib/nginx");
        let places = vec![("/usr/lib/nginx".to_owned(), modules.display().to_string())];
        Self { commands, folder, places }
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// What the manual has at `port` is at `address`.
    pub(super) fn place(&mut self, port: u16, address: SocketAddr) {
        let written = format!(":{port}");
        self.places.retain(|(there, _)| *there != written);
        self.places.push((written, format!(":{}", address.port())));
    }

    /// Runs the `number`th command to its end: all it has said, and whether it succeeded.
    pub(super) async fn run(&self, number: usize) -> (String, bool) {
        self.start(number).ended().await
    }

    pub(super) fn start(&self, number: usize) -> Program {
        self.write_files();
        let command = format!("exec {}", self.in_place(&self.commands[number]));
        let said = self.path(&format!("said-{number}-{}", fastrand::u64(..)));
        let file = File::create(&said).unwrap();
        let mut process = Command::new("sh")
            .args(["-c", &command])
            .current_dir(self.folder.path())
            .env("PATH", path())
            .env("HOME", self.folder.path())
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::piped())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap();
        Program { input: process.stdin.take(), process, said, command }
    }

    /// A server where the manual has it at `ports`, which becomes free ones.
    pub(super) async fn serve(&mut self, number: usize, ports: &[u16]) -> Server {
        loop {
            // Whoever takes a port before the server does is found out by the server.
            let free: Vec<_> =
                ports.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
            let addresses: Vec<_> = free.iter().map(|free| free.local_addr().unwrap()).collect();
            drop(free);
            for (port, address) in ports.iter().zip(&addresses) {
                self.place(*port, *address);
            }
            let mut server =
                Server { addresses, socket: None, number, program: self.start(number) };
            if server.serves().await {
                return server;
            }
            let said = server.program.said();
            assert!(said.contains("in use"), "{}: {said}", server.program.command);
        }
    }

    /// A server on a unix socket.
    pub(super) async fn serve_on(&self, number: usize, socket: &Path) -> Server {
        let socket = Some(socket.to_owned());
        let mut server =
            Server { addresses: Vec::new(), socket, number, program: self.start(number) };
        assert!(server.serves().await, "{}: {}", server.program.command, server.program.said());
        server
    }

    /// Stops it and starts it again where it was.
    pub(super) async fn restart(&self, server: &mut Server) {
        server.program.stop().await;
        server.program = self.start(server.number);
        assert!(server.serves().await, "{}: {}", server.program.command, server.program.said());
    }

    fn in_place(&self, text: &str) -> String {
        self.places
            .iter()
            .fold(text.to_owned(), |text, (written, there)| text.replace(written, there))
    }

    fn write_files(&self) {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/interop");
        for file in std::fs::read_dir(examples).unwrap() {
            let file = file.unwrap();
            let text = std::fs::read_to_string(file.path()).unwrap();
            write(&self.folder.path().join(file.file_name()), &self.in_place(&text));
        }
    }
}

/// Where what scripts/servers has unpacked comes before what the machine has.
fn path() -> String {
    let lab = lab_dir().canonicalize().unwrap();
    let unpacked = ["bin", "caddy/usr/bin", "haproxy/usr/sbin"];
    let mut folders: Vec<_> = unpacked.map(|folder| lab.join(folder).display().to_string()).into();
    folders.push(std::env::var("PATH").unwrap());
    folders.join(":")
}

pub(super) struct Server {
    pub(super) addresses: Vec<SocketAddr>,
    socket: Option<PathBuf>,
    number: usize,
    program: Program,
}

impl Server {
    /// Connections that it has not closed.
    pub(super) fn connections(&self) -> usize {
        let read = |table| std::fs::read_to_string(table).unwrap();
        if let Some(socket) = &self.socket {
            let (path, table) = (socket.to_str().unwrap(), read("/proc/net/unix"));
            let connected = |line: &&str| line.ends_with(path) && line.contains(" 03 ");
            return table.lines().filter(connected).count();
        }
        let port = |address: &SocketAddr| format!("0100007F:{:04X} 01 ", address.port());
        let established: Vec<_> = self.addresses.iter().map(port).collect();
        let to_it = |line: &&str| established.iter().any(|there| line.contains(there));
        read("/proc/net/tcp").lines().filter(to_it).count()
    }

    /// Waits until it can be connected to; false if it has ended.
    async fn serves(&mut self) -> bool {
        until("a server serves", async || {
            if self.program.has_ended() {
                return Some(false);
            }
            for address in &self.addresses {
                TcpStream::connect(address).await.ok()?;
            }
            if let Some(socket) = &self.socket {
                UnixStream::connect(socket).await.ok()?;
            }
            Some(true)
        })
        .await
    }
}

/// Dropped: killed, with all its processes.
pub(super) struct Program {
    pub(super) input: Option<ChildStdin>,
    process: Child,
    said: PathBuf,
    command: String,
}

impl Program {
    pub(super) fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.said).unwrap()).into_owned()
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    pub(super) async fn until_said(&self, what: &str) {
        let waiting = format!("{what:?} from {}", self.command);
        until(&waiting, async || self.said().contains(what).then_some(())).await;
    }

    /// All it has said, and whether it succeeded.
    pub(super) async fn ended(mut self) -> (String, bool) {
        let end = format!("the end of {}", self.command);
        let status = until(&end, async || self.process.try_wait().unwrap()).await;
        (self.said(), status.success())
    }

    async fn stop(&mut self) {
        kill_process(self.id(), Signal::TERM).unwrap();
        until(&format!("the end of {}", self.command), async || self.has_ended().then_some(()))
            .await;
    }

    fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The group is gone if none of them is left.
        let _gone = kill_process_group(self.id(), Signal::KILL);
        drop(self.process.wait());
        if std::thread::panicking() {
            println!("--- {}\n{}", self.command, self.said());
        }
    }
}
