//! `intermission rejoin`: a former primary comes back as a replica.

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
        plan::Rejoin,
        run::{self, Report},
        steps::Steps,
    },
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not ask
    #[arg(long, short = 'f', visible_alias = "force")]
    yes: bool,
    /// Say what would be done, and do nothing
    #[arg(long, short = 's', visible_alias = "check")]
    dry_run: bool,
    /// The server that comes back, by name, host or host:port; needed where both are writable and no journal says who is
    /// primary
    #[arg(value_name = "HOST")]
    server: Option<String>,
}

pub(crate) async fn run(args: &Args, config: &Config, printer: &Printer) -> anyhow::Result<Exit> {
    let assembly = Assembly::of(config)?;
    let request = assembly.request(args.server.clone());
    let (parties, journals) = (&assembly.parties, &assembly.journals);
    if args.dry_run {
        return Ok(match run::look_at_rejoin(parties, journals, &request).await? {
            Ok(Rejoin::Planned(plan)) => {
                let told = run::steps_of(parties, *plan).as_ref().map(announce);
                printer.data(told.unwrap_or_default());
                Exit::Done
            }
            Ok(Rejoin::Follows(primary)) => told_that_all_follow(&primary, printer),
            Err(refusals) => tell(&assembly, &Report::Refused(refusals), printer),
        });
    }
    confirm::can_be(args.yes)?;
    let cancel = CancellationToken::new();
    let (listener, terminal) = watcher();
    let confirm = |steps: &Steps| {
        printer.talk(announce(steps));
        (args.yes || confirm::by_yes(printer)) && cancel_on_signals(&cancel, printer)
    };
    let report =
        run::rejoin(parties, journals, &request, confirm, cancel.clone(), listener).await?;
    drop(terminal.await);
    Ok(match &report {
        Report::NothingToDo(primary) => told_that_all_follow(primary, printer),
        Report::Refused(_) | Report::Ended { .. } => tell(&assembly, &report, printer),
    })
}

fn told_that_all_follow(primary: &str, printer: &Printer) -> Exit {
    printer.data(format_args!(
        "{primary} is the primary, and every other server has a source: there is nothing to do"
    ));
    Exit::Done
}
