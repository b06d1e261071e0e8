//! `intermission swap`: the whole maintenance.

use std::sync::Arc;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    check, confirm,
    guardian::Processes,
    parties::Assembly,
    told::{announce, tell},
    watch::{cancel_on_signals, watcher},
};
use crate::{
    cli::{Exit, Printer},
    config::Config,
    swap::{
        executor::Listener,
        guard::Guardians,
        plan::Planned,
        run::{self, Report, RunError},
        steps::Steps,
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
    confirm::can_be(args.yes)?;
    let cancel = CancellationToken::new();
    let (listener, terminal) = watcher();
    // Signals are taken over only when there is something to unwind: at the question they end the program.
    let confirm = |steps: &Steps| {
        printer.talk(announce(steps));
        (args.yes || confirm::by_yes(printer)) && cancel_on_signals(&cancel, printer)
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
