//! `intermission release APP`

use anyhow::Context;

use crate::admin::api::{AppStatus, ReleaseReply, ReleaseRequest, Summary};
use crate::admin::client::Client;
use crate::cli::{Exit, Printer};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The app's name in the configuration
    app: String,
}

pub(crate) async fn run(args: &Args, client: &Client, printer: &Printer) -> anyhow::Result<Exit> {
    let app = app_called(client, &args.app).await?;
    if app.hold.is_none() {
        printer.talk(format_args!("`{}` is not held, nothing to release", app.name));
        return Ok(Exit::Refused);
    }
    let request = ReleaseRequest { generation: app.generation };
    let reply = client.release(&args.app, &request).await?;
    tell(&args.app, &reply, printer);
    Ok(Exit::Done)
}

/// The app of that name at the gate.
pub(super) async fn app_called(client: &Client, name: &str) -> anyhow::Result<AppStatus> {
    let apps = client.apps().await?.apps;
    let known = apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>().join(", ");
    let app = apps.into_iter().find(|app| app.name == name);
    app.with_context(|| format!("no app {name:?}; there is: {known}"))
}

/// Says what the hold came to.
pub(super) fn tell(app: &str, reply: &ReleaseReply, printer: &Printer) {
    let Summary { held, timed_out, rejected: _, refused, left, longest_wait_ms, released: _ } =
        reply.summary;
    printer.talk(format_args!(
        "`{app}` is released: {held} requests held, longest wait {longest_wait_ms} ms, \
         {timed_out} timed out, {refused} refused, {left} left"
    ));
    if let Some(warning) = &reply.warning {
        printer.talk(format_args!("warning: {warning}"));
    }
}
