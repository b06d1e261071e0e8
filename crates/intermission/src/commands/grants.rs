//! `intermission grants`: the least privileges of the configured accounts, as a script.

use crate::{
    cli::{Exit, Printer},
    config::Config,
    mysql::grants::{Accounts, script, sibling_script},
    swap::observation::Flavor,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which servers: their privileges have other names
    #[arg(value_enum)]
    server: Kind,
    /// What the account needs on a server that only ever follows, where it has one of its own there
    #[arg(long)]
    sibling: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    #[value(name = "mariadb")]
    MariaDb,
    #[value(name = "mysql")]
    MySql,
}

pub(crate) fn run(args: &Args, config: &Config, printer: &Printer) -> anyhow::Result<Exit> {
    let cluster = config.cluster_section()?;
    let flavor = match args.server {
        Kind::MariaDb => Flavor::MariaDb,
        Kind::MySql => Flavor::MySql,
    };
    let accounts = Accounts {
        operator: &cluster.user,
        replication: &cluster.replication.user,
        marker_schema: &cluster.marker_schema,
        shows_databases: cluster.servers.iter().any(|server| server.database.is_some()),
    };
    if args.sibling {
        printer
            .talk("run this where the account of that server is made, with the password filled in");
        printer.data(sibling_script(flavor, accounts));
        return Ok(Exit::Done);
    }
    printer.talk("run this on the primary, with the passwords filled in; replication takes it to the replicas");
    printer.data(script(flavor, accounts));
    Ok(Exit::Done)
}
