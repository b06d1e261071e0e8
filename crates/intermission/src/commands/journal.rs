//! `intermission journal`: past swaps.

use std::path::Path;

use crate::{
    cli::{Exit, Printer},
    config::Config,
    swap::{journal, summary::Summary},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One swap in detail [default: a line for each]
    id: Option<String>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, config: &Config, printer: &Printer) -> anyhow::Result<Exit> {
    let swap = config.swap_section()?;
    let dir = swap.journals(&config.gate);
    let summaries = match &args.id {
        Some(id) => {
            let entries = journal::read(&dir, id)?;
            Summary::of(&entries).into_iter().collect()
        }
        None => all(&dir, printer)?,
    };
    if args.json {
        printer.data(serde_json::to_string_pretty(&summaries)?);
    } else if let (Some(_), [summary]) = (&args.id, summaries.as_slice()) {
        printer.data(detail(summary));
    } else {
        for summary in &summaries {
            printer.data(line(summary));
        }
    }
    Ok(Exit::Done)
}

/// One damaged journal does not hide the others.
fn all(dir: &Path, printer: &Printer) -> anyhow::Result<Vec<Summary>> {
    let mut summaries = Vec::new();
    for id in journal::list(dir)? {
        match journal::read(dir, &id) {
            Ok(entries) => summaries.extend(Summary::of(&entries)),
            Err(error) => printer.talk(format_args!("left out: {error}")),
        }
    }
    Ok(summaries)
}

fn line(summary: &Summary) -> String {
    let pause =
        summary.write_pause_ms.map_or_else(String::new, |ms| format!("  write pause {ms:.1} ms"));
    let users =
        summary.users.as_ref().map_or_else(String::new, |users| format!("  {} held", users.held));
    format!(
        "{}  {:<14} {} -> {}{pause}{users}",
        summary.id, summary.outcome, summary.old_primary, summary.new_primary
    )
}

fn detail(summary: &Summary) -> String {
    let mut lines = vec![line(summary)];
    lines.extend(summary.reason.as_ref().map(|reason| format!("because: {reason}")));
    lines.extend(summary.notes.iter().map(|note| format!("noted: {note}")));
    lines.extend(super::told::told_of_siblings(&summary.siblings));
    for step in &summary.steps {
        let took = step.took_ms.map_or_else(|| "?".to_owned(), |ms| format!("{ms:.1} ms"));
        let action = match step.action {
            crate::swap::record::Action::Perform => "",
            crate::swap::record::Action::Verify => "verify ",
            crate::swap::record::Action::Undo => "undo ",
        };
        let name = format!("{action}{}", step.step);
        let note = step.note.as_deref().unwrap_or_default();
        lines.push(format!("  {name:<20} {:<8} {took:>12}  {note}", step.result));
    }
    lines.join("\n")
}
