//! Going over to a configuration that was read again. It is taken whole or not at all, and nobody who is being served, or
//! held, notices.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hold::State;
use tokio::sync::{MutexGuard, oneshot};
use tokio::time::timeout;

use super::certificate::CertificateError;
use super::control::AppControl;
use super::error_pages::ErrorPageError;
use super::live::{Given, Lanes};
use super::state::StateError;
use super::worker::{Change, Order};
use super::{AllPages, Gate, certificates, given, limits};
use crate::config::Config;
use crate::config::gate::{App as AppSettings, Gate as Settings};

/// A worker takes it between two requests.
const WORKER_MAX: Duration = Duration::from_secs(5);

/// Why everything stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("{} cannot be changed in a running gate: start the new one with SIGUSR2, or restart it", keys.join(", "))]
    Fixed { keys: Vec<&'static str> },
    #[error("the app `{app}` is missing, and it is {state}: release it first")]
    InUse { app: String, state: &'static str },
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    ErrorPage(#[from] ErrorPageError),
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
        let keys = fixed(&settings, &config.gate);
        if !keys.is_empty() {
            return Err(ReloadError::Fixed { keys });
        }
        if self.shutdown.is_stopping() || self.shutdown.is_replaced() {
            return Err(ReloadError::Stopping);
        }
        let certificates = certificates(&config.gate)?;
        let pages = AllPages::load(config)?;
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
        let given = given(&new_settings, &config.apps, &apps, pages);
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

/// Which keys differ that the sockets, files and threads of a running gate hang on.
fn fixed(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let same = [
        ("gate.listen", old.listen == new.listen),
        ("gate.listen_tls", old.listen_tls == new.listen_tls),
        ("gate.threads", old.threads == new.threads),
        ("gate.admin_socket", old.admin_socket == new.admin_socket),
        ("gate.admin_socket_group", old.admin_socket_group == new.admin_socket_group),
        ("gate.admin_listen", old.admin_listen == new.admin_listen),
        ("gate.admin_tls", old.admin_tls == new.admin_tls),
        ("gate.admin_read_token_env", old.admin_read_token_env == new.admin_read_token_env),
        ("gate.admin_read_token_file", old.admin_read_token_file == new.admin_read_token_file),
        ("gate.audit_log", old.audit_log == new.audit_log),
        ("gate.admin_token_env", old.admin_token_env == new.admin_token_env),
        ("gate.admin_token_file", old.admin_token_file == new.admin_token_file),
        ("gate.state_dir", old.state_dir == new.state_dir),
        ("gate.connections_max", old.connections_max == new.connections_max),
        (
            "gate.connections_per_client_max",
            old.connections_per_client_max == new.connections_per_client_max,
        ),
    ];
    same.into_iter().filter(|(_, is_same)| !is_same).map(|(key, _)| key).collect()
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
