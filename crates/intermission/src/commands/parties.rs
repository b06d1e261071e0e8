//! The parties of a swap as the configuration names them.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use jiff::Timestamp;

use crate::{
    admin::gates::AdminGates,
    config::{
        Config,
        cluster::{self, Cluster, Swap},
        secret::AccountSource,
    },
    mysql::{Access, MySqlClientAddress, MySqlServer},
    swap::{
        client_address::ClientAddress,
        endpoint::{CommandEndpoint, Endpoint, Endpoints, FloatingIp, HaProxy, Host, quote},
        gates::{AllGates, Gates},
        hold_file::HoldFile,
        observation::Address,
        plan::{Allowed, Request},
        run::{self, Parties},
        server::Server,
    },
};

/// Everything `check`, `swap` and `recover` need.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) parties: Parties,
    pub(super) journals: PathBuf,
    /// How an operator calls this program.
    pub(super) program: String,
    pub(super) swap: Swap,
}

impl Assembly {
    /// From the configuration; finds the passwords.
    pub(super) fn of(config: &Config) -> anyhow::Result<Self> {
        let cluster =
            config.cluster.as_ref().context("the configuration has no [cluster] section")?;
        let swap = config.swap.as_ref().context("the configuration has no [swap] section")?;
        let servers = servers(cluster, swap)?;
        Ok(Self {
            parties: Parties {
                servers,
                gates: Arc::new(gates(config, swap)),
                endpoint: Arc::new(endpoints(cluster, swap)?),
                client_address: client_address(cluster, swap)?,
            },
            journals: swap.journals(&config.gate),
            program: config.program(),
            swap: swap.clone(),
        })
    }

    pub(super) fn request(&self, to: Option<String>) -> Request {
        Request {
            id: run::new_id(Timestamp::now()),
            program: self.program.clone(),
            to,
            apps: self.swap.apps.clone(),
            bounds: self.swap.bounds.clone(),
            endpoint: self.parties.endpoint.bound(),
            withdrawal: self.parties.endpoint.withdrawal(),
            canary: self.parties.client_address.is_some(),
            allowed: Allowed {
                differences: self.swap.allow_differences.clone(),
                upgrade: self.swap.allow_upgrade,
            },
        }
    }
}

fn endpoints(cluster: &Cluster, swap: &Swap) -> anyhow::Result<Endpoints> {
    let mut all: Vec<Arc<dyn Endpoint>> = Vec::new();
    if let Some(floating) = &swap.floating_ip {
        let hosts: Option<Vec<Host>> = cluster
            .servers
            .iter()
            .map(|server| {
                Some(Host {
                    server: server.name.clone(),
                    address: server.address(),
                    device: server.device.clone()?,
                    exec: server.exec.clone(),
                })
            })
            .collect();
        let hosts = hosts.context("a server has no device for the floating IP")?;
        let probe = floating.probe.clone();
        all.push(Arc::new(FloatingIp::new(floating.address, hosts, probe, floating.timeout)));
    }
    if let Some(haproxy) = &swap.haproxy {
        let name = |server: &cluster::Server| {
            haproxy.servers.get(&server.name).unwrap_or(&server.name).clone()
        };
        let servers = cluster.servers.iter().map(|s| (s.address(), name(s))).collect();
        let (sockets, backend) = (haproxy.sockets.clone(), haproxy.backend.clone());
        all.push(Arc::new(HaProxy::new(sockets, backend, servers, haproxy.timeout)));
    }
    if let Some(endpoint) = &swap.endpoint {
        let (program, args) =
            endpoint.command.split_first().context("swap.endpoint.command is empty")?;
        let (program, args) = (program.clone(), args.to_vec());
        all.push(Arc::new(CommandEndpoint::new(program, args, endpoint.timeout, endpoint.start)));
    }
    Ok(Endpoints::new(all))
}

fn client_address(
    cluster: &Cluster,
    swap: &Swap,
) -> anyhow::Result<Option<Arc<dyn ClientAddress>>> {
    let Some(at) = &swap.client_address else { return Ok(None) };
    // The configuration sees to it that the second server's account is the same.
    let first = cluster.servers.first().context("cluster.servers is empty")?;
    let name = "the clients' address".to_owned();
    let address = Address { host: at.host.clone(), port: at.port };
    Ok(Some(Arc::new(MySqlClientAddress::new(Access {
        name,
        address,
        ..access(cluster, swap, first, first)?
    }))))
}

/// How `server` is reached, whose source may be `other`.
fn access(
    cluster: &Cluster,
    swap: &Swap,
    server: &cluster::Server,
    other: &cluster::Server,
) -> anyhow::Result<Access> {
    let of = |source: Option<&AccountSource>, usual: &AccountSource, key: &str| match source {
        Some(source) => source.resolve(&format!("cluster.servers ({}).{key}", server.name)),
        None => usual.resolve(&format!("cluster.{key}")),
    };
    let replication = |server: &cluster::Server| {
        of(server.replication.as_ref(), &cluster.replication, "replication")
    };
    let account = match &server.account {
        Some(account) => of(Some(account), account, "account")?,
        None => cluster.account().resolve("cluster")?,
    };
    // Without `exec` it is this machine only where a device of its own says so.
    let may_ask_host =
        !server.exec.is_empty() || (server.device.is_some() && swap.floating_ip.is_some());
    Ok(Access {
        name: server.name.clone(),
        address: server.address(),
        account,
        replication: replication(server)?,
        source_replication: replication(other)?,
        database: server.database.clone(),
        exec: may_ask_host.then(|| server.exec.clone()),
        marker_schema: cluster.marker_schema.clone(),
        connect: swap.bounds.connect,
        statement: swap.bounds.statement,
    })
}

fn servers(cluster: &Cluster, swap: &Swap) -> anyhow::Result<[Arc<dyn Server>; 2]> {
    let [first, second] = cluster.servers.as_slice() else {
        anyhow::bail!("cluster.servers names {} servers, not two", cluster.servers.len());
    };
    Ok([
        Arc::new(MySqlServer::new(access(cluster, swap, first, second)?)),
        Arc::new(MySqlServer::new(access(cluster, swap, second, first)?)),
    ])
}

fn gates(config: &Config, swap: &Swap) -> AllGates {
    let mut all: Vec<Arc<dyn Gates>> = Vec::new();
    if !swap.apps.is_empty() {
        for socket in swap.admin_sockets(&config.gate) {
            let mut program = config.program();
            if socket != config.gate.admin_socket {
                program.push_str(&format!(" --gate {}", quote(&socket.display().to_string())));
            }
            all.push(Arc::new(AdminGates::new(socket, swap.apps.clone(), program)));
        }
    }
    if let Some(path) = &swap.hold_file {
        all.push(Arc::new(HoldFile::new(path.clone())));
    }
    AllGates::new(all)
}
