//! How long each step may take.

use std::time::Duration;

use crate::swap::{plan::Plan, step::Step, steps::LED_WITHIN};

/// How long a step may take by its own measure.
pub(super) fn of(step: Step, plan: &Plan) -> Duration {
    let bounds = &plan.bounds;
    match step {
        Step::Quiet => bounds.quiet + bounds.catch_up,
        Step::Hold => bounds.drain,
        Step::Settle => bounds.settle,
        Step::Fence => bounds.fence + plan.proof_bound(),
        Step::CatchUp => bounds.catch_up + bounds.connect,
        Step::Withdraw => plan.withdrawal.unwrap_or_default(),
        Step::Endpoint => plan.endpoint,
        Step::Ready if plan.failover().is_some() => bounds.quiet,
        Step::Ready => (bounds.statement + bounds.connect) * 2,
        // A further try leads clients there once more.
        Step::Canary => (bounds.statement + bounds.connect) * 2 + plan.endpoint,
        Step::BeforeRelease => plan.before_release.unwrap_or_default(),
        Step::WarmUp => plan.warm_up.as_ref().map(|w| w.bound).unwrap_or_default(),
        Step::Events => {
            let events = u32::try_from(plan.handover.events.len()).unwrap_or(u32::MAX);
            bounds.connect + bounds.statement.saturating_mul(events.saturating_add(2))
        }
        Step::Follow => {
            // The marker, two tries to give a lock back, and the last questions.
            LED_WITHIN + bounds.prove + (bounds.statement + bounds.connect) * 6
        }
        Step::Prove | Step::Settings => bounds.prove,
        Step::Lock
        | Step::Barrier
        | Step::Promote
        | Step::EndSessions
        | Step::Release
        | Step::Detach
        | Step::Rejoin
        | Step::Unlock => bounds.statement + bounds.connect,
    }
}
