//! Following a swap while it runs, without ever holding it up.

use std::{
    io::Write,
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    time::Duration,
};

use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::Printer,
    shutdown::StopSignals,
    swap::{
        executor::Listener,
        record::{Action, Entry, Outcome, Record, Verdict},
        step::Step,
    },
};

/// Lines waiting for the terminal. More are dropped: the journal has them all.
const LINES_MAX: usize = 1024;
/// How long the first line waits for others, unless one is a card.
const PRINT_EVERY: Duration = Duration::from_millis(20);
const TOLD_TO_STOP: &str =
    "before promote this is taken back, from there on it is finished; either way it ends by itself";

/// A listener that prints on a thread of its own: a terminal that is stopped must not stop the swap. The printer ends
/// when the listener is dropped.
pub(super) fn watcher() -> (Listener, JoinHandle<()>) {
    let (sender, lines) = mpsc::sync_channel::<String>(LINES_MAX);
    let card = Arc::new(Urgent::default());
    let urgent = Arc::clone(&card);
    let printer = spawn_blocking(move || {
        while let Ok(first) = lines.recv() {
            let mut text = first + "\n";
            urgent.wait(PRINT_EVERY);
            for line in lines.try_iter() {
                text.push_str(&line);
                text.push('\n');
            }
            // Locked for whole lines: others talk too.
            if std::io::stderr().lock().write_all(text.as_bytes()).is_err() {
                break;
            }
        }
    });
    let listener: Listener = Arc::new(move |entry: &Entry| {
        if let Some(line) = told(entry) {
            // Full or gone: the swap goes on either way.
            drop(sender.try_send(line));
            if matches!(entry.record, Record::Intent { .. }) {
                card.hurry();
            }
        }
    });
    (listener, printer)
}

/// Whether there is something to print that must not wait: printed one by one, what comes while users wait would wake a thread for each.
#[derive(Debug, Default)]
struct Urgent {
    is_so: Mutex<bool>,
    changed: Condvar,
}

impl Urgent {
    /// A card is on the screen before what it is for.
    fn hurry(&self) {
        *self.is_so.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    /// Returns when there is, or after a while.
    fn wait(&self, bound: Duration) {
        let is_so = self.is_so.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(is_so, bound, |is_so| !*is_so);
        let (mut is_so, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *is_so = false;
    }
}

fn told(entry: &Entry) -> Option<String> {
    match &entry.record {
        Record::Outcome { action, step, outcome, took_us } => {
            let action = match action {
                Action::Perform => "",
                Action::Verify => "verify ",
                Action::Undo => "undo ",
            };
            let took = Duration::from_micros(*took_us);
            let said = match outcome {
                Outcome::Done { facts } => facts.note.clone().unwrap_or_default(),
                Outcome::Failed { message, .. } => format!("FAILED: {message}"),
                Outcome::Verified { verdict: Verdict::TookEffect, message } => {
                    format!("it happened: {message}")
                }
                Outcome::Verified { verdict: Verdict::DidNot, message } => {
                    format!("it did not: {message}")
                }
                Outcome::Verified { verdict: Verdict::CannotTell, message } => {
                    format!("cannot tell: {message}")
                }
            };
            Some(format!(
                "  {:<20} {:>9.1} ms  {said}",
                format!("{action}{step}"),
                took.as_secs_f64() * 1e3
            ))
        }
        Record::Interrupted { reason } => Some(format!("  interrupted: {reason}")),
        Record::Noted { message } => Some(format!("  noted: {message}")),
        Record::Resumed { reason } => Some(format!("  resumed: {reason}")),
        // At the beginning they were told with the plan.
        Record::Intent { step, emergency, .. } if *step != Step::Lock && !emergency.is_empty() => {
            Some(format!(
                "  should this process die from here on:\n    {}",
                emergency.join("\n    ")
            ))
        }
        Record::Opened { .. } | Record::Intent { .. } | Record::Closed { .. } => None,
    }
}

/// SIGINT, SIGTERM and SIGHUP stop a swap: before the commit point it is taken back, after it it is finished. The last
/// comes when a login is lost: then nobody listens any more, and the journal has everything. False when they cannot be
/// watched for.
pub(super) fn cancel_on_signals(cancel: &CancellationToken, printer: &Printer) -> bool {
    let mut signals = match StopSignals::install() {
        Ok(signals) => signals,
        Err(error) => {
            printer.talk(format_args!("cannot watch for signals: {error}"));
            return false;
        }
    };
    let cancel = cancel.clone();
    tokio::spawn(async move {
        loop {
            let signal = signals.next().await.name();
            cancel.cancel();
            // A terminal that is stopped stops only this.
            drop(
                spawn_blocking(move || writeln!(std::io::stderr(), "{signal}: {TOLD_TO_STOP}"))
                    .await,
            );
        }
    });
    true
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Urgent;

    #[test]
    fn a_card_waits_for_no_other_line_and_others_do() {
        let (urgent, hour) = (Urgent::default(), Duration::from_secs(3600));
        urgent.hurry();
        urgent.wait(hour);
        let began = Instant::now();
        urgent.wait(Duration::from_millis(5));
        assert!(began.elapsed() >= Duration::from_millis(5));
    }
}
