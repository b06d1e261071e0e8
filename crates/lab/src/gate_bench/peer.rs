//! The proxies that are compared: one worker each, all on the same processor, as small a configuration as each has, kept
//! connections to the upstream.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context;

use super::processor::{MEASURED, pinned};
use crate::server::lab_dir;
use crate::server::port::free_port;
use crate::stage::{Part, wait_for_answer};

/// Idle connections to the upstream that each keeps: no fewer than there are clients at once.
const IDLE_MAX: usize = 512;
/// How often another port is tried when somebody else took the one found free.
const PORT_TRIES: u32 = 5;

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    Gate,
    Nginx,
    Haproxy,
}

/// One that runs.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) part: Part,
    pub(crate) address: SocketAddr,
}

impl Peer {
    pub const ALL: [Self; 3] = [Self::Gate, Self::Nginx, Self::Haproxy];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
        }
    }

    /// Starts it; `gate` is the product's program.
    pub(super) async fn start(self, gate: &Path, upstream: SocketAddr) -> anyhow::Result<Proxy> {
        let file = |at, folder: &Path| match self {
            Self::Gate => gate_file(at, upstream, folder, ""),
            Self::Nginx => nginx_file(at, upstream, folder),
            Self::Haproxy => haproxy_file(at, upstream),
        };
        let lab = lab_dir();
        let (program, before, after): (_, &[&str], &[&str]) = match self {
            Self::Gate => (gate.to_owned(), &["-c"], &["serve"]),
            Self::Nginx => (lab.join("bin/nginx"), &["-e", "stderr", "-c"], &[]),
            Self::Haproxy => (lab.join("haproxy/usr/sbin/haproxy"), &["-db", "-f"], &[]),
        };
        start(self.name(), &program, before, after, file).await
    }
}

/// Starts a gate whose app has `further` lines.
pub(crate) async fn start_gate(
    gate: &Path,
    upstream: SocketAddr,
    further: &str,
) -> anyhow::Result<Proxy> {
    let file = |at, folder: &Path| gate_file(at, upstream, folder, further);
    start(Peer::Gate.name(), gate, &["-c"], &["serve"], file).await
}

/// The configuration's name in the proxy's folder.
pub(crate) const FILE: &str = "configuration";

async fn start(
    name: &'static str,
    program: &Path,
    before: &[&str],
    after: &[&str],
    file: impl Fn(SocketAddr, &Path) -> String,
) -> anyhow::Result<Proxy> {
    let program = program
        .canonicalize()
        .with_context(|| format!("no {}: run scripts/servers", program.display()))?;
    let mut tries = 1;
    loop {
        let port = free_port().context("no free TCP port was found on 127.0.0.1")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let folder = Part::folder_for(name)?;
        let path = folder.path().join(FILE);
        File::create(&path)
            .and_then(|mut written| written.write_all(file(address, folder.path()).as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let [taskset, flag, processor] = pinned(MEASURED);
        let (program, path) = (program.display().to_string(), path.display().to_string());
        let command =
            [&[taskset.as_str(), &flag, &processor, &program], before, &[&path], after].concat();
        let part = Part::start(name, folder, &command, &[])?;
        match wait_for_answer(&part, address, "/").await {
            Ok(()) => return Ok(Proxy { part, address }),
            Err(_) if tries < PORT_TRIES && part.output().contains("ddress already in use") => {
                tries += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn gate_file(at: SocketAddr, upstream: SocketAddr, folder: &Path, further: &str) -> String {
    let folder = folder.display();
    format!(
        "[gate]\nlisten = [\"{at}\"]\nthreads = 1\nadmin_socket = \"{folder}/admin.sock\"\nstate_dir = \"{folder}/state\"\n\
         upstream_idle_max = {IDLE_MAX}\n\n[[app]]\nname = \"shop\"\nhosts = [\"*\"]\nupstreams = [\"{upstream}\"]\n{further}\n"
    )
}

/// Without a master: its worker would outlive it when it is killed.
fn nginx_file(at: SocketAddr, upstream: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|name| format!("{name}_temp_path {folder}/{name}; ")).concat();
    let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
    format!(
        "daemon off; master_process off; pid {folder}/pid; {user}\nevents {{ worker_connections 4096; }}\n\
         http {{ access_log off; {temporary}\n keepalive_requests 1000000000;\n\
         upstream shop {{ server {upstream}; keepalive {IDLE_MAX}; keepalive_requests 1000000000; }}\n\
         server {{ listen {at} backlog=4096; location / {{\n\
         proxy_pass http://shop; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n"
    )
}

fn haproxy_file(at: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "global\n nbthread 1\n maxconn 4096\ndefaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n \
         http-reuse always\nfrontend clients\n bind {at} backlog 4096\n default_backend shop\nbackend shop\n server shop {upstream}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate_bench::client::get;
    use crate::stage::Programs;
    use crate::upstream::{PAGE, SEEN, Upstream};

    #[tokio::test]
    async fn each_passes_requests_on_and_answers_with_the_page() {
        let upstream = Upstream::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let at = upstream.address();
        let proxies = async {
            let programs = Programs::find_or_build().await.unwrap();
            for (number, peer) in (1..).zip(Peer::ALL) {
                let proxy = peer.start(&programs.intermission, at).await.unwrap();
                let page = get(proxy.address, &format!("/{number}")).await.unwrap();
                assert_eq!(page.len(), PAGE, "{peer:?}");
                assert_eq!(get(at, SEEN).await.unwrap(), format!("{number}\n"), "{peer:?}");
            }
        };
        tokio::select! {
            ended = upstream.run() => panic!("it ended: {ended:?}"),
            () = proxies => {}
        }
    }
}
