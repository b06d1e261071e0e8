//! `intermission check`: what speaks against a swap now.

use serde::Serialize;

use super::parties::Assembly;
use crate::{
    cli::{Exit, Printer},
    config::Config,
    swap::{plan::Planned, refusal::Refusal, run},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server to promote, by name, host or host:port [default: the replica]
    #[arg(long, value_name = "HOST")]
    to: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Args {
    /// For a person.
    pub(super) const fn new(to: Option<String>) -> Self {
        Self { to, json: false }
    }
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    ok: bool,
    old_primary: Option<String>,
    new_primary: Option<String>,
    refusals: &'a [Refusal],
    warnings: &'a [Refusal],
}

pub(crate) async fn run(args: &Args, config: &Config, printer: &Printer) -> anyhow::Result<Exit> {
    let assembly = Assembly::of(config)?;
    let request = assembly.request(args.to.clone());
    let planned = run::preflight(&assembly.parties, &assembly.journals, &request).await?;
    let (answer, said) = match &planned {
        Ok(Planned::Swap(plan)) => {
            let (old, new) = (&plan.old, &plan.new);
            let label =
                |party: &crate::swap::plan::Party| format!("{} ({})", party.name, party.address);
            let mut said = format!("ready: {} can take over from {}", label(new), label(old));
            for line in warned(&plan.warnings) {
                said = format!("{said}\n{line}");
            }
            let (old_primary, new_primary) = (Some(label(old)), Some(label(new)));
            (
                Answer {
                    ok: true,
                    old_primary,
                    new_primary,
                    refusals: &[],
                    warnings: &plan.warnings,
                },
                said,
            )
        }
        Ok(Planned::AlreadyPrimary(name)) => {
            let said = format!("{name} is the primary already: there is nothing to do");
            let old_primary = Some(name.clone());
            (
                Answer { ok: true, old_primary, new_primary: None, refusals: &[], warnings: &[] },
                said,
            )
        }
        Err(refusals) => {
            let said = said_of(refusals);
            (
                Answer { ok: false, old_primary: None, new_primary: None, refusals, warnings: &[] },
                said,
            )
        }
    };
    if args.json {
        printer.data(serde_json::to_string_pretty(&answer)?);
    } else {
        printer.data(said);
    }
    Ok(if answer.ok { Exit::Done } else { Exit::Refused })
}

/// The warnings, for a person.
pub(super) fn warned(warnings: &[Refusal]) -> impl Iterator<Item = String> {
    warnings.iter().map(|warning| format!("warning: {warning}"))
}

/// All refusals, for a person.
pub(super) fn said_of(refusals: &[Refusal]) -> String {
    let lines: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    format!("refused, {} reasons:\n{}", refusals.len(), lines.join("\n"))
}
