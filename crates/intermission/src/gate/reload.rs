//! Going over to a configuration that was read again. It is taken whole or not at all, and nobody who is being served, or
//! held, notices.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hold::State;
use tokio::sync::{MutexGuard, oneshot};
use tokio::time::timeout;

use super::certificate::CertificateError;
use super::control::AppControl;
use super::live::{Given, Lanes};
use super::state::StateError;
use super::worker::{Change, Order};
use super::{FileError, Files, Gate, certificates, given, limits};
use crate::config::Config;
use crate::config::gate::{App as AppSettings, Gate as Settings};

/// A worker takes it between two requests.
const WORKER_MAX: Duration = Duration::from_secs(5);

/// Why everything stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("{} cannot be changed by SIGHUP: let a new gate take over with SIGUSR2", keys.join(", "))]
    Fixed { keys: Vec<&'static str> },
    #[error(
        "{key} cannot be changed in a running gate, nor by a take-over: restart the gate for that"
    )]
    Bound { key: &'static str },
    #[error("the app `{app}` is missing, and it is {state}: release it first")]
    InUse { app: String, state: &'static str },
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the gate is stopping")]
    Stopping,
}

impl Gate {
    /// Serves by `config` from now on. Who is held goes on to the new upstreams.
    ///
    /// # Errors
    /// Says what cannot be changed or used; then nothing was.
    pub async fn reload(&self, config: &Config) -> Result<(), ReloadError> {
        let mut settings = self.settings.lock().await;
        ensure_changeable(&settings, &config.gate)?;
        if self.shutdown.is_stopping() || self.shutdown.is_replaced() {
            return Err(ReloadError::Stopping);
        }
        let certificates = certificates(&config.gate)?;
        let files = Files::load(config)?;
        let old = self.apps();
        let is_missing =
            |app: &&Arc<AppControl>| config.apps.iter().all(|new| new.name != app.name);
        let removed: Vec<_> = old.iter().filter(is_missing).collect();
        // As long as this is held nobody can begin to hold them.
        let _unheld = ensure_open(&removed).await?;
        let mut lanes: Vec<Lanes> = (0..self.workers).map(|_| Lanes::new()).collect();
        let (mut apps, mut made) = (Vec::new(), Vec::new());
        for app in &config.apps {
            let control = match old.iter().find(|old| old.name == app.name) {
                Some(control) => Arc::clone(control),
                None => {
                    let control = self.registry.make(app, &config.gate, &mut lanes)?;
                    made.push(Arc::clone(&control));
                    control
                }
            };
            apps.push(control);
        }

        // Nothing fails from here on.
        let new_settings = Arc::new(config.gate.clone());
        for (control, app) in apps.iter().zip(&config.apps) {
            self.apply(control, app, &settings, &new_settings);
        }
        if let (Some(watcher), Some(certificates)) = (&self.certificates, certificates) {
            watcher.replace(certificates).await;
        }
        *self.apps.write().unwrap_or_else(PoisonError::into_inner) = apps.clone();
        removed.iter().for_each(|app| app.retired.cancel());
        let given = given(&new_settings, &config.apps, &apps, files);
        self.tell_workers(&given, lanes).await;
        *settings = new_settings;
        made.iter().for_each(AppControl::watch_hold_file);
        Ok(())
    }

    fn apply(&self, control: &AppControl, app: &AppSettings, old: &Settings, new: &Settings) {
        let interval = new.upstream_resolve_interval;
        let mut standings = control.standings.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever looks a name up does so by the interval it began with.
        let kept = if old.upstream_resolve_interval == interval { &**standings } else { &[] };
        let next = self.registry.standings(app, interval, kept);
        *standings = next;
        control.hold.set_limits(limits(app));
        control.held_shares.set_max(app.held_per_client_max);
        control.settings.send_replace(Arc::new(app.clone()));
    }

    async fn tell_workers(&self, given: &Given, lanes: Vec<Lanes>) {
        let mut waiting = Vec::new();
        for (worker, lanes) in self.orders.iter().zip(lanes) {
            let (done, is_done) = oneshot::channel();
            // An error says that it is stopping.
            let change = Change { given: given.clone(), lanes, done };
            drop(worker.send(Order::Serve(change)).await);
            waiting.push(is_done);
        }
        for is_done in waiting {
            if timeout(WORKER_MAX, is_done).await.is_err() {
                tracing::error!("a worker has not taken the configuration after {WORKER_MAX:?}");
            }
        }
    }
}

/// Refuses what the sockets, files and threads of a running gate hang on. Every key is named here, so that a new one has to be
/// thought about.
fn ensure_changeable(old: &Settings, new: &Settings) -> Result<(), ReloadError> {
    for (key, is_same) in [
        ("gate.state_dir", old.state_dir == new.state_dir),
        ("gate.admin_socket", old.admin_socket == new.admin_socket),
    ] {
        if !is_same {
            return Err(ReloadError::Bound { key });
        }
    }
    let Settings {
        listen,
        listen_tls,
        threads,
        admin_socket_group,
        admin_listen,
        admin_tls,
        admin_token_env,
        admin_token_file,
        admin_read_token_env,
        admin_read_token_file,
        audit_log,
        connections_max,
        connections_per_client_max,
        state_dir: _,
        admin_socket: _,
        certificates: _,
        shutdown_grace: _,
        take_over_grace: _,
        client_head_timeout: _,
        client_body_timeout: _,
        client_write_timeout: _,
        upstream_connect_timeout: _,
        upstream_head_timeout: _,
        upstream_body_timeout: _,
        upstream_idle_timeout: _,
        upstream_idle_max: _,
        upstream_resolve_interval: _,
        endless_idle_timeout: _,
        front_timeout: _,
        error_pages: _,
        trusted_proxies: _,
        proxy_protocol_from: _,
    } = old;
    let same = [
        ("gate.listen", *listen == new.listen),
        ("gate.listen_tls", *listen_tls == new.listen_tls),
        ("gate.threads", *threads == new.threads),
        ("gate.admin_socket_group", *admin_socket_group == new.admin_socket_group),
        ("gate.admin_listen", *admin_listen == new.admin_listen),
        ("gate.admin_tls", *admin_tls == new.admin_tls),
        ("gate.admin_token_env", *admin_token_env == new.admin_token_env),
        ("gate.admin_token_file", *admin_token_file == new.admin_token_file),
        ("gate.admin_read_token_env", *admin_read_token_env == new.admin_read_token_env),
        ("gate.admin_read_token_file", *admin_read_token_file == new.admin_read_token_file),
        ("gate.audit_log", *audit_log == new.audit_log),
        ("gate.connections_max", *connections_max == new.connections_max),
        (
            "gate.connections_per_client_max",
            *connections_per_client_max == new.connections_per_client_max,
        ),
    ];
    let keys: Vec<_> =
        same.into_iter().filter(|(_, is_same)| !is_same).map(|(key, _)| key).collect();
    if keys.is_empty() { Ok(()) } else { Err(ReloadError::Fixed { keys }) }
}

async fn ensure_open<'a>(
    apps: &[&'a Arc<AppControl>],
) -> Result<Vec<MutexGuard<'a, ()>>, ReloadError> {
    let mut guards = Vec::new();
    for app in apps {
        guards.push(app.file_order.lock().await);
        let state = match app.hold.status().state {
            State::Open => continue,
            State::Draining => "draining",
            State::Held => "held",
            State::Releasing => "being released",
        };
        return Err(ReloadError::InUse { app: app.name.clone(), state });
    }
    Ok(guards)
}
