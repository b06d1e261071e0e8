//! What has to change hands besides the role: can it?

use super::{Side, tracking::of_barrier};
use crate::swap::{
    observation::Flavor,
    position::Tracking,
    refusal::{Code, Refusal},
    role::{CHECKPOINT_MS, Handover, RoleSettings, Scheduler, SemiSync},
};

/// More events than this are not moved: each is a statement of its own, and between the first and the last of them two
/// servers would run some.
const EVENTS_MAX: usize = 1000;
/// How many of them a sentence names.
const EVENTS_SHOWN: usize = 5;

pub(super) fn handover(old: &Side<'_>, new: &Side<'_>) -> Handover {
    let runs = old.view.role.scheduler == Scheduler::On;
    let events = if runs { old.view.events.enabled.clone() } else { Vec::new() };
    Handover {
        old: old.view.role,
        new: new.view.role,
        // MySQL's events stop behind super_read_only by themselves.
        stops_scheduler: !events.is_empty() && old.view.flavor == Flavor::MariaDb,
        checkpoint_ms: tells_seldom(old, new),
        events,
    }
}

/// What the dead primary had is not known: a source half that was on beside the replica half was on everywhere.
pub(super) fn handover_of_the_dead(new: &Side<'_>, has_siblings: bool) -> Handover {
    let own = new.view.role;
    let source = (own.semi_sync.source == Some(true) && has_siblings).then_some(true);
    let semi_sync = SemiSync { source, ..SemiSync::default() };
    let old = RoleSettings { semi_sync, ..RoleSettings::default() };
    Handover { old, new: own, ..Handover::default() }
}

/// As a replica it waits for nobody, and acknowledges as it is set to.
pub(super) fn handover_of_the_returned(back: &Side<'_>) -> Handover {
    let own = back.view.role;
    let semi_sync = SemiSync { source: own.semi_sync.source.map(|_| false), ..own.semi_sync };
    Handover { old: own, new: RoleSettings { semi_sync, ..own }, ..Handover::default() }
}

/// Without GTIDs the wait for the barrier ends at the applier's next checkpoint: up to 300 ms later (measured).
fn tells_seldom(old: &Side<'_>, new: &Side<'_>) -> Option<u32> {
    let waits = of_barrier(old, new) == Tracking::Coordinates;
    new.view.checkpoint_ms.filter(|period| waits && *period > CHECKPOINT_MS)
}

pub(super) fn check_role(old: &Side<'_>, new: &Side<'_>) -> Vec<Refusal> {
    let mut refusals = check_semi_sync(old, new);
    refusals.extend(check_events(old, new));
    refusals
}

/// A primary whose commits wait for a replica must not become one whose commits do not, nor one that waits for ever.
fn check_semi_sync(old: &Side<'_>, new: &Side<'_>) -> Vec<Refusal> {
    let (was, will) = (old.view.role.semi_sync, new.view.role.semi_sync);
    if was.source != Some(true) {
        return Vec::new();
    }
    let missing = |side: &Side<'_>, half: &str, library: &str| {
        Refusal::new(
            Code::SemiSyncMissing,
            format!(
                "commits on {} wait for a replica (semi-sync), and {} has no semi-sync {half}",
                old.label(),
                side.label()
            ),
            format!(
                "INSTALL PLUGIN rpl_semi_sync_{half} SONAME '{library}' there, which needs it writable, or load it with \
                 plugin_load_add and restart it"
            ),
        )
    };
    let mut refusals = Vec::new();
    if will.source.is_none() {
        refusals.push(missing(new, "source", "semisync_source.so"));
    }
    if will.replica == Some(true) && was.replica.is_none() {
        refusals.push(missing(old, "replica", "semisync_replica.so"));
    }
    refusals
}

fn check_events(old: &Side<'_>, new: &Side<'_>) -> Vec<Refusal> {
    let swap = handover(old, new);
    if swap.events.is_empty() {
        return Vec::new();
    }
    let mut refusals = Vec::new();
    if swap.events.len() > EVENTS_MAX {
        refusals.push(Refusal::new(
            Code::EventsTooMany,
            format!("{} runs more than {EVENTS_MAX} events", old.label()),
            "disable those that are not needed, or SET GLOBAL event_scheduler=OFF there for the swap",
        ));
    }
    if new.view.role.scheduler == Scheduler::Disabled {
        refusals.push(Refusal::new(
            Code::EventSchedulerDisabled,
            format!(
                "{} runs {} events, and the event scheduler of {} is disabled until its restart",
                old.label(),
                swap.events.len(),
                new.label()
            ),
            format!(
                "set event_scheduler=ON in the option file of {} and restart it",
                new.seen.name
            ),
        ));
    }
    if let Some(answer) = &old.view.events.denied {
        refusals.push(denied(old, &names(&swap), &format!("switch events {answer}")));
    }
    // It is stopped on the one and may have to be started on the other.
    let turns_old = swap.stops_scheduler;
    let turns_new = swap.new.scheduler == Scheduler::Off;
    for (side, turns) in [(old, turns_old || turns_new), (new, turns_new)] {
        if let (true, Some(answer)) = (turns, &side.view.events.scheduler_denied) {
            refusals.push(denied(
                side,
                &names(&swap),
                &format!("turn the event scheduler: {answer}"),
            ));
        }
    }
    refusals
}

fn denied(side: &Side<'_>, events: &str, what: &str) -> Refusal {
    let privileges = match side.view.flavor {
        Flavor::MariaDb => "SUPER, SET USER",
        Flavor::MySql => "SET_ANY_DEFINER, SYSTEM_USER",
    };
    Refusal::new(
        Code::EventsDenied,
        format!("{}: events are to move ({events}), and our account may not {what}", side.label()),
        format!(
            "GRANT {privileges} ON *.* TO our account, or SET GLOBAL event_scheduler=OFF on the primary and see to the \
             events yourself"
        ),
    )
}

/// What stays behind on purpose.
pub(super) fn warn(old: &Side<'_>, new: &Side<'_>) -> Vec<Refusal> {
    let mut warnings = Vec::new();
    let idle = &old.view.events.enabled;
    if old.view.role.scheduler != Scheduler::On && !idle.is_empty() {
        warnings.push(Refusal::new(
            Code::EventsLeft,
            format!(
                "{} has {} events enabled that do not run, because its event scheduler is off; {} does not run them either",
                old.label(),
                idle.len(),
                new.label()
            ),
            "before you turn a scheduler on, ALTER EVENT … ENABLE on the new primary",
        ));
    }
    if old.view.role.semi_sync.source == Some(true) {
        warnings.push(Refusal::new(
            Code::SemiSyncPauses,
            format!(
                "commits on {} wait for no replica from the swap until {} follows it",
                new.label(),
                old.label()
            ),
            "nothing to do: it is a second or so, and the last step sees to it",
        ));
    }
    warnings
}

fn names(swap: &Handover) -> String {
    let shown: Vec<String> =
        swap.events.iter().take(EVENTS_SHOWN).map(ToString::to_string).collect();
    let more = swap.events.len().saturating_sub(EVENTS_SHOWN);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Planned, plan,
        tests::{healthy, observe, request},
    };
    use crate::swap::{
        observation::{Flavor, ServerView},
        plan::Plan,
        refusal::Code,
        role::{Event, Scheduler, SemiSync},
        step::Step,
    };

    const FLAVORS: [Flavor; 2] = [Flavor::MariaDb, Flavor::MySql];
    const BOTH: SemiSync = SemiSync { source: Some(true), replica: Some(true), waits_alone: false };

    fn planned(
        flavor: Flavor,
        change: impl FnOnce(&mut [ServerView; 2]),
    ) -> Result<Plan, Vec<Code>> {
        let mut views = healthy(flavor);
        change(&mut views);
        match plan(&observe(views), &request(None)) {
            Ok(Planned::Swap(plan)) => Ok(*plan),
            Ok(other @ Planned::AlreadyPrimary(_)) => panic!("{other:?}"),
            Err(refusals) => Err(refusals.iter().map(|refusal| refusal.code).collect()),
        }
    }

    fn run_events([old, new]: &mut [ServerView; 2]) {
        let event = |name: &str| Event {
            schema: "shop".to_owned(),
            name: name.to_owned(),
            definer: "root@localhost".to_owned(),
        };
        old.events.enabled = vec![event("tick"), event("tock")];
        (old.role.scheduler, new.role.scheduler) = (Scheduler::On, Scheduler::On);
    }

    #[test]
    fn what_is_not_there_adds_no_step() {
        for flavor in FLAVORS {
            let plan = planned(flavor, |_| ()).unwrap();
            for step in [Step::Ready, Step::Events, Step::Settings] {
                assert!(!plan.has(step), "{flavor:?} {step}");
            }
            assert!(plan.warnings.is_empty());
        }
    }

    #[test]
    fn f33_events_that_run_are_moved_and_others_left() {
        for flavor in FLAVORS {
            let plan = planned(flavor, run_events).unwrap();
            assert_eq!(plan.handover.events.len(), 2);
            assert!(plan.has(Step::Events));
            assert_eq!(plan.has(Step::Ready), flavor == Flavor::MariaDb, "F47");
            let plan = planned(flavor, |views| {
                run_events(views);
                views[0].role.scheduler = Scheduler::Off;
            })
            .unwrap();
            assert!(!plan.has(Step::Events) && !plan.has(Step::Ready));
            assert_eq!(plan.warnings[0].code, Code::EventsLeft);
        }
    }

    #[test]
    fn f33_events_that_cannot_be_moved_are_refused() {
        let refused = |flavor, change: fn(&mut [ServerView; 2])| {
            planned(flavor, |views| {
                run_events(views);
                change(views);
            })
            .unwrap_err()
        };
        for flavor in FLAVORS {
            let codes = refused(flavor, |[_, new]| new.role.scheduler = Scheduler::Disabled);
            assert_eq!(codes, [Code::EventSchedulerDisabled]);
            let codes = refused(flavor, |[old, _]| old.events.denied = Some("no".to_owned()));
            assert_eq!(codes, [Code::EventsDenied]);
            let codes = refused(flavor, |[_, new]| {
                new.role.scheduler = Scheduler::Off;
                new.events.scheduler_denied = Some("no".to_owned());
            });
            assert_eq!(codes, [Code::EventsDenied]);
            let codes = refused(flavor, |[old, _]| {
                let one = old.events.enabled[0].clone();
                old.events.enabled = vec![one; super::EVENTS_MAX + 1];
            });
            assert_eq!(codes, [Code::EventsTooMany]);
        }
        let only_stopped = |[old, _]: &mut [ServerView; 2]| {
            old.events.scheduler_denied = Some("no".to_owned());
        };
        assert_eq!(refused(Flavor::MariaDb, only_stopped), [Code::EventsDenied]);
        let plan = planned(Flavor::MySql, |views| {
            run_events(views);
            only_stopped(views);
        });
        assert!(plan.is_ok(), "MySQL's is not turned: {plan:?}");
    }

    #[test]
    fn f6_a_primary_whose_commits_wait_keeps_that() {
        for flavor in FLAVORS {
            let plan = planned(flavor, |views| {
                for view in views {
                    view.role.semi_sync = BOTH;
                }
            })
            .unwrap();
            assert!(plan.has(Step::Ready) && plan.has(Step::Settings));
            assert_eq!(plan.warnings[0].code, Code::SemiSyncPauses);
            let codes = planned(flavor, |[old, new]| {
                old.role.semi_sync = SemiSync { source: Some(true), ..SemiSync::default() };
                new.role.semi_sync =
                    SemiSync { source: None, replica: Some(true), waits_alone: false };
            })
            .unwrap_err();
            assert_eq!(codes, [Code::SemiSyncMissing; 2]);
        }
    }
}
