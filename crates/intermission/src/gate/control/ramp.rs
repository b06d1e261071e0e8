//! A release that failures stop: it is tried again, and goes on in any case after a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hold::{Generation, Ramping};
use tokio::time::timeout;

use super::AppControl;
use super::change::Change;
use crate::admin::api::EventKind;
use crate::gate::actor::Actor;
use crate::gate::audit::{Action, Outcome};

/// One of the line may try so often.
const RETRY_EVERY: Duration = Duration::from_millis(250);

impl AppControl {
    /// Until everybody has gone on, or there is a newer hold.
    pub(super) fn look_after_release(self: &Arc<Self>, generation: Generation) {
        let control = Arc::clone(self);
        self.shutdown.spawn(async move {
            tokio::select! {
                () = control.see_off(generation) => {}
                () = control.shutdown.ending() => {}
            }
        });
    }

    async fn see_off(&self, generation: Generation) {
        let mut seen = Ramping::Running;
        loop {
            seen = self.hold.ramp_after(generation, seen).await;
            match seen {
                Ramping::Over => return,
                Ramping::Running => self.tell_ramp(generation, EventKind::ReleaseResumed),
                Ramping::Stopped => {
                    self.tell_ramp(generation, EventKind::ReleaseStopped);
                    self.try_again(generation).await;
                }
            }
        }
    }

    /// A site whose requests fail is better than one whose requests wait for ever.
    async fn try_again(&self, generation: Generation) {
        let stopped_max = self.settings().release.stopped_max;
        let overrule_at = Instant::now() + stopped_max;
        loop {
            let changed = self.hold.ramp_after(generation, Ramping::Stopped);
            if timeout(RETRY_EVERY, changed).await.is_ok() {
                return;
            }
            if Instant::now() < overrule_at {
                self.hold.retry(generation);
            } else if self.hold.overrule(generation) {
                let app = &self.name;
                tracing::warn!(app, %generation, ?stopped_max, "held requests still fail: the others go on all the same");
                return;
            }
        }
    }

    fn tell_ramp(&self, generation: Generation, kind: EventKind) {
        let app = &self.name;
        let outcome = if kind == EventKind::ReleaseStopped {
            tracing::warn!(app, %generation, "released requests fail one after the other: the others wait, one may try at a time");
            Outcome::Stopped
        } else {
            Outcome::Resumed
        };
        let actor = &Actor::Gate;
        let change = Change { action: Action::Release, actor, generation, holder: None };
        self.tell(&change, kind, outcome);
    }
}
