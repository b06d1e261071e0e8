//! `intermission serve`

mod systemd;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::{self, AdminHandle};
use crate::cli::{Exit, block_on};
use crate::config::Config;
use crate::gate::{Gate, Inherited};
use crate::shutdown::{Shutdown, StopSignal, StopSignals};
use crate::take_over;

/// For the admin connections, after every worker has ended.
const LAST_TASKS_MAX: Duration = Duration::from_secs(1);

/// For what the audit log has not on disk yet.
const LAST_LINES_MAX: Duration = Duration::from_secs(1);

const NO_APP: &str = "the configuration has no [[app]]: a gate without one answers nobody (see examples/intermission.toml)";

pub(crate) fn run(config: &Config) -> anyhow::Result<Exit> {
    anyhow::ensure!(!config.apps.is_empty(), NO_APP);
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_env_var("INTERMISSION_LOG")
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    raise_file_limit();
    block_on(serve(config))
}

async fn serve(config: &Config) -> anyhow::Result<Exit> {
    let mut signals = StopSignals::install().context("cannot handle signals")?;
    let mut take_over = signal(SignalKind::user_defined2()).context("cannot handle signals")?;
    let shutdown = Shutdown::new();
    let tcp = admin::TcpAdmin::load(&config.gate)?;
    let (taking, mut inherited) = match take_over::begin(&config.gate)? {
        Some((taking, inherited)) => (Some(taking), inherited),
        None => (None, Inherited::from_systemd()?),
    };
    let admin = admin::bind(&config.gate, tcp, &mut inherited)?;
    let (gate, workers) = Gate::start(config, &mut inherited, &shutdown)?;
    let gate = Arc::new(gate);
    if let Err(error) = inherited.ensure_all_taken() {
        shutdown.end();
        return Err(error.into());
    }
    drop(inherited);
    let admin = Arc::new(admin.serve(&config.gate, Arc::clone(&gate)));
    let listen: Vec<_> =
        gate.listen.iter().chain(&gate.listen_tls).map(ToString::to_string).collect();
    let took_over_from = taking.as_ref().map(|taking| taking.pid);
    tracing::info!(listen = listen.join(", "), apps = gate.apps().len(), took_over_from, "serving");
    if let Some(taking) = taking
        && let Err(error) = taking.serving()
    {
        tracing::warn!(%error, "the gate that this one takes over from is gone");
    }
    systemd::watch(&gate);
    systemd::serving(took_over_from.is_some());
    let mut ended = tokio::task::spawn_blocking(move || workers.join());
    let mut stopping = Stopping { gate: Arc::clone(&gate), signals: 0 };
    let result = loop {
        tokio::select! {
            result = &mut ended => break result,
            signal = signals.next() => match signal {
                StopSignal::Hangup => {
                    systemd::reloading();
                    reload(config, &gate).await;
                    systemd::serving(false);
                }
                StopSignal::Interrupt | StopSignal::Terminate => stopping.signal(signal).await,
            },
            // Other signals are heard meanwhile.
            Some(()) = take_over.recv() => {
                drop(shutdown.spawn(give(Arc::clone(&gate), Arc::clone(&admin))));
            }
        }
    };
    // Its successor leads a predecessor of its own by this process.
    tokio::select! {
        () = gate.predecessor_has_finished() => {}
        () = shutdown.ending() => {}
        () = told_to_stop(&mut signals) => {}
    }
    shutdown.end();
    if !shutdown.tasks_ended(LAST_TASKS_MAX).await {
        tracing::warn!("admin connections were cut off");
    }
    gate.finish_audit(LAST_LINES_MAX);
    result.context("cannot wait for the workers")?.context("a worker thread failed")?;
    tracing::info!("stopped");
    Ok(Exit::Done)
}

/// Lets a successor take over. Afterwards connections that ask for nothing are closed in the end, too.
async fn give(gate: Arc<Gate>, admin: Arc<AdminHandle>) {
    match take_over::give(&gate, &admin).await {
        Ok(pid) => {
            tracing::info!(pid, "a successor has taken over; finishing what is here");
            let grace = gate.settings().await.shutdown_grace;
            tokio::select! {
                () = tokio::time::sleep(grace) => gate.shutdown.stop(),
                () = gate.shutdown.stopping() => {}
            }
        }
        Err(error) => {
            tracing::error!("no successor has taken over: {:#}", anyhow::Error::from(error));
        }
    }
}

async fn told_to_stop(signals: &mut StopSignals) {
    while signals.next().await == StopSignal::Hangup {}
}

/// Reads the file again. What cannot be used is told, and the gate goes on by what it has.
async fn reload(config: &Config, gate: &Gate) {
    let named = config.named.clone();
    let read = gate.shutdown.spawn_blocking(move || Config::load(named.as_deref()));
    let reloaded = match read.await.context("cannot read the configuration") {
        Ok(Ok(config)) if config.apps.is_empty() => Err(anyhow::anyhow!(NO_APP)),
        Ok(Ok(config)) => gate.reload(&config).await.map_err(Into::into),
        Ok(Err(error)) => Err(error.into()),
        Err(error) => Err(error),
    };
    match reloaded {
        Ok(()) => tracing::info!(apps = gate.apps().len(), "the configuration was read again"),
        Err(error) => tracing::error!("going on with the former configuration: {error:#}"),
    }
}

/// The first signal lets what is there finish, the second does not wait for it.
struct Stopping {
    gate: Arc<Gate>,
    signals: u32,
}

impl Stopping {
    async fn signal(&mut self, signal: StopSignal) {
        let (signal_name, shutdown) = (signal.name(), self.gate.shutdown.clone());
        self.signals += 1;
        if self.signals > 1 {
            tracing::warn!(signal_name, "stopping at once");
            shutdown.end();
            return;
        }
        tracing::info!(signal_name, "stopping when the requests in flight are answered");
        if shutdown.is_replaced() {
            // It had more time as long as nobody was in a hurry.
            let grace = self.gate.settings().await.shutdown_grace;
            let ending = shutdown.clone();
            drop(shutdown.spawn(async move {
                tokio::select! {
                    () = tokio::time::sleep(grace) => ending.end(),
                    () = ending.ending() => {}
                }
            }));
        } else {
            systemd::stopping();
        }
        self.gate.close_sockets();
        shutdown.stop();
    }
}

/// Each connection is an open file, and so is each connection to an upstream.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
