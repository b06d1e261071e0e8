//! What the commands that change servers say of it: before, and in the end.

use super::{
    check::{said_of, warned},
    parties::Assembly,
};
use crate::{
    cli::{Exit, Printer},
    swap::{
        journal,
        machine::State,
        plan::{Plan, kind::Kind},
        record::Ending,
        run::Report,
        sibling::{self, Standing},
        step::Step,
        steps::Steps,
        summary::Summary,
    },
};

/// What will be done, with the bounds and the commands for the worst case.
pub(super) fn announce(steps: &Steps) -> String {
    let plan = &steps.plan;
    let mut lines = vec![format!(
        "{} {}: {} ({}) {} {} ({})",
        plan.kind.word(),
        plan.id,
        plan.old.name,
        plan.old.address,
        match &plan.kind {
            Kind::Swap => "hands over to",
            Kind::Failover(_) => "is dead; its role goes to",
            Kind::Rejoin => "comes back as a replica of",
        },
        plan.new.name,
        plan.new.address
    )];
    for (step, number) in plan.steps().zip(1..) {
        let commit = if step == Step::COMMIT { "  <- no way back from here on" } else { "" };
        lines.push(format!("{number:>4}. {:<13} {}{commit}", step.name(), plan.sentence(step)));
    }
    if plan.kind != Kind::Rejoin {
        lines.push(announce_wait(plan));
    }
    lines.extend(announce_readying(steps));
    let siblings: Vec<String> = plan
        .siblings
        .iter()
        .map(|sibling| format!("{} ({})", sibling.name, sibling.address))
        .collect();
    if !siblings.is_empty() {
        let siblings = siblings.join(", ");
        lines.push(format!("siblings, seen to when users are released: {siblings}"));
    }
    lines.extend(warned(&plan.warnings));
    lines.push("should this process or this machine die:".to_owned());
    let nothing_done = State::new(plan.as_ref().clone());
    let emergency = steps.emergency(&nothing_done);
    lines.extend(emergency.into_iter().map(|line| format!("  {line}")));
    lines.join("\n")
}

fn announce_wait(plan: &Plan) -> String {
    format!(
        "users wait at most {:?} for requests in flight, then {:?}; over that everything is taken back",
        plan.bounds.drain,
        plan.longest_attempt().saturating_sub(plan.bounds.drain)
    )
}

/// What is done between the commit point and the release, where that is not only ours.
fn announce_readying(steps: &Steps) -> Vec<String> {
    let plan = &steps.plan;
    let mut lines = Vec::new();
    if plan.has(Step::BeforeRelease) {
        lines.push("before_release, one after the other:".to_owned());
        let commands = steps.hooks.commands(&plan.new.address, &plan.old.address);
        lines.extend(
            commands.iter().map(|(command, bound)| format!("  {command}  ({bound:?} at most)")),
        );
    }
    if let Some(warm_up) = &plan.warm_up {
        lines.push("warm_up, all at once:".to_owned());
        lines.extend(warm_up.said.iter().map(|said| format!("  {said}")));
    }
    if !lines.is_empty() {
        let longest = plan.longest_readying();
        lines.push(format!(
            "users wait {longest:?} at most for that; over it they are released all the same, and you are told"
        ));
    }
    lines
}

/// How it ended, and the exit code for that.
pub(super) fn tell(assembly: &Assembly, report: &Report, printer: &Printer) -> Exit {
    match report {
        Report::Refused(refusals) if refusals.is_empty() => {
            printer.data("not confirmed: nothing was done");
            Exit::Refused
        }
        Report::Refused(refusals) => {
            printer.data(said_of(refusals));
            Exit::Refused
        }
        Report::NothingToDo(name) => {
            printer.data(format_args!("{name} is the primary already: there is nothing to do"));
            Exit::Done
        }
        Report::Ended { id, ending, cause, alarms, .. } => {
            // The journal may be the very thing that failed.
            let summary = journal::read(&assembly.journals, id).ok();
            let summary = summary.as_deref().and_then(Summary::of);
            printer.data(told(*ending, cause.as_deref(), summary.as_ref()));
            for alarm in alarms {
                printer.data(format_args!("needs an operator: the sentinel saw that {alarm}"));
            }
            let program = &assembly.program;
            if *ending == Ending::NeedsOperator || !alarms.is_empty() {
                printer.data(format_args!("see what happened: {program} journal {id}"));
            }
            if *ending == Ending::NeedsOperator {
                printer.data(format_args!("then: {program} recover"));
            } else if !alarms.is_empty() {
                // There is nothing to recover, and one of the two may have taken what the other lacks.
                printer.data(format_args!("see how the servers stand: {program} check"));
            }
            match ending {
                Ending::Swapped | Ending::RolledBack if !alarms.is_empty() => Exit::NeedsOperator,
                Ending::Swapped => Exit::Done,
                Ending::RolledBack => Exit::Refused,
                Ending::NeedsOperator => Exit::NeedsOperator,
            }
        }
    }
}

fn told(ending: Ending, cause: Option<&str>, summary: Option<&Summary>) -> String {
    let names = summary.map_or_else(
        || ("the new primary".to_owned(), "the old primary".to_owned()),
        |summary| (summary.new_primary.clone(), summary.old_primary.clone()),
    );
    let (new, old) = names;
    let kind = summary.map_or("swap", |summary| summary.kind.as_str());
    let mut lines = vec![match ending {
        Ending::Swapped => match kind {
            "failover" => format!("failed over: {new} is the primary, {old} is off"),
            "rejoin" => format!("rejoined: {old} follows {new}"),
            _ => format!("swapped: {new} is the primary, {old} follows it"),
        },
        Ending::RolledBack => match kind {
            "failover" => format!("taken back: {new} is a replica as before, nobody is held"),
            "rejoin" => format!("not rejoined: {old} is read-only and follows nobody"),
            _ => format!("rolled back: {old} is the primary as before, nobody is held"),
        },
        Ending::NeedsOperator => "needs an operator: not everything could be done".to_owned(),
    }];
    if let Some(cause) = cause.filter(|_| ending != Ending::Swapped) {
        lines.push(format!("because: {cause}"));
    }
    if let Some(summary) = summary {
        lines.extend(summary.write_pause_ms.map(|ms| format!("nobody could write for {ms:.1} ms")));
        lines.extend(summary.users.as_ref().map(|users| {
            format!(
                "users: {} requests held, {} ms at most; {} refused, {} left by themselves",
                users.held, users.longest_ms, users.refused, users.left
            )
        }));
        lines.extend(told_of_siblings(&summary.siblings));
    }
    lines.join("\n")
}

/// How the other replicas stand, and what mends those that do not follow.
pub(super) fn told_of_siblings(siblings: &[sibling::Report]) -> Vec<String> {
    let mut lines = Vec::new();
    for sibling::Report { name, address, standing, said, mend } in siblings {
        let failed = if *standing == Standing::Failed { "needs a person: " } else { "" };
        lines.push(format!("sibling {name} ({address}): {failed}{said}"));
        lines.extend(mend.iter().map(|mend| format!("    mend: {mend}")));
    }
    lines
}
