//! What happens to a hold, told to those who listen and to the audit log.

use std::error::Error;
use std::time::Duration;

use hold::{Generation, Holder};

use super::{AppControl, HoldError};
use crate::admin::api::{Event, EventKind};
use crate::gate::actor::Actor;
use crate::gate::audit::{Action, Entry, Outcome};
use crate::gate::state::unix_ms;

/// A hold that is wanted.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) actor: Actor,
    pub(super) holder: Holder,
    pub(super) lease: Duration,
    pub(super) drain: Duration,
}

/// A release that is wanted, and how it is told.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) actor: Actor,
    pub(super) action: Action,
    pub(super) outcome: Outcome,
}

/// Who does what to which hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) action: Action,
    pub(super) actor: &'a Actor,
    pub(super) generation: Generation,
    /// `None` where the generation is not in force.
    pub(super) holder: Option<&'a Holder>,
}

impl Asked {
    pub(super) const fn change(&self, generation: Generation) -> Change<'_> {
        let holder = Some(&self.holder);
        Change { action: Action::Hold, actor: &self.actor, generation, holder }
    }
}

impl AppControl {
    /// Who holds, if that generation is in force.
    pub(super) fn holder_of(&self, generation: Generation) -> Option<Holder> {
        let status = self.hold.status();
        let current = status.hold.filter(|_| status.generation == generation);
        current.map(|current| current.holder)
    }

    /// Of a change that has come about.
    pub(super) fn tell(&self, change: &Change<'_>, kind: EventKind, outcome: Outcome) {
        let (app, generation) = (self.name.clone(), change.generation);
        tracing::info!(app, %generation, ?kind, actor = %change.actor, "hold");
        let event = Event { unix_ms: unix_ms(), app, generation: generation.get(), kind };
        // An error says that nobody listens.
        drop(self.events.send(event));
        self.note(change, outcome, None);
    }

    /// In the audit log.
    pub(super) fn note(&self, change: &Change<'_>, outcome: Outcome, error: Option<&dyn Error>) {
        self.audit.note(&Entry {
            app: &self.name,
            action: change.action,
            outcome,
            actor: change.actor,
            generation: Some(change.generation.get()),
            holder: change.holder.map(|holder| holder.name.as_str()),
            reason: change.holder.map(|holder| holder.reason.as_str()).filter(|it| !it.is_empty()),
            error: error.map(ToString::to_string),
        });
    }

    /// A hold that has not begun.
    pub(super) fn note_not_held(&self, asked: &Asked, error: &HoldError) {
        let is_file = matches!(asked.actor, Actor::File { .. });
        let outcome = match error {
            // A file asks again and again until it is its turn.
            HoldError::AlreadyHeld(_) if is_file => return,
            HoldError::Unwritten(_) => Outcome::Failed,
            HoldError::AlreadyHeld(_)
            | HoldError::Stale(_)
            | HoldError::DrainTimedOut { .. }
            | HoldError::ReleasedWhileDraining { .. }
            | HoldError::Predecessor { .. }
            | HoldError::Retired
            | HoldError::Stopping => Outcome::Refused,
        };
        self.audit.note(&Entry {
            app: &self.name,
            action: Action::Hold,
            outcome,
            actor: &asked.actor,
            generation: None,
            holder: Some(&asked.holder.name),
            reason: Some(asked.holder.reason.as_str()).filter(|it| !it.is_empty()),
            error: Some(error.to_string()),
        });
    }
}
