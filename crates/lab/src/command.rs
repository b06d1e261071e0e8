//! The lab's subcommands: arguments in, exit code out.

use std::future::Future;
use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use lab::app::{App, Checks, Ledger};
use lab::demo::DemoArgs;
use lab::faults::FaultsArgs;
use lab::forwarder::Forwarder;
use lab::gate_bench::GateBenchArgs;
use lab::pair::PairArgs;
use lab::soak::SoakArgs;
use lab::swaps::SwapsArgs;
use lab::upstream::Upstream;
use tracing_subscriber::EnvFilter;

/// Something did not start or was misused.
pub(crate) const EXIT_USAGE: u8 = 2;
/// Runtime workers of the forwarder and the app: the machine's cores are shared with two database servers.
const WORKERS: usize = 2;

/// Throwaway clusters, a ledger application, load and an oracle.
#[derive(Debug, clap::Parser)]
#[command(name = "lab", version)]
pub(crate) enum Command {
    /// Run the floating address: a TCP forwarder in front of the database.
    Forwarder(ForwarderArgs),
    /// Run the ledger application.
    App(AppArgs),
    /// Show the main job: a swap there and one back under load, and what users saw.
    Demo(DemoArgs),
    /// Break a swap in every way there is, under load, and judge what is left.
    Faults(FaultsArgs),
    /// Measure the gate beside nginx and HAProxy, and what it takes to hold many requests.
    GateBench(GateBenchArgs),
    /// Start a pair of servers to play with until Ctrl-C.
    Pair(PairArgs),
    /// Let clients of a held app come and give up for minutes: memory stays, another app does not notice.
    Soak(SoakArgs),
    /// Measure many swaps in a row under continuous load.
    Swaps(SwapsArgs),
    /// Run the application that gates are measured with: one page from memory.
    Upstream(UpstreamArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ForwarderArgs {
    /// Address to listen on; port 0 takes a free one. The bound address is printed on stdout.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where connections go at first.
    #[arg(long, value_name = "HOST:PORT", value_parser = resolve)]
    to: SocketAddr,
    /// Unix socket to make for `lab-repoint`.
    #[arg(long, value_name = "PATH")]
    control: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UpstreamArgs {
    /// Address to listen on; port 0 takes a free one. The bound address is printed on stdout.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AppArgs {
    /// Address to listen on; port 0 takes a free one. The bound address is printed on stdout.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Listen on this unix socket instead; nothing is printed then.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The database, without its password: `mysql://USER@HOST:PORT/NAME`.
    #[arg(long, value_name = "URL")]
    database: String,
    /// The environment variable that holds the password; unset means none.
    #[arg(long, value_name = "NAME", default_value = "DATABASE_PASSWORD")]
    password_env: String,
    /// Connections to the database.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pool: usize,
    /// Hand connections out without looking whether they live, as a badly kept app does.
    #[arg(long)]
    unchecked: bool,
}

impl Command {
    /// Runs the command to its end.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Forwarder(args) => {
                log_to_stderr();
                serve(run_forwarder(args))
            }
            Self::App(args) => {
                log_to_stderr();
                serve_alone(run_app(args))
            }
            Self::Demo(args) => {
                log_to_stderr();
                serve(async move { Ok(verdict(lab::demo::run(&args).await?)) })
            }
            Self::Faults(args) => {
                log_to_stderr();
                serve(async move { Ok(verdict(lab::faults::run(&args).await?)) })
            }
            Self::GateBench(args) => {
                log_to_stderr();
                serve(async move { lab::gate_bench::run(&args).await.map(|()| ExitCode::SUCCESS) })
            }
            Self::Pair(args) => {
                log_to_stderr();
                serve(async move { lab::pair::run(&args).await.map(|()| ExitCode::SUCCESS) })
            }
            Self::Soak(args) => {
                log_to_stderr();
                serve(async move { Ok(verdict(lab::soak::run(&args).await?)) })
            }
            Self::Swaps(args) => {
                log_to_stderr();
                serve(async move { Ok(verdict(lab::swaps::run(&args).await?)) })
            }
            Self::Upstream(args) => {
                log_to_stderr();
                serve_alone(run_upstream(args))
            }
        }
    }
}

async fn run_forwarder(args: ForwarderArgs) -> anyhow::Result<ExitCode> {
    let forwarder = Forwarder::bind(args.listen, args.to, &args.control).await?;
    announce(forwarder.address())?;
    forwarder.run().await;
    Ok(ExitCode::SUCCESS)
}

async fn run_upstream(args: UpstreamArgs) -> anyhow::Result<ExitCode> {
    let upstream = Upstream::bind(args.listen).await?;
    announce(upstream.address())?;
    upstream.run().await?;
    Ok(ExitCode::SUCCESS)
}

async fn run_app(args: AppArgs) -> anyhow::Result<ExitCode> {
    let password = std::env::var(&args.password_env).ok();
    let checks = if args.unchecked { Checks::Never } else { Checks::AtCheckout };
    let ledger = Ledger::new(&args.database, password, args.pool, checks)?;
    let app = match &args.socket {
        Some(path) => App::bind_unix(path, ledger)?,
        None => App::bind(args.listen, ledger).await?,
    };
    if let Some(address) = app.address() {
        announce(address)?;
    }
    app.run().await?;
    Ok(ExitCode::SUCCESS)
}

/// 0 when all is well, 1 when a request failed, a swap was not done or a write was lost.
fn verdict(clean: bool) -> ExitCode {
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the bound address, the one line a starter waits for.
fn announce(address: SocketAddr) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{address}").context("cannot print the bound address")
}

/// On this thread alone.
fn serve_alone(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?
        .block_on(work)
}

fn serve(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("cannot start a runtime")?
        .block_on(work)
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("LAB_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// One line on stderr with the whole chain of causes.
pub(crate) fn complain(error: &anyhow::Error) {
    // A closed stderr leaves nobody to tell.
    writeln!(std::io::stderr(), "lab: {error:#}").ok();
}

fn resolve(text: &str) -> Result<SocketAddr, String> {
    text.to_socket_addrs()
        .map_err(|error| error.to_string())?
        .next()
        .ok_or_else(|| "the name has no address".to_owned())
}
