//! `lab pair`: a pair of servers to play with until Ctrl-C.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::{APP, OPERATOR, Pair, PairOptions, REPLICATION};
use crate::server::{Flavor, SeriesChoice, lab_dir};

#[derive(Debug, clap::Args)]
pub struct PairArgs {
    /// Which servers to start a pair of.
    #[arg(long, value_enum, default_value_t = SeriesChoice::MariaDb)]
    pub server: SeriesChoice,
}

/// Starts the pairs, prints how to reach them and ends them on Ctrl-C or SIGTERM.
pub async fn run(args: &PairArgs) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let work = async {
        let mut pairs = Vec::new();
        for series in args.server.series() {
            let pair = Pair::start(*series, &PairOptions::default()).await?;
            print(&mut std::io::stdout().lock(), &pair).context("cannot print")?;
            pairs.push(pair);
        }
        std::future::pending::<()>().await;
        anyhow::Ok(())
    };
    tokio::select! {
        result = work => result,
        result = tokio::signal::ctrl_c() => result.context("cannot listen for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}

fn print(out: &mut impl Write, pair: &Pair) -> std::io::Result<()> {
    let client = match pair.flavor() {
        Flavor::MariaDb => "mariadb".to_owned(),
        Flavor::MySql => client_path(&lab_dir()),
    };
    for (server, role) in pair.servers.iter().zip(["primary", "replica"]) {
        let (series, address, pid) = (server.series(), server.address(), server.pid());
        writeln!(
            out,
            "{series} {role} on {address}, process {pid}, data in {}",
            server.folder().display()
        )?;
        writeln!(
            out,
            "  {client} --no-defaults --user=root --socket={}",
            server.socket().display()
        )?;
    }
    for account in [OPERATOR, REPLICATION, APP] {
        writeln!(out, "  account {:8} password {}", account.user, account.password)?;
    }
    writeln!(out, "Ctrl-C ends them.")
}

fn client_path(lab: &Path) -> String {
    let client = lab.join("bin/mysql");
    client.canonicalize().unwrap_or(client).display().to_string()
}
