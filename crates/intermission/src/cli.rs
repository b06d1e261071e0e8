//! The command line: what may be typed, and what the exit code says.

mod exit;
mod printer;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

pub(crate) use self::exit::Exit;
pub(crate) use self::printer::Printer;
use crate::commands::{
    check, completions, config, failover, gate, grants, guardian, hold, journal, man, recover,
    rejoin, release, serve, status, swap, warm_up,
};
use crate::config::{Config, cluster_yml};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused or rolled back, nothing changed
  2  usage or configuration, or the gate cannot be reached
  3  needs an operator

Data goes to stdout, talk to stderr. INTERMISSION_LOG sets what is logged (debug, info, warn, …).";

/// Swaps a MySQL or MariaDB primary under production load with no user noticing.
#[derive(Debug, Parser)]
#[command(name = "intermission", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// The configuration [default: ./intermission.toml, then /etc/intermission/intermission.toml]
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The cluster.yml of this cluster, below /u/mysql (or $INTERMISSION_CLUSTERS), instead of a configuration
    #[arg(short, long, global = true, value_name = "NAME", conflicts_with = "config")]
    database: Option<String>,
    /// Another gate than the configuration's own, for status, hold, release and warm-up: its admin socket, or the address of one of swap.gates
    #[arg(long, global = true, value_name = "SOCKET|HOST:PORT")]
    gate: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gate
    Serve,
    /// Show the apps: state, held requests, requests in flight, lease
    Status(status::Args),
    /// Hold an app's requests, and release them in the end whatever happens
    Hold(hold::Args),
    /// Release a held app's requests, in the order they came
    Release(release::Args),
    /// Ask an app's upstreams, past a hold, until each answers as the app's warm_up demands
    WarmUp(warm_up::Args),
    /// Say what speaks against a swap now, and change nothing
    Check(check::Args),
    /// Swap the primary and its replica
    Swap(swap::Args),
    /// Promote a replica of a primary that is dead, when it is proven to be off
    Failover(failover::Args),
    /// Make a former primary a replica of the one there is, unless it has diverged
    Rejoin(rejoin::Args),
    /// Finish or take back a swap, failover or rejoin that was interrupted
    Recover,
    /// Print the least privileges of the two accounts, as a script
    Grants(grants::Args),
    /// Past swaps: steps, timings, what users saw
    Journal(journal::Args),
    /// Look at the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Print the completions for a shell
    Completions(completions::Args),
    /// Print the manual page
    Man,
    /// Started by a swap, to take it back should that process die
    #[command(hide = true, name = guardian::SUBCOMMAND)]
    Guardian,
}

/// Runs one command; `arguments` begin with the program's name.
pub fn run<I, A>(arguments: I) -> ExitCode
where
    I: IntoIterator<Item = A>,
    A: Into<OsString> + Clone,
{
    let printer = Printer::new();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let shown = error.print();
            drop(shown);
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    match cli.run(&printer) {
        Ok(exit) => exit.into(),
        Err(error) => {
            printer.talk(format_args!("error: {error:#}"));
            Exit::of(&error).into()
        }
    }
}

/// The whole command line, for completions and the manual page.
pub(crate) fn definition() -> clap::Command {
    Cli::command()
}

/// "30s", "1m 30s", "1500ms".
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let hint = "write a time such as \"30s\" or \"1m 30s\"";
    let duration: jiff::SignedDuration =
        text.parse().map_err(|error| format!("{error}; {hint}"))?;
    match Duration::try_from(duration) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) | Err(_) => Err(format!("must be longer than nothing; {hint}")),
    }
}

impl Cli {
    fn run(self, printer: &Printer) -> anyhow::Result<Exit> {
        let named = self.database.as_deref().map(cluster_yml::path_of);
        let load = || Config::load(self.config.as_deref().or(named.as_deref()));
        let about_a_gate = matches!(
            self.command,
            Command::Status(_) | Command::Hold(_) | Command::Release(_) | Command::WarmUp(_)
        );
        anyhow::ensure!(
            self.gate.is_none() || about_a_gate,
            "--gate is for status, hold, release and warm-up; the gates of a swap are in swap.gates"
        );
        let client = || gate::client(&load()?, self.gate.as_deref());
        match self.command {
            Command::Serve => serve::run(&load()?),
            Command::Status(args) => block_on(status::run(&args, &client()?, printer)),
            Command::Hold(args) => block_on(hold::run(&args, &client()?, printer)),
            Command::Release(args) => block_on(release::run(&args, &client()?, printer)),
            Command::WarmUp(args) => block_on(warm_up::run(&args, &client()?, printer)),
            Command::Check(args) => block_on(check::run(&args, &load()?, printer)),
            Command::Swap(args) => block_on(swap::run(&args, &load()?, printer)),
            Command::Failover(args) => block_on(failover::run(&args, &load()?, printer)),
            Command::Rejoin(args) => block_on(rejoin::run(&args, &load()?, printer)),
            Command::Recover => block_on(recover::run(&load()?, printer)),
            Command::Grants(args) => grants::run(&args, &load()?, printer),
            Command::Journal(args) => journal::run(&args, &load()?, printer),
            Command::Config(command) => config::run(command, &load()?, printer),
            Command::Completions(args) => Ok(completions::run(&args, printer)),
            Command::Man => man::run(printer),
            Command::Guardian => guardian::run(),
        }
    }
}

/// Runs an async command on this thread.
pub(crate) fn block_on<F>(command: F) -> anyhow::Result<Exit>
where
    F: Future<Output = anyhow::Result<Exit>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(command)
}
