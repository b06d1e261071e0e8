//! The list of cases.

use futures_util::future::BoxFuture;

use super::bench::Bench;
use super::guardian::{self, Blow};
use super::judge::End;
use super::kill::{COMMIT, STEPS, is_committed};
use super::struck::{self, Party, Struck};
use super::{crash, endpoint, gate, hook, kill, proof, refusal, sentinel, sibling, signal, unwind};

type Scenario = for<'b> fn(&'b mut Bench) -> BoxFuture<'b, anyhow::Result<End>>;

/// One fault, or one with variants that are all right or all wrong together.
#[derive(Debug, Clone)]
pub struct Case {
    /// Stable: scripts name it. `FAMILY:STEP` where there is one for each step.
    pub id: String,
    /// Where it is played.
    pub ground: Ground,
    what: What,
}

/// What the stage stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// A pair behind a forwarder.
    Loopback,
    /// Hosts in namespaces, and a floating IP.
    Network,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Kill(&'static str),
    Panic(&'static str),
    /// The process that swaps, and not its guardian.
    Guarded(Blow, &'static str),
    /// The guardian, and not the process that swaps.
    Bereft(&'static str),
    /// Somebody beside it, right before a step.
    Struck(Struck, &'static str),
    Scenario(Scenario),
}

impl Case {
    fn new(id: impl Into<String>, what: What) -> Self {
        Self { id: id.into(), ground: Ground::Loopback, what }
    }

    fn at(family: &str, step: &str, what: What) -> Self {
        Self::new(format!("{family}:{step}"), what)
    }

    pub(super) async fn play(&self, bench: &mut Bench) -> anyhow::Result<End> {
        match self.what {
            What::Kill(step) => kill::at_step(bench, step).await,
            What::Panic(step) => kill::by_panic(bench, step).await,
            What::Guarded(blow, step) => guardian::at_step(bench, blow, step).await,
            What::Bereft(step) => guardian::bereft_at(bench, step).await,
            What::Struck(struck, step) => struck::at_step(bench, struck, step).await,
            What::Scenario(scenario) => scenario(bench).await,
        }
    }
}

/// At which a panic is not just another death.
const PANICS: [&str; 4] = ["hold", "fence", "promote", "rejoin"];
/// Who dies beside the process that swaps, which goes on; and what happens to its clock.
const BESIDE: [(&str, Struck); 7] = [
    ("clock-ahead", Struck::Clock(3600)),
    ("clock-back", Struck::Clock(-3600)),
    ("gate-dies", Struck::Gate),
    ("old-dies", Struck::OldPrimary),
    ("new-dies", Struck::NewPrimary),
    ("old-restarts", Struck::OldRestarts),
    ("new-restarts", Struck::NewRestarts),
];
/// Who may be cut off from whom.
const CUTS: [(&str, Struck); 5] = [
    ("cut-swap-old", Struck::Cut(Party::Swap, Party::Old)),
    ("cut-swap-new", Struck::Cut(Party::Swap, Party::New)),
    ("cut-old-new", Struck::Cut(Party::Old, Party::New)),
    ("cut-app-old", Struck::Cut(Party::App, Party::Old)),
    ("cut-app-new", Struck::Cut(Party::App, Party::New)),
];
/// Of a swap with a floating IP only.
const WITHDRAW: &str = "withdraw";
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

/// Every case, in the order that suits few stages: what reads a whole binary log comes while it is short, what needs a
/// network comes last.
#[must_use]
pub fn cases() -> Vec<Case> {
    let scenario = |(id, scenario): &(&str, Scenario)| Case::new(*id, What::Scenario(*scenario));
    let mut cases = vec![
        Case::new("F3", What::Scenario(refusal::wrong_source)),
        Case::new("kill:follow", What::Scenario(sibling::killed_while_it_is_led)),
    ];
    cases.extend(SCENARIOS.iter().map(scenario));
    cases.extend(STEPS.map(|step| Case::at("kill", step, What::Kill(step))));
    cases.push(Case::new("kill:pending", What::Scenario(kill::with_pending_fence)));
    cases.push(Case::new("kill:recover", What::Scenario(kill::in_recovery)));
    cases.push(Case::new("kill:clock", What::Scenario(kill::with_the_clock_set_back)));
    for step in STEPS.into_iter().take_while(|step| !is_committed("before", step)) {
        cases.push(Case::at("guarded", step, What::Guarded(Blow::Kill, step)));
        cases.push(Case::at("still", step, What::Guarded(Blow::Stop, step)));
    }
    cases.extend(STEPS.map(|step| Case::at("bereft", step, What::Bereft(step))));
    cases.extend(PANICS.map(|step| Case::at("panic", step, What::Panic(step))));
    cases.push(Case::new("panic:late", What::Guarded(Blow::Falter, "fence")));
    cases.push(Case::new("panic:committed", What::Guarded(Blow::Falter, COMMIT)));
    cases.extend(LAST.iter().map(scenario));
    for (family, struck) in BESIDE {
        cases.extend(STEPS.map(|step| Case::at(family, step, What::Struck(struck, step))));
    }
    for (family, struck) in CUTS {
        let steps = STEPS.into_iter().chain([WITHDRAW]);
        cases.extend(steps.map(|step| {
            let case = Case::at(family, step, What::Struck(struck, step));
            Case { ground: Ground::Network, ..case }
        }));
    }
    cases
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::cases;

    #[test]
    fn ids_are_unique() {
        let cases = cases();
        let ids: BTreeSet<&str> = cases.iter().map(|case| case.id.as_str()).collect();
        assert_eq!(ids.len(), cases.len());
    }
}
