//! What goes with a role and has to change hands with it: semi-synchronous replication and events.

use serde::{Deserialize, Serialize};

/// The two switches of semi-synchronous replication. `None`: this server does not have that half.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SemiSync {
    /// Commits wait for a replica's acknowledgement.
    pub source: Option<bool>,
    /// Acknowledges what it receives.
    pub replica: Option<bool>,
    /// As a source it waits even while no replica is there to acknowledge. Then a replica whose own source half is on
    /// waits for nobody with everything it applies (measured: its applier stands still until the timeout).
    #[serde(default)]
    pub waits_alone: bool,
}

/// The event scheduler's state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    On,
    #[default]
    Off,
    /// Off for as long as the server runs.
    Disabled,
}

/// What was found of it on one server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleSettings {
    pub semi_sync: SemiSync,
    pub scheduler: Scheduler,
}

/// A scheduled event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Event {
    pub schema: String,
    pub name: String,
    /// `user@host`, as the server tells it.
    pub definer: String,
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// The events of a server.
#[derive(Debug, Clone, Default)]
pub struct EventsView {
    /// Those that run here when the scheduler is on.
    pub enabled: Vec<Event>,
    /// Why our account may not switch them on elsewhere, in the server's words.
    pub denied: Option<String>,
    /// Why our account may not turn the scheduler on and off, in the server's words.
    pub scheduler_denied: Option<String>,
}

/// What a server is to be set to. `None` leaves what it has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    pub semi_sync: SemiSync,
    /// Whether the event scheduler runs.
    pub scheduler: Option<bool>,
    /// Milliseconds between two of the applier's checkpoints; of MySQL.
    pub checkpoint_ms: Option<u32>,
}

impl Wanted {
    #[must_use]
    pub fn source_half(on: bool) -> Self {
        let semi_sync = SemiSync { source: Some(on), ..SemiSync::default() };
        Self { semi_sync, ..Self::default() }
    }

    #[must_use]
    pub fn scheduler(on: bool) -> Self {
        Self { scheduler: Some(on), ..Self::default() }
    }

    /// What a server with these settings has otherwise, in words.
    #[must_use]
    pub fn otherwise(&self, found: &RoleSettings, checkpoint_ms: Option<u32>) -> Vec<String> {
        let runs = found.scheduler == Scheduler::On;
        let switches = [
            ("the semi-sync source half", self.semi_sync.source, found.semi_sync.source),
            ("the semi-sync replica half", self.semi_sync.replica, found.semi_sync.replica),
            ("the event scheduler", self.scheduler, Some(runs)),
        ];
        let differs = switches.into_iter().filter_map(|(what, wanted, found)| {
            let is_on = found.unwrap_or(false);
            (wanted? != is_on).then(|| format!("{what} is {}", if is_on { "on" } else { "off" }))
        });
        let checkpoint = self.checkpoint_ms.filter(|wanted| checkpoint_ms != Some(*wanted));
        let seldom = checkpoint.map(|wanted| {
            let found = checkpoint_ms.map_or_else(|| "unknown".to_owned(), |ms| format!("{ms} ms"));
            format!("the applier's checkpoint period is {found} and not {wanted} ms")
        });
        differs.chain(seldom).collect()
    }
}

/// How often an applier tells how far it has come while users wait for it, in milliseconds: the least there is.
pub const CHECKPOINT_MS: u32 = 1;

/// The settings of both servers before a swap, and what has to be done about them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    pub old: RoleSettings,
    pub new: RoleSettings,
    /// Events that ran on the old primary and are to run on the new one.
    pub events: Vec<Event>,
    /// `read_only` does not stop the old primary's events (MYSQL.md §3): its scheduler has to.
    pub stops_scheduler: bool,
    /// Milliseconds, where the new primary's applier has to tell more often than that how far it has come, as long as users
    /// wait for it.
    pub checkpoint_ms: Option<u32>,
}

impl Handover {
    /// A commit on the new primary would wait for a replica it does not have yet.
    #[must_use]
    pub fn stops_semi_sync(&self) -> bool {
        self.new.semi_sync.source == Some(true)
    }

    /// Something has to be stopped before anybody waits.
    #[must_use]
    pub fn needs_ready(&self) -> bool {
        self.stops_scheduler || self.stops_semi_sync() || self.checkpoint_ms.is_some()
    }

    #[must_use]
    pub const fn needs_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The settings change hands, or what was stopped has to go on.
    #[must_use]
    pub fn needs_settings(&self) -> bool {
        self.needs_ready()
            || self.new_semi_sync() != self.new.semi_sync
            || self.old_semi_sync() != self.old.semi_sync
            || (self.needs_events() && self.old.scheduler != self.new.scheduler)
    }

    /// What the new primary has in the end: what the old one had, as far as it can.
    #[must_use]
    pub fn new_semi_sync(&self) -> SemiSync {
        taken_over(self.old.semi_sync, self.new.semi_sync)
    }

    /// What the old primary has in the end: what the new one had, but for a source half that would stop its applier.
    #[must_use]
    pub fn old_semi_sync(&self) -> SemiSync {
        let mut semi_sync = taken_over(self.new.semi_sync, self.old.semi_sync);
        if semi_sync.waits_alone {
            semi_sync.source = semi_sync.source.map(|_| false);
        }
        semi_sync
    }
}

#[cfg(test)]
impl Handover {
    /// One that needs every step there is for it.
    pub(crate) fn example() -> Self {
        let semi_sync = SemiSync { source: Some(true), replica: Some(true), waits_alone: false };
        let settings = RoleSettings { semi_sync, scheduler: Scheduler::On };
        let event = Event {
            schema: "shop".to_owned(),
            name: "tick".to_owned(),
            definer: "root@localhost".to_owned(),
        };
        Self {
            old: settings,
            new: settings,
            events: vec![event],
            stops_scheduler: true,
            checkpoint_ms: None,
        }
    }
}

/// `from`'s switches on a server that has `own`'s halves.
fn taken_over(from: SemiSync, own: SemiSync) -> SemiSync {
    let half = |from: Option<bool>, own: Option<bool>| own.map(|_| from.unwrap_or(false));
    SemiSync {
        source: half(from.source, own.source),
        replica: half(from.replica, own.replica),
        waits_alone: own.waits_alone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn semi_sync(source: Option<bool>, replica: Option<bool>) -> SemiSync {
        SemiSync { source, replica, waits_alone: false }
    }

    const SOURCE: SemiSync = semi_sync(Some(true), Some(false));
    const REPLICA: SemiSync = semi_sync(Some(false), Some(true));

    fn handover(old: SemiSync, new: SemiSync) -> Handover {
        let settings = |semi_sync| RoleSettings { semi_sync, scheduler: Scheduler::Off };
        Handover { old: settings(old), new: settings(new), ..Handover::default() }
    }

    #[test]
    fn nothing_is_done_where_nothing_is() {
        let none = handover(SemiSync::default(), SemiSync::default());
        assert!(!none.needs_ready() && !none.needs_events() && !none.needs_settings());
    }

    #[test]
    fn the_switches_change_hands() {
        let swap = handover(SOURCE, REPLICA);
        assert!(!swap.needs_ready() && swap.needs_settings());
        assert_eq!((swap.old_semi_sync(), swap.new_semi_sync()), (REPLICA, SOURCE));
    }

    #[test]
    fn what_was_not_done_as_wanted_is_named() {
        let found = RoleSettings { semi_sync: SOURCE, scheduler: Scheduler::Disabled };
        let otherwise = |wanted: Wanted| wanted.otherwise(&found, Some(300)).join(", ");
        let fits = Wanted { semi_sync: SOURCE, scheduler: Some(false), checkpoint_ms: Some(300) };
        assert_eq!((otherwise(fits), otherwise(Wanted::default())), Default::default());
        let wanted = Wanted { semi_sync: REPLICA, scheduler: Some(true), checkpoint_ms: Some(1) };
        assert_eq!(
            otherwise(wanted),
            "the semi-sync source half is on, the semi-sync replica half is off, the event scheduler is off, the \
             applier's checkpoint period is 300 ms and not 1 ms"
        );
        let none = RoleSettings::default();
        assert!(Wanted::source_half(false).otherwise(&none, None).is_empty());
        assert_eq!(Wanted::source_half(true).otherwise(&none, None).len(), 1);
    }

    #[test]
    fn a_half_that_is_not_there_stays_so() {
        let only_source = semi_sync(Some(true), None);
        let swap = handover(only_source, semi_sync(None, Some(true)));
        assert_eq!(swap.old_semi_sync(), semi_sync(Some(false), None));
        assert_eq!(swap.new_semi_sync(), semi_sync(None, Some(false)));
    }

    #[test]
    fn what_was_stopped_goes_on_even_where_both_have_the_same() {
        let both = semi_sync(Some(true), Some(true));
        let swap = handover(both, both);
        assert!(swap.needs_ready() && swap.needs_settings());
        assert_eq!((swap.new_semi_sync(), swap.old_semi_sync()), (both, both));
        // A replica that waits for replicas of its own would apply nothing.
        let alone = SemiSync { waits_alone: true, ..both };
        let swap = handover(alone, alone);
        assert_eq!(swap.old_semi_sync(), SemiSync { source: Some(false), ..alone });
        assert_eq!(swap.new_semi_sync(), alone);
    }
}
