//! A web server of one test.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::gate::directory;
use super::harness::{assert_contains, until};

/// Dropped: killed, with all its processes.
pub(crate) struct WebServer {
    pub(crate) address: SocketAddr,
    _folder: TempDir,
    process: Child,
}

impl WebServer {
    /// With the configuration that `text` makes of its address and its folder.
    pub(crate) async fn start(
        program: &Path,
        arguments: &[&str],
        text: impl Fn(SocketAddr, &Path) -> String,
    ) -> Self {
        loop {
            // Whoever takes the port before the server does is found out by the server.
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            let folder = directory();
            let mut conf = File::create(folder.path().join("conf")).unwrap();
            conf.write_all(text(address, folder.path()).as_bytes()).unwrap();
            let process = Command::new(program)
                .args(arguments)
                .arg(folder.path().join("conf"))
                .current_dir(folder.path())
                .env("HOME", folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(File::create(folder.path().join("said")).unwrap())
                .process_group(0)
                .spawn()
                .expect("run scripts/servers");
            let said = folder.path().join("said");
            let mut server = Self { address, _folder: folder, process };
            let serves =
                until("the web server serves", async || match server.process.try_wait().unwrap() {
                    Some(_) => Some(false),
                    None => tokio::net::TcpStream::connect(address).await.is_ok().then_some(true),
                });
            if serves.await {
                return server;
            }
            assert_contains(&std::fs::read_to_string(said).unwrap(), "in use");
        }
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        let id = self.process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id
            && let Err(error) = kill_process_group(id, Signal::KILL)
        {
            println!("the web server has ended: {error}");
        }
    }
}
