//! The list of cases.

use futures_util::future::BoxFuture;

use super::bench::Bench;
use super::guardian::{self, Blow};
use super::judge::End;
use super::{crash, endpoint, gate, hook, kill, proof, refusal, sentinel, sibling, signal, unwind};

type Scenario = for<'b> fn(&'b mut Bench) -> BoxFuture<'b, anyhow::Result<End>>;

/// One fault, or one with variants that are all right or all wrong together.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Stable: scripts name it.
    pub id: &'static str,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Kill(&'static str),
    Panic(&'static str),
    /// The process that swaps, and not its guardian.
    Guarded(Blow, &'static str),
    /// The guardian, and not the process that swaps.
    Bereft(&'static str),
    Scenario(Scenario),
}

impl Case {
    pub(super) async fn play(&self, bench: &mut Bench) -> anyhow::Result<End> {
        match self.what {
            What::Kill(step) => kill::at_step(bench, step).await,
            What::Panic(step) => kill::by_panic(bench, step).await,
            What::Guarded(blow, step) => guardian::at_step(bench, blow, step).await,
            What::Bereft(step) => guardian::bereft_at(bench, step).await,
            What::Scenario(scenario) => scenario(bench).await,
        }
    }
}

const KILLS: [&str; 21] = [
    "kill:lock",
    "kill:quiet",
    "kill:ready",
    "kill:hold",
    "kill:settle",
    "kill:fence",
    "kill:barrier",
    "kill:catch_up",
    "kill:promote",
    "kill:endpoint",
    "kill:canary",
    "kill:end_sessions",
    "kill:before_release",
    "kill:warm_up",
    "kill:release",
    "kill:events",
    "kill:detach",
    "kill:rejoin",
    "kill:prove",
    "kill:settings",
    "kill:unlock",
];
/// `guarded:` and `still:` by step, and `bereft:` by step.
const GUARDED: [(&str, &str); 9] = [
    ("guarded:lock", "still:lock"),
    ("guarded:quiet", "still:quiet"),
    ("guarded:ready", "still:ready"),
    ("guarded:hold", "still:hold"),
    ("guarded:settle", "still:settle"),
    ("guarded:fence", "still:fence"),
    ("guarded:barrier", "still:barrier"),
    ("guarded:catch_up", "still:catch_up"),
    ("guarded:promote", "still:promote"),
];
const BEREFT: [&str; 21] = [
    "bereft:lock",
    "bereft:quiet",
    "bereft:ready",
    "bereft:hold",
    "bereft:settle",
    "bereft:fence",
    "bereft:barrier",
    "bereft:catch_up",
    "bereft:promote",
    "bereft:endpoint",
    "bereft:canary",
    "bereft:end_sessions",
    "bereft:before_release",
    "bereft:warm_up",
    "bereft:release",
    "bereft:events",
    "bereft:detach",
    "bereft:rejoin",
    "bereft:prove",
    "bereft:settings",
    "bereft:unlock",
];
const PANICS: [(&str, &str); 4] = [
    ("panic:hold", "hold"),
    ("panic:fence", "fence"),
    ("panic:promote", "promote"),
    ("panic:rejoin", "rejoin"),
];
const SCENARIOS: [(&str, Scenario); 37] = [
    ("F1", unwind::applier_stops),
    ("F2", refusal::sql_error),
    ("F4", refusal::null_lag),
    ("F5a", unwind::lock_tables),
    ("F5a:before", unwind::lock_tables_before),
    ("F5a:once", unwind::lock_tables_once),
    ("F16:between", unwind::signal_between_attempts),
    ("F5b/F7", unwind::long_write),
    ("F10/F12", proof::one_writer),
    ("F11", unwind::unapplied_relay_log),
    ("F15", refusal::target_is_primary),
    ("F16:hold", signal::at_hold),
    ("F16:settle", signal::at_settle),
    ("F16:fence", signal::at_fence),
    ("F16:catch_up", signal::at_catch_up),
    ("F16:promote", signal::after_promote),
    ("F29", refusal::replication_login),
    ("F30", proof::rejoined),
    ("F32", refusal::same_server_id),
    ("F38:fence", unwind::fence_lifted),
    ("F38:replica", unwind::replica_opened),
    ("F40", refusal::everything),
    ("F43", refusal::prepared_xa),
    ("F44", unwind::idle_transaction),
    ("F44:late", unwind::late_transaction),
    ("F45", unwind::replica_hangs),
    ("F46", unwind::short_transaction),
    ("H1", gate::dies_held),
    ("H4", gate::dies_draining),
    ("H42", gate::holder_dies),
    ("gate:hold", gate::dies_in_hold),
    ("gate:fence", gate::dies_in_fence),
    ("gate:committed", gate::dies_committed),
    ("gate:away", gate::stays_away),
    ("gate:down", gate::is_down),
    ("crash:replica", crash::replica),
    ("crash:primary", crash::primary),
];
const LAST: [(&str, Scenario); 13] = [
    ("guardian:recover", guardian::recovers_beside),
    ("sentinel:two", sentinel::two_writers),
    ("sentinel:none", sentinel::no_writer),
    ("journal", refusal::no_journal),
    ("F25", endpoint::keeps_connections),
    ("endpoint:once", endpoint::fails_once),
    ("endpoint:always", endpoint::always_fails),
    ("endpoint:hangs", endpoint::hangs),
    ("hook:once", hook::fails_once),
    ("hook:always", hook::always_fails),
    ("hook:hangs", hook::hangs),
    ("warm_up", hook::app_stops_answering),
    ("passwords", proof::passwords),
];

/// Every case, in the order that suits one stage: what reads a whole binary log comes while it is short.
#[must_use]
pub fn cases() -> Vec<Case> {
    let scenario =
        |(id, scenario): &(&'static str, Scenario)| Case { id, what: What::Scenario(*scenario) };
    let mut cases = vec![
        Case { id: "F3", what: What::Scenario(refusal::wrong_source) },
        Case { id: "kill:follow", what: What::Scenario(sibling::killed_while_it_is_led) },
    ];
    cases.extend(SCENARIOS.iter().map(scenario));
    let kills = KILLS.iter().zip(kill::STEPS);
    cases.extend(kills.map(|(id, step)| Case { id, what: What::Kill(step) }));
    cases.push(Case { id: "kill:pending", what: What::Scenario(kill::with_pending_fence) });
    cases.push(Case { id: "kill:recover", what: What::Scenario(kill::in_recovery) });
    for ((killed, still), step) in GUARDED.iter().zip(kill::STEPS) {
        cases.push(Case { id: killed, what: What::Guarded(Blow::Kill, step) });
        cases.push(Case { id: still, what: What::Guarded(Blow::Stop, step) });
    }
    let bereft = BEREFT.iter().zip(kill::STEPS);
    cases.extend(bereft.map(|(id, step)| Case { id, what: What::Bereft(step) }));
    cases.extend(PANICS.map(|(id, step)| Case { id, what: What::Panic(step) }));
    cases.extend(LAST.iter().map(scenario));
    cases
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Blow, What, cases};

    #[test]
    fn ids_are_unique_and_say_their_step() {
        let cases = cases();
        let ids: BTreeSet<&str> = cases.iter().map(|case| case.id).collect();
        assert_eq!(ids.len(), cases.len());
        for case in &cases {
            match case.what {
                What::Kill(step) => assert_eq!(case.id, format!("kill:{step}")),
                What::Panic(step) => assert_eq!(case.id, format!("panic:{step}")),
                What::Guarded(Blow::Kill, step) => assert_eq!(case.id, format!("guarded:{step}")),
                What::Guarded(Blow::Stop, step) => assert_eq!(case.id, format!("still:{step}")),
                What::Bereft(step) => assert_eq!(case.id, format!("bereft:{step}")),
                What::Scenario(_) => {}
            }
        }
    }
}
