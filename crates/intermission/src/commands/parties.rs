//! The parties of a swap as the configuration names them.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use jiff::Timestamp;

use crate::{
    admin::gates::AdminGates,
    config::{
        Config,
        cluster::{Cluster, Swap},
    },
    mysql::{Access, MySqlServer},
    swap::{
        endpoint::CommandEndpoint,
        plan::Request,
        run::{self, Parties},
        server::Server,
    },
};

/// Everything `check`, `swap` and `recover` need.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) parties: Parties,
    pub(super) journals: PathBuf,
    pub(super) swap: Swap,
}

impl Assembly {
    /// From the configuration; finds the passwords.
    pub(super) fn of(config: &Config) -> anyhow::Result<Self> {
        let cluster =
            config.cluster.as_ref().context("the configuration has no [cluster] section")?;
        let swap = config.swap.as_ref().context("the configuration has no [swap] section")?;
        let servers = servers(cluster, swap)?;
        let socket = swap.admin_socket(&config.gate);
        let (program, args) =
            swap.endpoint.command.split_first().context("swap.endpoint.command is empty")?;
        Ok(Self {
            parties: Parties {
                servers,
                gates: Arc::new(AdminGates::new(socket, swap.apps.clone())),
                endpoint: Arc::new(CommandEndpoint::new(
                    program.clone(),
                    args.to_vec(),
                    swap.endpoint.timeout,
                    swap.endpoint.start,
                )),
            },
            journals: swap.journals(&config.gate),
            swap: swap.clone(),
        })
    }

    pub(super) fn request(&self, to: Option<String>) -> Request {
        Request {
            id: run::new_id(Timestamp::now()),
            to,
            apps: self.swap.apps.clone(),
            bounds: self.swap.bounds.clone(),
            endpoint: self.swap.endpoint.timeout,
        }
    }
}

fn servers(cluster: &Cluster, swap: &Swap) -> anyhow::Result<[Arc<dyn Server>; 2]> {
    let account = cluster.account().resolve("cluster")?;
    let replication = cluster.replication.resolve("cluster.replication")?;
    let servers: Vec<Arc<dyn Server>> = cluster
        .servers
        .iter()
        .map(|server| -> Arc<dyn Server> {
            Arc::new(MySqlServer::new(Access {
                name: server.name.clone(),
                address: server.address(),
                account: account.clone(),
                replication: replication.clone(),
                marker_schema: cluster.marker_schema.clone(),
                connect: swap.bounds.connect,
                statement: swap.bounds.statement,
            }))
        })
        .collect();
    let count = servers.len();
    <[Arc<dyn Server>; 2]>::try_from(servers)
        .map_err(|_| anyhow::anyhow!("cluster.servers names {count} servers, not two"))
}
