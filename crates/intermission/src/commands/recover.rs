//! `intermission recover`: finishes or takes back an interrupted swap.

use tokio_util::sync::CancellationToken;

use super::{
    Exit,
    parties::Assembly,
    print, say,
    swap::tell,
    watch::{cancel_on_signals, watcher},
};
use crate::{
    config::Config,
    swap::{journal, run, summary::Summary},
};

/// # Errors
/// When the configuration or the journal cannot be used; then nothing was done.
pub async fn run(config: &Config) -> anyhow::Result<Exit> {
    let assembly = Assembly::of(config)?;
    let Some(id) = run::unfinished(&assembly.journals)?.into_iter().next() else {
        print("no swap was interrupted: there is nothing to recover")?;
        return Ok(Exit::Done);
    };
    let entries = journal::read(&assembly.journals, &id)?;
    if let Some(summary) = Summary::of(&entries) {
        let last = summary.steps.last().map_or("nothing", |step| step.step.name());
        say(&format!(
            "swap {id} from {} to {} broke off at: {last}",
            summary.old_primary, summary.new_primary
        ));
    }
    let cancel = CancellationToken::new();
    cancel_on_signals(&cancel)?;
    let (listener, printer) = watcher();
    let report = run::recover(&assembly.parties, &assembly.journals, cancel, listener).await?;
    drop(printer.await);
    match report {
        Some(report) => tell(&assembly, &report),
        None => {
            print("another process has recovered it meanwhile")?;
            Ok(Exit::Done)
        }
    }
}
