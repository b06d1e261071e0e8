//! `intermission recover`: finishes or takes back an interrupted swap.

use tokio_util::sync::CancellationToken;

use super::{
    parties::Assembly,
    told::tell,
    watch::{cancel_on_signals, watcher},
};
use crate::{
    cli::{Exit, Printer},
    config::Config,
    swap::{journal, run, summary::Summary},
};

pub(crate) async fn run(config: &Config, printer: &Printer) -> anyhow::Result<Exit> {
    let assembly = Assembly::of(config)?;
    let Some(id) = run::unfinished(&assembly.journals)?.into_iter().next() else {
        printer.data("no swap was interrupted: there is nothing to recover");
        return Ok(Exit::Done);
    };
    let entries = journal::read(&assembly.journals, &id)?;
    if let Some(summary) = Summary::of(&entries) {
        let last = summary.steps.last().map_or("nothing", |step| step.step.name());
        printer.talk(format_args!(
            "swap {id} from {} to {} broke off; the last that was done: {last}",
            summary.old_primary, summary.new_primary
        ));
    }
    let cancel = CancellationToken::new();
    anyhow::ensure!(cancel_on_signals(&cancel, printer), "nothing was done");
    let (listener, terminal) = watcher();
    let foretold = |way: &str| printer.talk(way);
    let (parties, journals) = (&assembly.parties, &assembly.journals);
    let report = run::recover(parties, journals, foretold, cancel, listener).await?;
    drop(terminal.await);
    match report {
        Some(report) => Ok(tell(&assembly, &report, printer)),
        None => {
            printer.data("another process has recovered it meanwhile");
            Ok(Exit::Done)
        }
    }
}
