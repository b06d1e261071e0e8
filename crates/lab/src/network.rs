//! A network of its own for a stage: hosts in namespaces, on one bridge, with nothing else on it.
//!
//! A namespace lives as long as the process that was started in it: nothing has a name outside, and nothing is left
//! behind however the owner ends. Who is not root is it in a user namespace of his own, where the kernel allows that.

use std::io;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;

use crate::stage::{Part, StageError};

/// The hosts' addresses and the floating one are all of this network.
const NETWORK: [u8; 3] = [10, 77, 0];
const BITS: u8 = 24;
/// The last byte of the floating address.
const FLOATING: u8 = 100;
/// The device of every host.
pub const DEVICE: &str = "eth0";
/// How long a namespace may take to be there.
const READY_DEADLINE: Duration = Duration::from_secs(10);
const READY_POLL: Duration = Duration::from_millis(2);

/// A host: a namespace with one device on the bridge.
#[derive(Debug)]
pub struct Host {
    holder: Part,
    number: u8,
}

/// Hosts that reach each other and nobody else.
#[derive(Debug)]
pub struct Network {
    /// In the order they were asked for; their addresses count from 1.
    pub hosts: Vec<Host>,
    switch: Host,
}

impl Host {
    /// `within` is the host whose user namespace it shares, as all hosts of a network must.
    async fn start(number: u8, within: Option<&Self>) -> Result<Self, StageError> {
        let folder = Part::folder_for("namespace")?;
        let mut command = within.filter(|_| !is_root()).map(Self::exec).unwrap_or_default();
        let own_user = if is_root() || within.is_some() { "" } else { "-Ur" };
        let unshare = ["unshare", own_user, "-n", "sleep", "infinity"];
        command.extend(unshare.into_iter().filter(|word| !word.is_empty()).map(str::to_owned));
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let holder = Part::start("namespace", folder, &command, &[])?;
        let host = Self { holder, number };
        let deadline = Instant::now() + READY_DEADLINE;
        // It becomes sleep when its namespaces are made: until then a command would run somewhere else.
        while host.program()? != "sleep" {
            if host.holder.has_ended()? || Instant::now() > deadline {
                let why = "it made no namespace: neither root nor allowed user namespaces?";
                return Err(host.holder.not_ready(why.to_owned()));
            }
            tokio::time::sleep(READY_POLL).await;
        }
        host.ip(&["link", "set", "lo", "up"]).await?;
        Ok(host)
    }

    /// What is put before a command to run it on this host.
    #[must_use]
    pub fn exec(&self) -> Vec<String> {
        let mut words = self.exec_beside();
        if !is_root() {
            let last = words.len() - 1;
            words.splice(last..last, ["-U", "--preserve-credentials"].map(str::to_owned));
        }
        words
    }

    /// The same for a command that is run by one on another host of this network: it is in their user namespace already.
    #[must_use]
    pub fn exec_beside(&self) -> Vec<String> {
        let pid = self.holder.pid().to_string();
        ["nsenter", "-t", &pid, "-n", "--"].map(str::to_owned).into()
    }

    /// The name of the program that the holder is by now; empty when it is none any more.
    fn program(&self) -> Result<String, StageError> {
        let path = format!("/proc/{}/comm", self.holder.pid());
        match std::fs::read_to_string(&path) {
            Ok(name) => Ok(name.trim().to_owned()),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(source) => Err(StageError::io(format!("cannot read {path}"), source)),
        }
    }

    /// Its own address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        let [a, b, c] = NETWORK;
        Ipv4Addr::new(a, b, c, self.number)
    }

    /// The same in the IPv6 network.
    #[must_use]
    pub fn address_v6(&self) -> String {
        format!("fd77::{}", self.number)
    }

    /// Runs `ip` on this host; returns what it printed.
    pub async fn ip(&self, arguments: &[&str]) -> Result<String, StageError> {
        let words: Vec<&str> = std::iter::once("ip").chain(arguments.iter().copied()).collect();
        self.run(&words).await
    }

    /// Runs a command on this host; returns what it printed.
    pub async fn run(&self, words: &[&str]) -> Result<String, StageError> {
        let what = format!("`{}` in a namespace", words.join(" "));
        let mut exec = self.exec();
        exec.extend(words.iter().map(|word| (*word).to_owned()));
        let (program, arguments) = exec.split_first().expect("nsenter is there");
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|source| StageError::io(what.clone(), source))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(StageError::io(what, io::Error::other(said)))
    }
}

impl Network {
    /// So many hosts; the first has the floating address.
    pub async fn start(hosts: u8) -> Result<Self, StageError> {
        let switch = Host::start(0, None).await?;
        switch.ip(&["link", "add", "br0", "type", "bridge"]).await?;
        switch.ip(&["link", "set", "br0", "up"]).await?;
        let mut network = Self { hosts: Vec::new(), switch };
        for number in 1..=hosts {
            let host = Host::start(number, Some(&network.switch)).await?;
            network.connect(&host).await?;
            network.hosts.push(host);
        }
        if let Some(first) = network.hosts.first() {
            first.ip(&["addr", "add", &Self::floating_prefix(), "dev", DEVICE]).await?;
        }
        Ok(network)
    }

    async fn connect(&self, host: &Host) -> Result<(), StageError> {
        let (port, pid) = (format!("port{}", host.number), host.holder.pid().to_string());
        let switch = &self.switch;
        let pair = ["link", "add", &port, "type", "veth", "peer", "name", DEVICE, "netns", &pid];
        switch.ip(&pair).await?;
        switch.ip(&["link", "set", &port, "master", "br0", "up"]).await?;
        let (v4, v6) = (format!("{}/{BITS}", host.address()), format!("{}/64", host.address_v6()));
        host.ip(&["addr", "add", &v4, "dev", DEVICE]).await?;
        host.ip(&["addr", "add", &v6, "dev", DEVICE, "nodad"]).await?;
        host.ip(&["link", "set", DEVICE, "up"]).await?;
        Ok(())
    }

    /// From now on nothing goes from the one host to the other, or back; nobody is told. All else goes as before.
    pub async fn cut(&self, one: usize, other: usize) -> Result<(), StageError> {
        self.isolate([one, other], "on").await
    }

    /// Ends a [`Network::cut`].
    pub async fn mend(&self, one: usize, other: usize) -> Result<(), StageError> {
        self.isolate([one, other], "off").await
    }

    /// Isolated ports of a bridge reach all others, and not each other.
    async fn isolate(&self, hosts: [usize; 2], state: &str) -> Result<(), StageError> {
        for host in hosts.map(|index| self.hosts.get(index)).into_iter().flatten() {
            let port = format!("port{}", host.number);
            let set = ["link", "set", &port, "type", "bridge_slave", "isolated", state];
            self.switch.ip(&set).await?;
        }
        Ok(())
    }

    /// The address clients use.
    #[must_use]
    pub fn floating() -> Ipv4Addr {
        let [a, b, c] = NETWORK;
        Ipv4Addr::new(a, b, c, FLOATING)
    }

    /// As a host has it.
    #[must_use]
    pub fn floating_prefix() -> String {
        format!("{}/{BITS}", Self::floating())
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
