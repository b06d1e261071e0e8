//! `intermission hold APP [-- CMD…]`: holds, keeps the lease, and releases whatever happens.

mod child;
mod keeper;

use std::ffi::OsString;
use std::time::Duration;

use self::keeper::Keeper;
use crate::admin::api::{HoldReply, HoldRequest, Straggler};
use crate::admin::client::{Client, ClientError};
use crate::cli::{Exit, Printer, parse_duration};
use crate::gate::millis;
use crate::shutdown::StopSignals;

const WHAT_HAPPENS: &str = "\
Without CMD the app is held until Ctrl-C, SIGTERM or SIGHUP. With CMD it is held while CMD runs, and
released when CMD ends, fails or is killed; a signal to this command is passed on to CMD. The exit
code is then that of CMD (128+n if signal n ended it, 127 if it was not found, 126 if it could not
be started), or 3 if CMD succeeded but the hold had ended before it.

The lease is renewed all the time. If this command is killed, the end of the lease releases.";

#[derive(Debug, clap::Args)]
#[command(after_help = WHAT_HAPPENS)]
pub(crate) struct Args {
    /// The app's name in the configuration
    app: String,
    /// How long the hold outlives this command if it is killed [default: the app's `lease`]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    lease: Option<Duration>,
    /// How long requests in flight may take before the hold is given up [default: the app's `drain`]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    drain: Option<Duration>,
    /// Shown to whoever asks why the app is held
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Run this while held
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub(crate) async fn run(args: &Args, client: &Client, printer: &Printer) -> anyhow::Result<Exit> {
    // From here on a signal no longer ends this process with the app held.
    let mut signals = StopSignals::install()?;
    let request = HoldRequest {
        holder: format!("intermission hold (pid {})", std::process::id()),
        reason: args.reason.clone(),
        lease_ms: args.lease.map(millis),
        drain_ms: args.drain.map(millis),
    };
    let held = tokio::select! {
        held = client.hold(&args.app, &request) => held,
        signal = signals.next() => {
            // The gate releases because the call is dropped, unless it had just answered.
            client.release_of(&args.app, &request.holder).await?;
            let signal = signal.name();
            printer.talk(format_args!("{signal} while `{}` was draining: released", args.app));
            return Ok(Exit::Refused);
        }
    };
    let held = held.inspect_err(|error| tell_stragglers(error, printer))?;
    tell_held(&args.app, &held, printer);
    let keeper = Keeper::new(client, &args.app, &held, printer);
    let ended = match args.command.split_first() {
        None => keeper.until_signal(&mut signals).await,
        Some((program, arguments)) => keeper.run(program, arguments, &mut signals).await,
    };
    keeper.release(ended).await
}

fn tell_held(app: &str, held: &HoldReply, printer: &Printer) {
    let HoldReply { generation, lease_ms, drained_ms, killed } = held;
    for Straggler { method, path, age_ms } in killed {
        printer.talk(format_args!("cut off after {age_ms} ms: {method} {path}"));
    }
    printer.talk(format_args!(
        "`{app}` is held (generation {generation}, drained in {drained_ms} ms, lease {lease_ms} ms, renewed)"
    ));
}

fn tell_stragglers(error: &ClientError, printer: &Printer) {
    let ClientError::Refused(body) = error else { return };
    for straggler in &body.stragglers {
        let (method, path) = (&straggler.method, &straggler.path);
        let age_ms = straggler.age_ms;
        printer.talk(format_args!("still in flight: {method} {path} for {age_ms} ms"));
    }
}
