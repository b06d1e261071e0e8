//! `intermission failover`: the primary is dead.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    confirm,
    parties::Assembly,
    told::{announce, tell},
    watch::{cancel_on_signals, watcher},
};
use crate::{
    cli::{Exit, Printer},
    config::Config,
    swap::{
        plan::{Plan, kind::Proof},
        record::Ending,
        run::{self, Report},
        steps::Steps,
    },
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not ask; only with a fence hook (failover.fence), which proves the old primary off
    #[arg(long, short = 'f', visible_alias = "force")]
    yes: bool,
    /// Say what would be done and what may be lost, and do nothing
    #[arg(long, short = 's', visible_alias = "check")]
    dry_run: bool,
    /// The replica to promote, by name, host or host:port; needed where there are several
    #[arg(long, value_name = "HOST")]
    to: Option<String>,
}

pub(crate) async fn run(args: &Args, config: &Config, printer: &Printer) -> anyhow::Result<Exit> {
    let assembly = Assembly::of(config)?;
    let request = assembly.request(args.to.clone());
    let (parties, journals) = (&assembly.parties, &assembly.journals);
    if args.dry_run {
        return Ok(match run::look_at_failover(parties, journals, &request).await? {
            Ok(plan) => {
                let told = run::steps_of(parties, plan)
                    .as_ref()
                    .map(|steps| told_before(&assembly, steps));
                printer.data(told.unwrap_or_default());
                Exit::Done
            }
            Err(refusals) => tell(&assembly, &Report::Refused(refusals), printer),
        });
    }
    let has_hook = parties.fencing.is_some();
    anyhow::ensure!(
        has_hook || !args.yes,
        "without a fence hook (failover.fence) a person has to say that the old primary is off: leave --yes out"
    );
    confirm::can_be(args.yes || !has_hook)?;
    let cancel = CancellationToken::new();
    let (listener, terminal) = watcher();
    let mut plan = None;
    let confirm = |steps: &Steps| {
        printer.talk(told_before(&assembly, steps));
        let agreed = args.yes || is_confirmed(&steps.plan, printer);
        plan = Some(Arc::clone(&steps.plan));
        agreed && cancel_on_signals(&cancel, printer)
    };
    let report =
        run::failover(parties, journals, &request, confirm, cancel.clone(), listener).await?;
    drop(terminal.await);
    let exit = tell(&assembly, &report, printer);
    let is_done = matches!(report, Report::Ended { ending: Ending::Swapped, .. });
    if let Some(plan) = plan.filter(|_| is_done) {
        for line in plan.way_home() {
            printer.data(line);
        }
    }
    Ok(exit)
}

/// The steps, what may be lost, and how a person makes sure of the old primary's end.
fn told_before(assembly: &Assembly, steps: &Steps) -> String {
    let plan = &steps.plan;
    let mut lines = vec![announce(steps)];
    let Some(failover) = plan.failover() else { return lines.join("\n") };
    lines.push("what may be lost:".to_owned());
    lines.extend(failover.loss.iter().map(|line| format!("  {line}")));
    match (&failover.proof, &steps.fencing) {
        (Proof::Hook { bound }, Some(hook)) => {
            let commands = hook.commands(&plan.new.address, &plan.old.address);
            lines.push(format!("the proof that {} is off, {bound:?} at most:", plan.old.name));
            lines.extend(commands.iter().map(|(command, _)| format!("  {command}")));
        }
        (Proof::Hook { .. } | Proof::Word, _) => {
            let host = &plan.old.address.host;
            lines.push(format!(
                "{} has to be off, and to stay so: two primaries lose writes",
                plan.old.name
            ));
            let ipmi = assembly.ipmi.as_deref().unwrap_or("IPMI-ADDRESS");
            lines.push(format!(
                "  switch its host off: ipmitool -I lanplus -H {ipmi} -U USER chassis power off ({host})"
            ));
        }
    }
    lines.join("\n")
}

/// Whoever types the name has looked which host it is.
fn is_confirmed(plan: &Plan, printer: &Printer) -> bool {
    if plan.failover().is_none_or(|failover| failover.proof != Proof::Word) {
        return confirm::by_yes(printer);
    }
    let (name, host) = (&plan.old.name, &plan.old.address.host);
    let question = format!(
        "type the name of the old primary ({name} or {host}) when its host is off for sure:"
    );
    confirm::by_typing(&question, &[name, host], printer)
}
