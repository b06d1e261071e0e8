//! `intermission swap`: the whole maintenance.

use std::{
    io::{BufRead, IsTerminal},
    sync::Arc,
};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    check::{self, said_of, warned},
    guardian::Processes,
    parties::Assembly,
    watch::{cancel_on_signals, watcher},
};
use crate::{
    cli::{Exit, Printer},
    config::Config,
    swap::{
        executor::Listener,
        guard::Guardians,
        journal,
        machine::State,
        plan::{Plan, Planned, kind::Kind},
        record::Ending,
        run::{self, Report, RunError},
        sibling::{self, Standing},
        step::Step,
        steps::Steps,
        summary::Summary,
    },
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not ask
    #[arg(long, short = 'f', visible_alias = "force")]
    yes: bool,
    /// Only run the preflight, as `intermission check` does
    #[arg(long, short = 's', conflicts_with = "dry_run")]
    check: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// The server to promote, by name, host or host:port; needed where there are several replicas
    #[arg(long, value_name = "HOST")]
    to: Option<String>,
}

pub(crate) async fn run(args: &Args, config: &Config, printer: &Printer) -> anyhow::Result<Exit> {
    if args.check {
        return check::run(&check::Args::new(args.to.clone()), config, printer).await;
    }
    let assembly = Assembly::of(config)?;
    if args.dry_run {
        return dry_run(&assembly, args, printer).await;
    }
    anyhow::ensure!(
        args.yes || std::io::stdin().is_terminal(),
        "nobody is there to confirm: use --yes, or --dry-run to see what would be done"
    );
    let cancel = CancellationToken::new();
    let (listener, terminal) = watcher();
    // Signals are taken over only when there is something to unwind: at the question they end the program.
    let confirm = |steps: &Steps| {
        printer.talk(announce(steps));
        (args.yes || is_confirmed(printer)) && cancel_on_signals(&cancel, printer)
    };
    let sentinel_for = assembly.swap.sentinel_for;
    let guardians = Processes { config: Arc::new(config.clone()), sentinel_for };
    let attempt =
        |confirm| attempt(&assembly, args, confirm, &guardians, &cancel, Arc::clone(&listener));
    let mut report = attempt(Box::new(confirm)).await?;
    let mut pause = assembly.swap.backoff;
    for number in 2..=assembly.swap.attempts {
        if !report.may_be_tried_again() || cancel.is_cancelled() {
            break;
        }
        if let Report::Ended { cause, .. } = &report {
            let cause = cause.as_deref().unwrap_or_default();
            let all = assembly.swap.attempts;
            printer.talk(format!("taken back: {cause}; attempt {number} of {all} in {pause:?}"));
        }
        if timeout(pause, cancel.cancelled()).await.is_ok() {
            break;
        }
        pause *= 2;
        report = attempt(Box::new(|_: &Steps| true)).await?;
    }
    drop(listener);
    drop(terminal.await);
    Ok(tell(&assembly, &report, printer))
}

type Confirm<'a> = Box<dyn FnOnce(&Steps) -> bool + 'a>;

/// One attempt, planned anew: what was in the way may have changed more than itself.
async fn attempt(
    assembly: &Assembly,
    args: &Args,
    confirm: Confirm<'_>,
    guardians: &Processes,
    cancel: &CancellationToken,
    listener: Listener,
) -> Result<Report, RunError> {
    let request = assembly.request(args.to.clone());
    let (parties, journals) = (&assembly.parties, &assembly.journals);
    let guardians: Option<&dyn Guardians> = Some(guardians);
    run::swap(parties, journals, &request, confirm, guardians, cancel.clone(), listener).await
}

async fn dry_run(assembly: &Assembly, args: &Args, printer: &Printer) -> anyhow::Result<Exit> {
    let request = assembly.request(args.to.clone());
    match run::preflight(&assembly.parties, &assembly.journals, &request).await? {
        Ok(Planned::Swap(plan)) => {
            let steps = run::steps_of(&assembly.parties, *plan);
            printer.data(steps.as_ref().map(announce).unwrap_or_default());
            Ok(Exit::Done)
        }
        Ok(Planned::AlreadyPrimary(name)) => {
            Ok(tell(assembly, &Report::NothingToDo(name), printer))
        }
        Err(refusals) => Ok(tell(assembly, &Report::Refused(refusals), printer)),
    }
}

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

fn is_confirmed(printer: &Printer) -> bool {
    printer.talk("type yes to go on:");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).is_ok() && answer.trim() == "yes"
}

/// The end of a swap or a recovery.
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
