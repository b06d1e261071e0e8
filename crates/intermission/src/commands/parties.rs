//! The parties of a swap as the configuration names them.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use jiff::Timestamp;

use super::gate;
use crate::{
    admin::{client::Client, gates::AdminGate},
    config::{
        Config,
        cluster::{self, Cluster, Swap, SwapGate, TlsMode},
        secret::AccountSource,
    },
    mysql::{Access, MySqlClientAddress, MySqlServer, Tls},
    swap::{
        client_address::ClientAddress,
        endpoint::{CommandEndpoint, Endpoint, Endpoints, FloatingIp, HaProxy, Host, quote},
        gates::{AllGates, Gates},
        hold_file::HoldFile,
        hook::{CommandHooks, Hook, Hooks},
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
    /// The account replicas log in with, as configured.
    replication_user: String,
    pub(super) swap: Swap,
    /// Where the old primary's power is switched.
    pub(super) ipmi: Option<String>,
}

impl Assembly {
    /// From the configuration; finds the passwords.
    pub(super) fn of(config: &Config) -> anyhow::Result<Self> {
        let cluster = config.cluster_section()?;
        let swap = config.swap_section()?;
        let servers = servers(cluster, swap)?;
        Ok(Self {
            parties: Parties {
                client_address: client_address(cluster, swap, &servers)?,
                servers: servers.into_iter().map(|server| -> Arc<dyn Server> { server }).collect(),
                gates: Arc::new(gates(config, swap)?),
                endpoint: Arc::new(endpoints(cluster, swap)?),
                hooks: Arc::new(hooks(cluster, swap)?),
                fencing: fencing(config, cluster)?,
            },
            journals: swap.journals(&config.gate),
            program: config.program(),
            replication_user: cluster.replication.user.clone(),
            swap: swap.clone(),
            ipmi: config.failover.ipmi.clone(),
        })
    }

    pub(super) fn request(&self, to: Option<String>) -> Request {
        Request {
            id: run::new_id(&self.journals, Timestamp::now()),
            program: self.program.clone(),
            to,
            replication_user: self.replication_user.clone(),
            apps: self.swap.apps.clone(),
            bounds: self.swap.bounds.clone(),
            endpoint: self.parties.endpoint.bound(),
            withdrawal: self.parties.endpoint.withdrawal(),
            canary: self.parties.client_address.is_some(),
            before_release: self.parties.hooks.bound(),
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

fn hooks(cluster: &Cluster, swap: &Swap) -> anyhow::Result<CommandHooks> {
    let hooks = swap.before_release.iter().map(|hook| {
        let (program, args) =
            hook.command.split_first().context("a command of swap.before_release is empty")?;
        let (program, args) = (program.clone(), args.to_vec());
        Ok(Hook { program, args, timeout: hook.timeout })
    });
    let hooks = hooks.collect::<anyhow::Result<_>>()?;
    Ok(CommandHooks::new(hooks, cluster.password_variables()))
}

fn fencing(config: &Config, cluster: &Cluster) -> anyhow::Result<Option<Arc<dyn Hooks>>> {
    let Some(fence) = &config.failover.fence else { return Ok(None) };
    let (program, args) = fence.command.split_first().context("failover.fence.command is empty")?;
    let hook = Hook { program: program.clone(), args: args.to_vec(), timeout: fence.timeout };
    Ok(Some(Arc::new(CommandHooks::new(vec![hook], cluster.password_variables()))))
}

fn client_address(
    cluster: &Cluster,
    swap: &Swap,
    servers: &[Arc<MySqlServer>],
) -> anyhow::Result<Option<Arc<dyn ClientAddress>>> {
    let Some(at) = &swap.client_address else { return Ok(None) };
    // The configuration sees to it that all have this account.
    let first = cluster.servers.first().context("cluster.servers is empty")?;
    let name = "the clients' address".to_owned();
    let address = Address { host: at.host.clone(), port: at.port };
    let access = Access { name, address, ..access(cluster, swap, first, first)? };
    let servers = servers.iter().map(AsRef::as_ref);
    Ok(Some(Arc::new(MySqlClientAddress::new(access, servers))))
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
    let cluster::ServerTls { mode, ca_file, ca_key } = cluster.tls_of(server);
    Ok(Access {
        name: server.name.clone(),
        address: server.address(),
        account,
        tls: Tls::new(mode, &ca_key, ca_file)?,
        clients_host: (mode == TlsMode::VerifyIdentity)
            .then(|| swap.client_address.as_ref().map(|at| at.host.clone()))
            .flatten(),
        replication: replication(server)?,
        source_replication: replication(other)?,
        database: server.database.clone(),
        exec: may_ask_host.then(|| server.exec.clone()),
        marker_schema: cluster.marker_schema.clone(),
        connect: swap.bounds.connect,
        statement: swap.bounds.statement,
    })
}

fn servers(cluster: &Cluster, swap: &Swap) -> anyhow::Result<Vec<Arc<MySqlServer>>> {
    let of = |server: &cluster::Server| {
        // With more than two every server has the same replication account.
        let other = cluster.servers.iter().find(|other| other.name != server.name);
        let other = other.context("cluster.servers names one server only")?;
        Ok(Arc::new(MySqlServer::new(access(cluster, swap, server, other)?)))
    };
    cluster.servers.iter().map(of).collect()
}

fn gates(config: &Config, swap: &Swap) -> anyhow::Result<AllGates> {
    let mut all: Vec<Arc<dyn Gates>> = Vec::new();
    if !swap.apps.is_empty() {
        for (index, gate) in swap.gates_or_own(&config.gate).into_iter().enumerate() {
            let client = match &gate {
                SwapGate::Socket(path) => Client::new(path),
                SwapGate::Remote(gate) => gate::remote(gate, index)?,
            };
            let mut program = config.program();
            if gate != SwapGate::Socket(config.gate.admin_socket.clone()) {
                program.push_str(&format!(" --gate {}", quote(&client.gate())));
            }
            let client = Arc::new(client);
            for app in &swap.apps {
                let (client, program) = (Arc::clone(&client), program.clone());
                all.push(Arc::new(AdminGate::new(client, app.clone(), program)));
            }
        }
    }
    if let Some(path) = &swap.hold_file {
        all.push(Arc::new(HoldFile::new(path.clone())));
    }
    Ok(AllGates::new(all))
}
