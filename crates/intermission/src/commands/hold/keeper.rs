//! Keeps a hold alive while it is wanted, and ends it.

use std::ffi::OsString;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep};

use super::child;
use crate::admin::api::{ErrorCode, HoldReply, ReleaseRequest, RenewRequest};
use crate::admin::client::{Client, ClientError};
use crate::cli::{Exit, Printer};
use crate::commands::release;
use crate::shutdown::StopSignals;

/// Two renewals may fail before the lease is over.
const RENEWALS_PER_LEASE: u32 = 3;
const RELEASE_TRIES_MAX: u32 = 50;
const RELEASE_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Keeper<'k> {
    client: &'k Client,
    app: &'k str,
    generation: u64,
    lease: Duration,
    printer: &'k Printer,
}

/// What the time of the hold came to.
pub(super) struct Ended {
    exit: Exit,
    /// The hold was over before it was released here.
    lost: bool,
}

impl<'k> Keeper<'k> {
    pub(super) fn new(
        client: &'k Client,
        app: &'k str,
        held: &HoldReply,
        printer: &'k Printer,
    ) -> Self {
        let lease = Duration::from_millis(held.lease_ms);
        Self { client, app, generation: held.generation, lease, printer }
    }

    pub(super) async fn until_signal(&self, signals: &mut StopSignals) -> Ended {
        self.printer.talk("Ctrl-C releases");
        tokio::select! {
            signal = signals.next() => {
                self.printer.talk(format_args!("{}: releasing", signal.name()));
                Ended { exit: Exit::Done, lost: false }
            }
            why = self.keep_lease() => {
                self.printer.talk(format_args!("`{}` is no longer held: {why}", self.app));
                Ended { exit: Exit::Refused, lost: true }
            }
        }
    }

    pub(super) async fn run(
        &self,
        program: &OsString,
        arguments: &[OsString],
        signals: &mut StopSignals,
    ) -> Ended {
        let mut child = match child::start(program, arguments) {
            Ok(child) => child,
            Err(error) => {
                self.printer.talk(format_args!("cannot start {}: {error}", program.display()));
                let exit = Exit::Passed(child::start_failure_code(&error));
                return Ended { exit, lost: false };
            }
        };
        let mut lost = false;
        let mut keeping = pin!(self.keep_lease());
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                why = keeping.as_mut(), if !lost => {
                    lost = true;
                    self.tell_lost_under_command(&why);
                }
                signal = signals.next() => {
                    if let Err(error) = child::pass_on(signal, &child) {
                        let signal = signal.name();
                        self.printer.talk(format_args!("cannot pass {signal} on: {error}"));
                    }
                }
            }
        };
        let exit = match status {
            Ok(status) => match child::exit_code(status) {
                0 => Exit::Done,
                code => Exit::Passed(code),
            },
            Err(error) => {
                self.printer.talk(format_args!("cannot learn how the command ended: {error}"));
                Exit::NeedsOperator
            }
        };
        Ended { exit, lost }
    }

    /// Releases, unless it is over already. The gate may be restarting: it comes up held again.
    pub(super) async fn release(&self, ended: Ended) -> anyhow::Result<Exit> {
        let over = |exit| if exit == Exit::Done { Exit::NeedsOperator } else { exit };
        if ended.lost {
            return Ok(over(ended.exit));
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let request = ReleaseRequest { generation: self.generation };
            match self.client.release(self.app, &request).await {
                Ok(reply) => {
                    release::tell(self.app, &reply, self.printer);
                    return Ok(ended.exit);
                }
                Err(error) if error.code() == Some(ErrorCode::Stale) => {
                    self.printer.talk(format_args!("the hold had ended before: {error}"));
                    return Ok(over(ended.exit));
                }
                Err(
                    ClientError::Connect { .. }
                    | ClientError::Unreachable { .. }
                    | ClientError::Broke { .. },
                ) if tries < RELEASE_TRIES_MAX => {
                    sleep(RELEASE_PAUSE).await;
                }
                Err(error) => {
                    let lease = self.lease;
                    return Err(error).with_context(|| {
                        format!("`{}` may be held until its lease of {lease:?} ends", self.app)
                    });
                }
            }
        }
    }

    /// Renews until the hold is over; says why it is.
    async fn keep_lease(&self) -> String {
        let lease_ms = Some(crate::gate::millis(self.lease));
        let request = RenewRequest { generation: self.generation, lease_ms };
        let mut lease_end = Instant::now() + self.lease;
        loop {
            sleep(self.lease / RENEWALS_PER_LEASE).await;
            let asked = Instant::now();
            match self.client.renew(self.app, &request).await {
                Ok(reply) => {
                    lease_end = asked + self.lease;
                    if let Some(warning) = reply.warning {
                        self.printer.talk(format_args!("warning: {warning}"));
                    }
                }
                Err(error @ ClientError::Refused(_)) => return error.to_string(),
                Err(error) if Instant::now() >= lease_end => {
                    return format!("its lease could not be renewed: {error}");
                }
                Err(error) => {
                    self.printer
                        .talk(format_args!("cannot renew the lease, trying again: {error}"));
                }
            }
        }
    }

    fn tell_lost_under_command(&self, why: &str) {
        let app = self.app;
        self.printer.talk(format_args!(
            "*** `{app}` IS NO LONGER HELD: requests reach it while the command still runs ***\n*** {why} ***"
        ));
    }
}
