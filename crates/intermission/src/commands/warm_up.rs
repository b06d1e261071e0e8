//! `intermission warm-up APP`

use std::time::Duration;

use super::release::app_called;
use crate::admin::client::Client;
use crate::admin::gates::told;
use crate::cli::{Exit, Printer};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The app's name in the configuration
    app: String,
}

pub(crate) async fn run(args: &Args, client: &Client, printer: &Printer) -> anyhow::Result<Exit> {
    let app = app_called(client, &args.app).await?;
    let Some(settings) = &app.warm_up else {
        printer.talk(format_args!("`{}` has no warm_up in the gate's configuration", app.name));
        return Ok(Exit::Refused);
    };
    let limit = Duration::from_millis(settings.timeout_ms);
    let reply = client.warm_up(&app.name, limit).await?;
    printer.data(told(&app.name, &reply));
    Ok(Exit::Done)
}
