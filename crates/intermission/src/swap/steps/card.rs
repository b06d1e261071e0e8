//! The emergency card: the commands that finish or undo by hand what was begun, for the worst moment to be without them.
//!
//! Each line may be typed at any moment of the steps it is told for, and more than once.

use super::Steps;
use crate::swap::{machine::State, plan::kind::Kind, position::Tracking};

/// A card is read at a glance.
const EVENTS_SHOWN: usize = 20;

impl Steps {
    /// What a person does if this process or this machine is gone, as things stand.
    #[must_use]
    pub fn emergency(&self, state: &State) -> Vec<String> {
        let mut look = self.new.command_to_look();
        if self.plan.failover().is_none() {
            look.push_str(&format!(" ; {}", self.old.command_to_look()));
        }
        let mut lines = vec![
            format!("first try: {} recover", self.plan.program),
            format!("see who writes: {look}"),
        ];
        match &self.plan.kind {
            Kind::Swap => lines.extend(self.card_of_swap(state)),
            Kind::Failover(_) => lines.extend(self.card_of_failover(state)),
            Kind::Rejoin => lines.push(format!(
                "to leave it be: {} ; then {} rejoin again",
                self.old.command_to_fence(),
                self.plan.program
            )),
        }
        let events = &self.plan.handover.events;
        if !events.is_empty() {
            let shown = events.get(..EVENTS_SHOWN).unwrap_or(events);
            let more = match events.len().saturating_sub(EVENTS_SHOWN) {
                0 => String::new(),
                more => format!(" # and {more} more, which {} recover runs", self.plan.program),
            };
            let run = self.new.command_to_run_events(shown);
            lines.push(format!("if finished by hand, then for the events: {run}{more}"));
        }
        if let Some(end) = state.resume_at() {
            let (old, new) = (self.old.name(), self.new.name());
            lines.push(format!(
                "if finished by hand, then who goes by file and position, {old} too, follows {new} from {end}"
            ));
        }
        lines.extend(self.commands_to_lead(state));
        lines
    }

    fn card_of_swap(&self, state: &State) -> Vec<String> {
        let fence = self.old.command_to_fence();
        if state.is_committed() {
            return vec![format!("to finish by hand: {fence} && {}", self.opened_by_hand())];
        }
        let release = self.release_by_hand();
        let give_back = self.endpoint.command_to_give_back(self.old.address(), self.new.address());
        let give_back = give_back.map(|command| format!("{command} && ")).unwrap_or_default();
        let scheduler = if self.plan.handover.stops_scheduler {
            format!("{} && ", self.old.command_to_run_events(&[]))
        } else {
            String::new()
        };
        vec![
            format!(
                "to finish by hand: {fence} && {}{}",
                self.waited_by_hand(state),
                self.opened_by_hand()
            ),
            format!(
                "to undo by hand: {} && {} && {scheduler}{give_back}{release}",
                self.new.command_to_fence(),
                self.old.command_to_open(),
            ),
        ]
    }

    /// A dead primary is asked nothing.
    fn card_of_failover(&self, state: &State) -> Vec<String> {
        let old = self.old.name();
        if state.is_committed() {
            return vec![format!("to finish by hand: {}", self.opened_by_hand())];
        }
        let waited = match state.barrier() {
            Some(barrier) => {
                let wait = self.new.command_to_wait(barrier, &self.plan.channel.name);
                format!("{wait} && ")
            }
            None => String::new(),
        };
        vec![
            format!(
                "to finish by hand, only when {old} is off for sure and {} has applied all that it has received: {waited}{}",
                self.new.name(),
                self.opened_by_hand()
            ),
            format!(
                "to undo by hand: {} && {} && {}",
                self.new.command_to_fence(),
                self.new.command_to_start(&self.plan.channel.name),
                self.release_by_hand()
            ),
        ]
    }

    /// Without it what the new primary has received and not applied would be missing.
    fn waited_by_hand(&self, state: &State) -> String {
        match (state.barrier(), self.plan.barrier) {
            (Some(barrier), _) => {
                let wait = self.new.command_to_wait(barrier, &self.plan.channel.name);
                format!("{wait} && ")
            }
            (None, Tracking::Gtid) => {
                let wait = self.new.command_to_wait_for(&self.old.command_to_ask());
                format!("{wait} && ")
            }
            // There it has to be read off both and compared; "see who writes" shows both.
            (None, Tracking::Coordinates) => String::new(),
        }
    }

    fn opened_by_hand(&self) -> String {
        format!(
            "{} && {} && {}{}",
            self.new.command_to_open(),
            self.endpoint.command(self.new.address(), self.old.address()),
            self.hooks_by_hand(),
            self.release_by_hand()
        )
    }

    fn release_by_hand(&self) -> String {
        self.gates.commands_to_release().join(" && ")
    }

    /// Users are released whatever becomes of them.
    fn hooks_by_hand(&self) -> String {
        let commands = self.hooks.commands(self.new.address(), self.old.address());
        let commands: String =
            commands.iter().map(|(command, _)| format!("{command} ; ")).collect();
        if commands.is_empty() { commands } else { format!("{{ {commands}true ; }} && ") }
    }
}
