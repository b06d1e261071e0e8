//! One host that may have the floating IP, and the third place from where is asked who has it.

use std::{io, time::Duration};

use tokio::{sync::Mutex, time::timeout};

use super::{
    IpPrefix,
    output::{Link, Printed, holder_of, is_loopback, parse_link, taken_along},
};
use crate::swap::{
    endpoint::{EndpointError, quote, session::Session},
    observation::{Address, HostFound},
};

/// Says "done" when it may be told something: a shell may read on, and what it has read `ip` never sees. `-force`: a
/// command that fails, such as removing what is not there, does not end it.
const IP: &str = "echo done; exec ip -o -force -batch - 2>&1";
/// Asked last: `ip` has no other sign that it is done. Every host has it, under this name.
const ASK_LOOPBACK: &str = "link show lo\n";
/// How long a login on a host may take, before anybody waits.
const LOGIN_BOUND: Duration = Duration::from_secs(10);
/// Connections that are not cut within this are left to the server: users wait.
const CUT_BOUND: Duration = Duration::from_millis(500);
const NEIGHBOUR: &str = include_str!("../neighbour.pl");

/// Where the floating IP may be.
#[derive(Debug, Clone)]
pub struct Host {
    /// The server's configured name.
    pub server: String,
    pub address: Address,
    /// The network device, such as `eth0`.
    pub device: String,
    /// What is put before a command to run it there; empty on this machine.
    pub exec: Vec<String>,
}

/// A host and the programs that wait on it.
#[derive(Debug)]
pub(super) struct Reach {
    pub(super) host: Host,
    floating: IpPrefix,
    ip: Mutex<Option<Session>>,
    neighbour: Mutex<Option<Session>>,
    link: Mutex<Option<Link>>,
}

impl Reach {
    pub(super) fn new(host: Host, floating: IpPrefix) -> Self {
        let (ip, neighbour, link) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { host, floating, ip, neighbour, link }
    }

    /// Starts what moving the address needs, unless it waits already.
    pub(super) async fn prepare(&self, bound: Duration) -> Result<(), EndpointError> {
        self.link(bound).await?;
        let doing = "start perl, which announces the address";
        self.tell(&self.neighbour, &neighbour(), "", is_verdict, (doing, bound)).await?;
        Ok(())
    }

    /// Everything a plan wants to know of the address on this host.
    pub(super) async fn look(&self, bound: Duration) -> Result<HostFound, EndpointError> {
        let link = self.link(bound).await?;
        let addresses = self.ip("addr show\n", "list its addresses", bound).await?.lines;
        let mut along = taken_along(&addresses, self.floating);
        if !along.is_empty() && self.promotes_secondaries().await {
            along.clear();
        }
        let program = neighbour();
        let perl =
            self.tell(&self.neighbour, &program, "", is_verdict, ("start perl", bound)).await;
        let lacks = perl.err().map(|error| error.to_string());
        Ok(HostFound {
            mac: link.mac,
            device: self.host.device.clone(),
            holds_on: holder_of(&addresses, self.floating),
            takes_along: along,
            lacks,
        })
    }

    /// Ends what is left of connections by the address from when it was here before. A server's goodbye could not be sent
    /// without the address, and Linux tries for minutes: a client that comes by the same port when the address is back
    /// meets that instead of its own connection, and neither gets an answer (seen: 5 s, until the client gave up). Linux
    /// from 6.11 forgets them all. Where it cannot be done nothing is lost but that.
    pub(super) async fn forget_connections(&self) {
        let ip = self.floating.ip;
        let program = format!(
            "[ -n \"$(ip -o addr show to {ip})\" ] || ss -H -K state connected src {ip} >/dev/null; echo done"
        );
        let asked = async {
            let mut session = Session::start(&self.host.exec, &program).await?;
            session.ask("", is_verdict, LOGIN_BOUND).await
        };
        if let Err(error) = asked.await {
            tracing::debug!(server = self.host.server, %error, "old connections may be left");
        }
    }

    /// Looks which connections there are by the address, so that [`Self::cut`] need not: Linux goes through the table of all connections
    /// for that (5 ms for an empty one, measured), and ends one that it is told of in 15 µs.
    pub(super) async fn remember_connections(&self, bound: Duration) -> Result<(), EndpointError> {
        self.say("remember", "look at its connections", bound).await.map(drop)
    }

    /// Ends the connections that were remembered, and says how many: a server's session whose connection breaks ends by itself. Where it
    /// cannot be done (Linux without `CONFIG_INET_DIAG_DESTROY`) they stay.
    pub(super) async fn cut(&self) -> usize {
        let cutting = async {
            // Where nobody waits, nothing was remembered.
            if self.neighbour.lock().await.is_none() {
                return Ok(0);
            }
            let said = self.say("cut", "end its connections", CUT_BOUND).await?;
            let count = said.first().and_then(|line| line.parse().ok());
            count.ok_or_else(|| self.error("end its connections", said.join("; ")))
        };
        let why = match timeout(CUT_BOUND, cutting).await {
            Ok(Ok(count)) => return count,
            Ok(Err(error)) => error.to_string(),
            Err(late) => late.to_string(),
        };
        tracing::debug!(server = self.host.server, why, "connections are left to the server");
        0
    }

    pub(super) async fn remove(&self, bound: Duration) -> Result<(), EndpointError> {
        let (device, floating) = (&self.host.device, self.floating);
        let doing = format!("take {floating} off {device}");
        let change = format!("addr del {floating} dev {device}\naddr show to {}\n", floating.ip);
        let Printed { lines, complaints } = self.ip(&change, &doing, bound).await?;
        match lines.first() {
            None => Ok(()),
            Some(line) => Err(self.error(&doing, format!("it is still there: {line}{complaints}"))),
        }
    }

    pub(super) async fn add(&self, bound: Duration) -> Result<(), EndpointError> {
        let (device, floating) = (&self.host.device, self.floating);
        let doing = format!("put {floating} on {device}");
        // Whether somebody else has it was asked before: detection would keep an IPv6 address unused for a second.
        let nodad = if floating.ip.is_ipv6() { " nodad" } else { "" };
        let change =
            format!("addr add {floating} dev {device}{nodad}\naddr show to {}\n", floating.ip);
        let Printed { lines, complaints } = self.ip(&change, &doing, bound).await?;
        if lines.is_empty() {
            return Err(self.error(&doing, format!("it is not there afterwards{complaints}")));
        }
        Ok(())
    }

    /// Once before this returns, and some more times in the background.
    pub(super) async fn announce(&self, bound: Duration) -> Result<(), EndpointError> {
        let doing = format!("announce {}", self.floating);
        self.say("announce", &doing, bound).await.map(drop)
    }

    /// Gives the announcer an order; what it answers.
    async fn say(
        &self,
        what: &str,
        doing: &str,
        bound: Duration,
    ) -> Result<Vec<String>, EndpointError> {
        let Link { index, mac } = self.link(bound).await?;
        let order = format!("{what} {index} {mac} {}\n", self.floating.ip);
        let said =
            self.tell(&self.neighbour, &neighbour(), &order, is_verdict, (doing, bound)).await?;
        match said.iter().find(|line| line.starts_with("failed")) {
            None => Ok(said),
            Some(failed) => Err(self.error(doing, failed.clone())),
        }
    }

    pub(super) fn command_to_remove(&self) -> String {
        self.by_hand(&format!("ip addr del {} dev {}", self.floating, self.host.device))
    }

    pub(super) fn command_to_add(&self) -> String {
        let (device, floating) = (&self.host.device, self.floating);
        if floating.ip.is_ipv4() {
            let add = self.by_hand(&format!("ip addr add {floating} dev {device}"));
            let announce = self.by_hand(&format!("arping -U -c 4 -I {device} {}", floating.ip));
            format!("{add} && {announce}")
        } else {
            self.by_hand(&format!("ip addr add {floating} dev {device} nodad"))
        }
    }

    fn by_hand(&self, command: &str) -> String {
        let words: Vec<String> = self.host.exec.iter().map(|word| quote(word)).collect();
        if words.is_empty() { command.to_owned() } else { format!("{} {command}", words.join(" ")) }
    }

    async fn link(&self, bound: Duration) -> Result<Link, EndpointError> {
        let mut known = self.link.lock().await;
        if let Some(link) = known.as_ref() {
            return Ok(link.clone());
        }
        let doing = format!("find the network device {}", self.host.device);
        let show = format!("link show dev {}\n", self.host.device);
        let Printed { lines, complaints } = self.ip(&show, &doing, bound).await?;
        let Some(link) = lines.first().and_then(|line| parse_link(line)) else {
            let reason = format!("there is none, or it has no hardware address{complaints}");
            return Err(self.error(&doing, reason));
        };
        Ok(known.insert(link).clone())
    }

    /// Whether Linux keeps the secondary addresses of a network whose primary one goes. Not to know it means no.
    async fn promotes_secondaries(&self) -> bool {
        let setting = |of: &str| format!("/proc/sys/net/ipv4/conf/{of}/promote_secondaries");
        let (all, own) = (setting("all"), setting(&self.host.device));
        let read = async {
            let mut session =
                Session::start(&self.host.exec, &format!("cat {all} {own}; echo done")).await?;
            session.ask("", is_verdict, LOGIN_BOUND).await
        };
        read.await.is_ok_and(|lines| lines.iter().any(|line| line == "1"))
    }

    /// Runs commands in `ip`; returns what they printed.
    async fn ip(
        &self,
        commands: &str,
        doing: &str,
        bound: Duration,
    ) -> Result<Printed, EndpointError> {
        let lines = format!("{commands}{ASK_LOOPBACK}");
        self.tell(&self.ip, IP, &lines, is_loopback, (doing, bound)).await.map(Printed::of)
    }

    /// Tells a program something, started first if it does not wait; one that failed is given up.
    async fn tell(
        &self,
        session: &Mutex<Option<Session>>,
        program: &str,
        lines: &str,
        is_last: fn(&str) -> bool,
        (doing, bound): (&str, Duration),
    ) -> Result<Vec<String>, EndpointError> {
        let mut held = session.lock().await;
        tell(&mut held, &self.host.exec, program, lines, is_last, bound)
            .await
            .map_err(|error| self.error(doing, error.to_string()))
    }

    fn error(&self, doing: &str, reason: String) -> EndpointError {
        EndpointError::Host {
            server: self.host.server.clone(),
            doing: doing.to_owned(),
            reason: match self.host.exec.as_slice() {
                [] => reason,
                words => format!("{reason} (by way of `{}`)", words.join(" ")),
            },
        }
    }
}

/// The third place: neither of the two hosts.
#[derive(Debug)]
pub(super) struct Probe {
    exec: Vec<String>,
    floating: IpPrefix,
}

impl Probe {
    pub(super) const fn new(exec: Vec<String>, floating: IpPrefix) -> Self {
        Self { exec, floating }
    }

    /// The hardware addresses that answer for the floating IP.
    ///
    /// # Errors
    /// Why nobody could be asked.
    pub(super) async fn ask(&self, bound: Duration) -> Result<Vec<String>, String> {
        let ip = self.floating.ip;
        let mut session = None;
        let route = self.ip(&mut session, &format!("route get {ip}\n"), bound).await?;
        let Printed { lines: route, complaints } = route;
        let route = route.first().cloned().unwrap_or(complaints);
        let words: Vec<&str> = route.split_whitespace().collect();
        if words.contains(&"via") {
            return Err(format!("there is a router before it: {route}"));
        }
        let device = words.iter().skip_while(|word| **word != "dev").nth(1);
        let device = match device {
            Some(device) if *device != "lo" && words.first() != Some(&"local") => *device,
            Some(_) => return Err("it is on this very machine".to_owned()),
            None => return Err(format!("there is no way to it: {route}")),
        };
        let link = self.ip(&mut session, &format!("link show dev {device}\n"), bound).await?;
        let link = link.lines.first().and_then(|line| parse_link(line));
        let Link { index, mac } =
            link.ok_or_else(|| format!("{device} has no hardware address"))?;
        let (mut session, order) = (None, format!("ask {index} {mac} {ip}\n"));
        let words = |error: io::Error| format!("cannot ask the neighbours on {device}: {error}");
        tell(&mut session, &self.exec, &neighbour(), "", is_verdict, bound).await.map_err(words)?;
        let heard = tell(&mut session, &self.exec, &neighbour(), &order, is_verdict, bound).await;
        let heard = heard.map_err(words)?;
        match heard.iter().find(|line| line.starts_with("failed")) {
            Some(failed) => Err(format!("cannot ask the neighbours on {device}: {failed}")),
            None => Ok(heard),
        }
    }

    async fn ip(
        &self,
        session: &mut Option<Session>,
        command: &str,
        bound: Duration,
    ) -> Result<Printed, String> {
        let lines = format!("{command}{ASK_LOOPBACK}");
        tell(session, &self.exec, IP, &lines, is_loopback, bound)
            .await
            .map(Printed::of)
            .map_err(|error| error.to_string())
    }
}

async fn tell(
    held: &mut Option<Session>,
    exec: &[String],
    program: &str,
    lines: &str,
    is_last: fn(&str) -> bool,
    bound: Duration,
) -> io::Result<Vec<String>> {
    let mut session = match held.take() {
        Some(session) => session,
        None => {
            let mut session = Session::start(exec, program).await?;
            session.ask("", is_verdict, LOGIN_BOUND).await?;
            session
        }
    };
    let answer =
        if lines.is_empty() { Ok(Vec::new()) } else { session.ask(lines, is_last, bound).await };
    if answer.is_ok() {
        *held = Some(session);
    }
    answer
}

fn neighbour() -> String {
    format!("exec perl -e '{NEIGHBOUR}'")
}

/// The end of the announcer's answer. What failed stays in the answer.
fn is_verdict(line: &str) -> bool {
    line == "done"
}
