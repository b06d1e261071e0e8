//! `hold_file`: while the file exists the app is held, for whoever comes from a pauser in a web server that looks for one.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hold::{Generation, Holder};

use super::actor::Actor;
use super::control::{AppControl, HoldError};

/// How late the file is noticed at most.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// When a hold that was not had is tried again: a drain that took too long has cost users something.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The lease is renewed when this part of it is over.
const RENEW_AFTER_PART: u32 = 3;

impl AppControl {
    /// Looks for the app's file until the gate stops. Within a tokio runtime.
    pub(in crate::gate) fn watch_hold_file(self: &Arc<Self>) {
        let control = Arc::clone(self);
        self.shutdown.spawn(async move {
            tokio::select! {
                () = control.shutdown.stopping() => {}
                () = control.shutdown.replaced() => {}
                () = control.retired.cancelled() => {}
                () = control.follow_files() => {}
            }
        });
    }

    /// Whichever file the settings name; a hold for one that they name no more is taken back.
    async fn follow_files(self: &Arc<Self>) {
        let mut settings = self.settings.subscribe();
        loop {
            let path = settings.borrow_and_update().hold_file.clone();
            let other = async {
                while settings.changed().await.is_ok() {
                    if settings.borrow_and_update().hold_file != path {
                        return;
                    }
                }
                std::future::pending::<()>().await;
            };
            let Some(path) = path.as_deref() else {
                other.await;
                continue;
            };
            tokio::select! {
                () = other => {
                    if let Some(generation) = self.held_by(&holder_of(path).name) {
                        let actor = Actor::File { path: path.to_path_buf() };
                        self.give_up_or_log(&actor, generation).await;
                    }
                }
                () = self.follow_file(path) => {}
            }
        }
    }

    async fn follow_file(self: &Arc<Self>, path: &Path) {
        let holder = holder_of(path);
        let actor = Actor::File { path: path.to_path_buf() };
        let mut renewed = Instant::now();
        loop {
            let call = self.calls.read().await;
            let pause = match (tokio::fs::try_exists(path).await, self.held_by(&holder.name)) {
                (Ok(true), None) => {
                    renewed = Instant::now();
                    tokio::select! {
                        pause = self.hold_for_file(&actor, &holder) => pause,
                        // A hold that nobody waits for any more is taken back.
                        () = gone(path) => LOOK_EVERY,
                    }
                }
                (Ok(true), Some(generation)) => {
                    if renewed.elapsed() >= self.settings().lease / RENEW_AFTER_PART {
                        renewed = Instant::now();
                        self.renew_for_file(&actor, generation).await;
                    }
                    LOOK_EVERY
                }
                (Ok(false), Some(generation)) => {
                    self.give_up_or_log(&actor, generation).await;
                    LOOK_EVERY
                }
                (Ok(false), None) => LOOK_EVERY,
                (Err(error), _) => {
                    // What is held already ends with its lease.
                    tracing::error!(%error, path = %path.display(), "cannot look for the hold file");
                    AGAIN_AFTER
                }
            };
            drop(call);
            tokio::time::sleep(pause).await;
        }
    }

    /// Returns when to look again.
    async fn hold_for_file(self: &Arc<Self>, actor: &Actor, holder: &Holder) -> Duration {
        let (app, settings) = (&self.name, self.settings());
        match self.hold(actor.clone(), holder.clone(), settings.lease, settings.drain).await {
            // Somebody else's: after that it is the file's.
            Ok(_) | Err(HoldError::AlreadyHeld(_)) => LOOK_EVERY,
            Err(error) => {
                tracing::error!(app, %error, "not held, although the hold file exists");
                AGAIN_AFTER
            }
        }
    }

    async fn renew_for_file(self: &Arc<Self>, actor: &Actor, generation: Generation) {
        if let Err(error) = self.renew(actor, generation, self.settings().lease).await {
            tracing::debug!(app = self.name, %error, "not renewed for the hold file");
        }
    }

    async fn give_up_or_log(self: &Arc<Self>, actor: &Actor, generation: Generation) {
        if let Err(error) = self.release(actor, generation).await {
            tracing::debug!(app = self.name, %error, "released already");
        }
    }
}

fn holder_of(path: &Path) -> Holder {
    Holder { name: format!("file {}", path.display()), reason: "it exists".to_owned() }
}

async fn gone(path: &Path) {
    while !matches!(tokio::fs::try_exists(path).await, Ok(false)) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
