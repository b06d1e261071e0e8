//! HAProxy in TCP mode, by its runtime API: one server of a backend is ready, the other in maintenance.
//!
//! What it answers to a command is not believed: the servers' state is read back from every HAProxy (HAProxy 2.6
//! management guide, "Unix Socket commands"; `show servers state` tells the administrative and the operational state).

use std::{io, time::Duration};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::{Instant, sleep, timeout},
};

use super::{Endpoint, EndpointError, EndpointView};
use crate::swap::{
    observation::Address,
    refusal::{Code, Refusal},
};

/// The longest answer, bytes: a backend of a thousand servers.
const ANSWER_MAX: u64 = 1024 * 1024;
/// How often the state is read until it is as it was told to be.
const STATE_POLL: Duration = Duration::from_millis(2);
/// `srv_op_state` of a server that takes connections.
const RUNNING: u32 = 2;
/// The bits of `srv_admin_state` of a server in maintenance: by command, inherited, or for want of an address. 0x04 is not
/// one of them: it only remembers that the configuration said `disabled`.
const MAINTENANCE: u32 = 0x01 | 0x02 | 0x20;

/// One or more HAProxies with the same backend.
#[derive(Debug)]
pub struct HaProxy {
    /// Paths of unix sockets, or `host:port`.
    sockets: Vec<String>,
    backend: String,
    /// Each server of the cluster and its name in the backend.
    servers: Vec<(Address, String)>,
    timeout: Duration,
}

/// A server's line of `show servers state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    operational: u32,
    administrative: u32,
}

impl State {
    const fn is_ready(self) -> bool {
        self.operational == RUNNING && self.administrative & MAINTENANCE == 0
    }

    const fn is_away(self) -> bool {
        self.administrative & MAINTENANCE != 0
    }
}

impl HaProxy {
    #[must_use]
    pub const fn new(
        sockets: Vec<String>,
        backend: String,
        servers: Vec<(Address, String)>,
        timeout: Duration,
    ) -> Self {
        Self { sockets, backend, servers, timeout }
    }

    fn name_of(&self, server: &Address) -> Result<&str, EndpointError> {
        let found = self.servers.iter().find(|(address, _)| address == server);
        found.map(|(_, name)| name.as_str()).ok_or_else(|| EndpointError::Host {
            server: server.to_string(),
            doing: "find it in HAProxy".to_owned(),
            reason: "it has no name there".to_owned(),
        })
    }

    /// Tells every HAProxy the same and waits until each shows `wanted`.
    async fn tell(
        &self,
        commands: &str,
        wanted: &(impl Fn(&dyn Fn(&str) -> Option<State>) -> bool + Sync),
        doing: &str,
    ) -> Result<(), EndpointError> {
        let told = self.sockets.iter().map(|socket| async move {
            let error = |reason: String| EndpointError::Host {
                server: format!("HAProxy at {socket}"),
                doing: doing.to_owned(),
                reason,
            };
            let all = timeout(self.timeout, async {
                let said = ask(socket, commands).await.map_err(|e| error(e.to_string()))?;
                self.wait_for(socket, wanted, said.trim()).await.map_err(error)
            });
            all.await.unwrap_or_else(|_| Err(error(format!("not done within {:?}", self.timeout))))
        });
        join_all(told).await.into_iter().collect()
    }

    async fn wait_for(
        &self,
        socket: &str,
        wanted: &(impl Fn(&dyn Fn(&str) -> Option<State>) -> bool + Sync),
        said: &str,
    ) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let shown = ask(socket, &self.show()).await.map_err(|error| error.to_string())?;
            if wanted(&|name| state_of(&shown, name)) {
                return Ok(());
            }
            // What it was told is wrong, and waiting does not change that.
            if !said.is_empty() {
                return Err(format!("it said: {}", first_line(said)));
            }
            if began.elapsed() * 2 > self.timeout {
                return Err(format!("its state did not become so: {}", first_line(shown.trim())));
            }
            sleep(STATE_POLL).await;
        }
    }

    fn show(&self) -> String {
        format!("show servers state {}", self.backend)
    }

    /// What is wrong with one HAProxy.
    async fn refusal(&self, socket: &str) -> Option<Refusal> {
        let shown = match timeout(self.timeout, ask(socket, &self.show())).await {
            Ok(Ok(shown)) => shown,
            Ok(Err(error)) => return Some(unusable(socket, &error.to_string())),
            Err(_) => {
                return Some(unusable(socket, &format!("no answer within {:?}", self.timeout)));
            }
        };
        let missing: Vec<&str> = self
            .servers
            .iter()
            .map(|(_, name)| name.as_str())
            .filter(|name| state_of(&shown, name).is_none())
            .collect();
        if !missing.is_empty() {
            let reason = format!(
                "its backend {:?} has no server {}: {}",
                self.backend,
                missing.join(", "),
                first_line(shown.trim())
            );
            return Some(unusable(socket, &reason));
        }
        match timeout(self.timeout, ask(socket, "show cli level")).await {
            Ok(Ok(level)) if level.trim() == "admin" => None,
            Ok(Ok(level)) => {
                let level = first_line(level.trim());
                Some(unusable(socket, &format!("the socket's level is {level:?}, not admin")))
            }
            Ok(Err(error)) => Some(unusable(socket, &error.to_string())),
            Err(_) => Some(unusable(socket, "no answer")),
        }
    }

    fn by_hand(&self, commands: &str) -> String {
        let told = self.sockets.iter().map(|socket| {
            let to = match is_path(socket) {
                true => format!("UNIX-CONNECT:{socket}"),
                false => format!("TCP:{socket}"),
            };
            format!("echo '{commands}' | socat - {}", super::quote(&to))
        });
        told.collect::<Vec<_>>().join(" && ")
    }

    fn commands(&self, to: &str, from: &str) -> String {
        let backend = &self.backend;
        format!(
            "set server {backend}/{from} state maint; set server {backend}/{to} state ready; \
             shutdown sessions server {backend}/{from}"
        )
    }
}

fn unusable(socket: &str, reason: &str) -> Refusal {
    Refusal::new(
        Code::EndpointMissing,
        format!("HAProxy at {socket} cannot be used: {reason}"),
        "correct swap.haproxy, or give HAProxy `stats socket PATH level admin` and the servers their names",
    )
}

#[async_trait]
impl Endpoint for HaProxy {
    async fn observe(&self) -> EndpointView {
        let refusals = self.sockets.iter().map(|socket| self.refusal(socket));
        let refusals = join_all(refusals).await.into_iter().flatten().collect();
        EndpointView { refusals, floating_ip: None }
    }

    fn bound(&self) -> Duration {
        self.timeout
    }

    async fn prepare(&self, _: &Address, _: &Address) -> Result<(), EndpointError> {
        Ok(())
    }

    fn withdrawal(&self) -> Option<Duration> {
        Some(self.timeout)
    }

    /// New connections are refused from here on; those there are live on until clients are led away.
    async fn withdraw(&self, old: &Address) -> Result<String, EndpointError> {
        let old = self.name_of(old)?;
        let away = format!("set server {}/{old} state maint", self.backend);
        let wanted = |state: &dyn Fn(&str) -> Option<State>| state(old).is_some_and(State::is_away);
        self.tell(&away, &wanted, &format!("take {old} away")).await?;
        Ok(String::new())
    }

    async fn point(&self, new: &Address, old: &Address) -> Result<String, EndpointError> {
        let (new, old) = (self.name_of(new)?, self.name_of(old)?);
        let wanted = |state: &dyn Fn(&str) -> Option<State>| {
            state(new).is_some_and(State::is_ready) && state(old).is_some_and(State::is_away)
        };
        let commands = self.commands(new, old);
        self.tell(&commands, &wanted, &format!("lead clients to {new}")).await?;
        Ok(String::new())
    }

    fn command(&self, new: &Address, old: &Address) -> String {
        let (Ok(new), Ok(old)) = (self.name_of(new), self.name_of(old)) else {
            return String::new();
        };
        self.by_hand(&self.commands(new, old))
    }
}

fn is_path(socket: &str) -> bool {
    socket.starts_with('/')
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("nothing")
}

/// One request; HAProxy closes after its answer.
async fn ask(socket: &str, commands: &str) -> io::Result<String> {
    if is_path(socket) {
        converse(UnixStream::connect(socket).await?, commands).await
    } else {
        converse(TcpStream::connect(socket).await?, commands).await
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    commands: &str,
) -> io::Result<String> {
    stream.write_all(format!("{commands}\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The line of a server, by the columns that the header names.
fn state_of(shown: &str, name: &str) -> Option<State> {
    let header = shown.lines().find_map(|line| line.strip_prefix("# "))?;
    let column = |wanted: &str| header.split_whitespace().position(|word| word == wanted);
    let (at, operational, administrative) =
        (column("srv_name")?, column("srv_op_state")?, column("srv_admin_state")?);
    let line = shown
        .lines()
        .filter(|line| !line.starts_with('#'))
        .find(|line| line.split_whitespace().nth(at) == Some(name))?;
    let number = |column| line.split_whitespace().nth(column)?.parse().ok();
    Some(State { operational: number(operational)?, administrative: number(administrative)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight\n\
                         3 mysql 1 db1 127.0.0.1 2 0 1\n3 mysql 2 db2 127.0.0.1 0 1 1\n\n";

    #[test]
    fn states_are_read_by_the_names_of_their_columns() {
        assert!(state_of(SHOWN, "db1").expect("there").is_ready());
        let away = state_of(SHOWN, "db2").expect("there");
        assert!(away.is_away() && !away.is_ready());
        assert_eq!(state_of(SHOWN, "db"), None);
        for broken in
            ["", "Can't find backend.\n", "# be_id srv_name\n3 db1\n", &SHOWN.replace("2 0 1", "x")]
        {
            assert_eq!(state_of(broken, "db1"), None, "{broken}");
        }
    }
}
