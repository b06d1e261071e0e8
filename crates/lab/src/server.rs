//! A throwaway `MariaDB` or `MySQL` server: a real process with durable settings, ready in a second or two, on a
//! port, a socket and a data directory of its own, gone with its owner. Knows nothing of replication.

mod config;
pub(crate) mod folder;
pub(crate) mod port;
mod series;
pub(crate) mod supervisor;
mod template;

use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mysql_async::{Conn, OptsBuilder};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::Instant;

pub use folder::{LAB_DIR_VARIABLE, lab_dir};
pub use series::{Flavor, Series, SeriesChoice, UnknownSeries};

use config::Config;
use supervisor::{Process, Supervisor};

const SOCKET: &str = "sock";
const TEMPORARY: &str = "tmp";
const ERROR_LOG: &str = "error.log";
const OPTION_FILE: &str = "my.cnf";
/// Longest path of a unix socket, less its final zero byte (`sockaddr_un`).
const SOCKET_PATH_MAX: usize = 107;
/// How long a server may take to answer, crash recovery on a busy machine included.
const READY_DEADLINE: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(20);
/// How long a server may take to end in order before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// How long the kernel may take to end a killed server.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// How often another port is tried when somebody else took the one found free.
const PORT_TRIES: u32 = 5;
/// How many lines of a server's log an error quotes.
const QUOTED_LINES: usize = 20;

/// How a server differs from the usual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    pub server_id: u32,
    /// Another series than the one its cluster is of.
    pub series: Option<Series>,
    /// Lines of the option file, such as `gtid-mode=OFF` or `skip-log-bin`; they win over the lab's own.
    pub extra: Vec<String>,
    /// The host it runs on; this machine's loopback without one.
    pub place: Option<Place>,
}

/// A host of a network of the lab's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What is put before a command to run it there.
    pub exec: Vec<String>,
    pub ip: Ipv4Addr,
}

/// The port of a server that has a host to itself.
const PLACED_PORT: u16 = 3306;

impl ServerOptions {
    pub fn new(server_id: u32) -> Self {
        Self { server_id, series: None, extra: Vec::new(), place: None }
    }

    #[must_use]
    pub fn with(mut self, line: &str) -> Self {
        self.extra.push(line.to_owned());
        self
    }
}

/// A server process and its folder. Dropping it kills the process and removes the folder.
#[derive(Debug)]
pub struct Server {
    series: Series,
    ip: Ipv4Addr,
    port: u16,
    process: Process,
    // Order matters: the supervisor ends the server and removes the folder, then `TempDir` finds it gone.
    supervisor: Supervisor,
    folder: TempDir,
}

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("{series} is not installed for the lab in {}: run scripts/servers", lab.display())]
    NotInstalled { series: Series, lab: PathBuf },
    #[error("{} does not tell its version: run scripts/servers", program.display())]
    Program { program: PathBuf },
    #[error("the {series} data directory could not be initialised: {output}")]
    Template { series: Series, output: String },
    #[error(
        "the socket path {} is longer than {SOCKET_PATH_MAX} bytes: name a shorter lab folder in {LAB_DIR_VARIABLE}",
        path.display()
    )]
    SocketPath { path: PathBuf },
    #[error("no free TCP port was found on 127.0.0.1")]
    NoPort,
    #[error("{series} on port {port} ended while it started; its log ends with:\n{log}")]
    Ended { series: Series, port: u16, log: String },
    #[error(
        "{series} on port {port} was not ready within {READY_DEADLINE:?}; its log ends with:\n{log}"
    )]
    NotReady { series: Series, port: u16, log: String },
    #[error("{series} on port {port} outlived SIGKILL by {KILL_DEADLINE:?}")]
    Unkillable { series: Series, port: u16 },
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
}

impl ServerError {
    fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// Somebody else bound the port between our look and the server's.
    fn is_port_taken(&self) -> bool {
        matches!(self, Self::Ended { log, .. }
            if log.contains("ddress already in use") || log.contains("Bind on TCP/IP port"))
    }
}

// === impl Server ===

impl Server {
    /// Ready for connections when this returns.
    pub async fn start(
        series: impl Into<Series>,
        options: &ServerOptions,
    ) -> Result<Self, ServerError> {
        let series = options.series.unwrap_or_else(|| series.into());
        let mut tries = 1;
        loop {
            let own = options.clone();
            let prepared = tokio::task::spawn_blocking(move || Self::launch(series, &own))
                .await
                .expect("launching does not panic and is not cancelled")?;
            match prepared.wait_ready().await {
                Ok(()) => return Ok(prepared),
                Err(error) if error.is_port_taken() && tries < PORT_TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Blocking: copies the template and starts the process.
    fn launch(series: Series, options: &ServerOptions) -> Result<Self, ServerError> {
        let lab = folder::ensure_lab_dir()
            .map_err(|source| ServerError::io("cannot make the lab folder", source))?;
        let program = series.program(&lab)?;
        let template = template::ensure_template(series, &program, &lab)?;
        let run = lab.join("run");
        let making =
            |source| ServerError::io(format!("cannot make a folder in {}", run.display()), source);
        std::fs::create_dir_all(&run).map_err(making)?;
        let folder =
            tempfile::Builder::new().prefix("s").rand_bytes(8).tempdir_in(&run).map_err(making)?;
        let socket = folder.path().join(SOCKET);
        if socket.as_os_str().len() > SOCKET_PATH_MAX {
            return Err(ServerError::SocketPath { path: socket });
        }
        let mut command =
            options.place.as_ref().map(|place| place.exec.clone()).unwrap_or_default();
        command.push(program.display().to_string());
        command.push(format!("--defaults-file={}", folder.path().join(OPTION_FILE).display()));
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        // From here on the folder goes even if this process is killed.
        let mut supervisor = Supervisor::new(folder.path(), &command, &[])
            .map_err(|source| ServerError::io("cannot start setsid and /bin/sh", source))?;
        template::copy_template(&template, &folder.path().join("data"))?;
        std::fs::create_dir(folder.path().join(TEMPORARY)).map_err(making)?;
        let (ip, port) = match &options.place {
            Some(place) => (place.ip, PLACED_PORT),
            None => (Ipv4Addr::LOCALHOST, port::free_port().ok_or(ServerError::NoPort)?),
        };
        write_option_file(&Config { series, lab: &lab, folder: folder.path(), port, options })?;
        let process = supervisor.start().map_err(|source| {
            ServerError::io(format!("cannot start {}", program.display()), source)
        })?;
        Ok(Self { series, ip, port, process, supervisor, folder })
    }

    async fn wait_ready(&self) -> Result<(), ServerError> {
        let deadline = Instant::now() + READY_DEADLINE;
        loop {
            if let Ok(conn) = self.connect_root().await {
                disconnect(conn).await;
                return Ok(());
            }
            let (series, port) = (self.series, self.port);
            if self.wait_ended(READY_POLL).await? {
                return Err(ServerError::Ended { series, port, log: self.log() });
            }
            if Instant::now() > deadline {
                return Err(ServerError::NotReady { series, port, log: self.log() });
            }
        }
    }

    /// SIGKILL: a crash. Returns when the process is gone.
    pub async fn kill(&self) -> Result<(), ServerError> {
        self.signal(Signal::KILL)?;
        if self.wait_ended(KILL_DEADLINE).await? {
            Ok(())
        } else {
            Err(ServerError::Unkillable { series: self.series, port: self.port })
        }
    }

    /// SIGTERM: an orderly shutdown, killed when it takes longer than a bound.
    pub async fn stop(&self) -> Result<(), ServerError> {
        self.signal(Signal::TERM)?;
        if self.wait_ended(STOP_DEADLINE).await? { Ok(()) } else { self.kill().await }
    }

    /// Starts the server again on its data and its port, ending it in order first if it still runs.
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        self.stop().await?;
        let mut tries = 1;
        loop {
            self.process = self
                .supervisor
                .start()
                .map_err(|source| ServerError::io("cannot start the server again", source))?;
            match self.wait_ready().await {
                Err(error) if error.is_port_taken() && tries < PORT_TRIES => tries += 1,
                result => return result,
            }
        }
    }

    /// The same, with one more line in its option file for that start.
    pub async fn restart_with(&mut self, line: &str) -> Result<(), ServerError> {
        let path = self.folder.path().join(OPTION_FILE);
        let own = std::fs::read_to_string(&path)
            .map_err(|source| ServerError::io(format!("cannot read {}", path.display()), source))?;
        write(&path, &format!("{own}{line}\n"))?;
        let started = self.restart().await;
        write(&path, &own)?;
        started
    }

    /// SIGSTOP: the server answers nothing, its connections stay open.
    pub fn suspend(&self) -> Result<(), ServerError> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.signal(Signal::CONT)
    }

    /// Whether the process is there, suspended or not.
    pub fn is_running(&self) -> bool {
        matches!(self.process.has_ended(), Ok(false))
    }

    fn signal(&self, signal: Signal) -> Result<(), ServerError> {
        self.process
            .signal(signal)
            .map_err(|source| ServerError::io(format!("cannot signal {}", self.series), source))
    }

    async fn wait_ended(&self, deadline: Duration) -> Result<bool, ServerError> {
        self.process
            .wait_ended(deadline)
            .await
            .map_err(|source| ServerError::io(format!("cannot watch {}", self.series), source))
    }

    pub fn flavor(&self) -> Flavor {
        self.series.flavor()
    }

    pub fn series(&self) -> Series {
        self.series
    }

    /// Of the present run; another one after [`Self::restart`].
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn address(&self) -> SocketAddr {
        (self.ip, self.port).into()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }

    /// The data directory, logs and option file; removed with the server.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// As `root`, who has no password, over the unix socket.
    pub async fn connect_root(&self) -> Result<Conn, mysql_async::Error> {
        let socket = self.socket().display().to_string();
        Conn::new(OptsBuilder::default().socket(Some(socket)).user(Some("root"))).await
    }

    /// Over TCP, as an application or an operator would.
    pub async fn connect(&self, user: &str, password: &str) -> Result<Conn, mysql_async::Error> {
        let opts = OptsBuilder::default()
            .ip_or_hostname(self.ip.to_string())
            .tcp_port(self.port)
            // The driver would otherwise look for the server's socket and change over to it.
            .prefer_socket(false)
            .user(Some(user))
            .pass(Some(password));
        Conn::new(opts).await
    }

    /// The end of the server's log and of what it wrote before it had one.
    pub fn log(&self) -> String {
        let read = |name| std::fs::read(self.folder.path().join(name)).unwrap_or_default();
        let text = [read("output.log"), read(ERROR_LOG)].concat();
        last_lines(&String::from_utf8_lossy(&text))
    }
}

/// Ends a connection in order, so that the server does not log it as aborted. Its failure tells nothing.
async fn disconnect(conn: Conn) {
    drop(conn.disconnect().await);
}

fn write_option_file(config: &Config<'_>) -> Result<(), ServerError> {
    write(&config.folder.join(OPTION_FILE), &config.render())
}

fn write(path: &Path, text: &str) -> Result<(), ServerError> {
    File::create(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| ServerError::io(format!("cannot write {}", path.display()), source))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(QUOTED_LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}
