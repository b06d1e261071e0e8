//! What systemd is told, where it asks (sd_notify(3)): that the gate serves, reads its configuration again or stops, and as
//! long as its watchdog is on, that every worker thread goes round.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::gate::Gate;

/// Users can be served, from now on; by this process, where it was another one before.
pub(super) fn serving(took_over: bool) {
    if took_over {
        notify(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
    } else {
        notify(&[NotifyState::Ready]);
    }
}

/// Followed by [`serving`] when it is done, whatever came of it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot tell systemd of the reload"),
    }
}

pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Pets the watchdog as long as no worker thread hangs.
pub(super) fn watch(gate: &Arc<Gate>) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let watched = Arc::clone(gate);
    drop(gate.shutdown.spawn(async move {
        tokio::select! {
            () = pet(&watched, period) => {}
            () = watched.shutdown.replaced() => {}
            () = watched.shutdown.ending() => {}
        }
    }));
}

async fn pet(gate: &Gate, period: Duration) {
    loop {
        let age = gate.beat_age();
        if age < period {
            notify(&[NotifyState::Watchdog]);
        } else {
            tracing::error!(
                age_ms = age.as_millis(),
                "a worker thread hangs: systemd's watchdog is not told that all is well"
            );
        }
        // Twice as often as it must be: sd_watchdog_enabled(3).
        tokio::time::sleep(period / 2).await;
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot tell systemd");
    }
}
