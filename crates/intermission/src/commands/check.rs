//! `intermission check`: what speaks against a swap now.

use serde::Serialize;

use super::parties::Assembly;
use crate::{
    cli::{Exit, Printer},
    config::{Config, cluster::SERVERS_MIN},
    swap::{
        plan::Planned,
        refusal::Refusal,
        run::{self, Candidate},
    },
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server to promote, by name, host or host:port; where there are several replicas and none is named, each is tried
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
    let (parties, journals) = (&assembly.parties, &assembly.journals);
    let several = assembly.parties.servers.len() > SERVERS_MIN && args.to.is_none();
    let candidates =
        if several { run::preflight_each(parties, journals, &request).await? } else { Vec::new() };
    if !candidates.is_empty() {
        return tell_candidates(&candidates, args, printer);
    }
    let planned = run::preflight(parties, journals, &request).await?;
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

#[derive(Debug, Serialize)]
struct CandidateAnswer<'a> {
    name: &'a str,
    ok: bool,
    refusals: &'a [Refusal],
    warnings: &'a [Refusal],
}

/// Whether each of several replicas could become primary; one that could is enough.
fn tell_candidates(
    candidates: &[Candidate],
    args: &Args,
    printer: &Printer,
) -> anyhow::Result<Exit> {
    let answers: Vec<CandidateAnswer<'_>> = candidates
        .iter()
        .map(|(name, planned)| match planned {
            Ok(Planned::Swap(plan)) => {
                CandidateAnswer { name, ok: true, refusals: &[], warnings: &plan.warnings }
            }
            Ok(Planned::AlreadyPrimary(_)) => {
                CandidateAnswer { name, ok: false, refusals: &[], warnings: &[] }
            }
            Err(refusals) => CandidateAnswer { name, ok: false, refusals, warnings: &[] },
        })
        .collect();
    let ok = answers.iter().any(|answer| answer.ok);
    if args.json {
        let all = serde_json::json!({ "ok": ok, "candidates": answers });
        printer.data(serde_json::to_string_pretty(&all)?);
    } else {
        for CandidateAnswer { name, ok, refusals, warnings } in &answers {
            let verdict = if *ok { "ready to take over" } else { "cannot take over" };
            let said = if *ok { String::new() } else { format!("\n{}", said_of(refusals)) };
            printer.data(format_args!("{name}: {verdict}{said}"));
            for warning in warned(warnings) {
                printer.data(warning);
            }
        }
    }
    Ok(if ok { Exit::Done } else { Exit::Refused })
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
