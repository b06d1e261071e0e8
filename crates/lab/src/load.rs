//! Open-loop load: requests leave by a schedule fixed beforehand and their latency counts from the scheduled time.
//!
//! A generator that waits for an answer before it sends the next request hides every stall it meets (coordinated
//! omission); this one never slows down for a slow server, it only has more requests outstanding.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

mod figure;
mod http;
mod record;
mod run;
mod schedule;

pub use figure::{Window, added_latency, median_latency, percentile, write_pause};
use record::Recorder;
pub use record::{Failure, Kind, Outcome, Progress, Recording, Sample};

/// Connections to the gate at once; over it a request waits, and its latency counts the wait.
const CONNECTIONS_MAX: usize = 2048;
/// Requests sent and unanswered at once; over it a request is not sent and counts as failed.
const OUTSTANDING_MAX: usize = 8192;

/// What to send where.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Address of the gate (or of any server that speaks the app's routes).
    pub target: SocketAddr,
    /// `Host` header, by which the gate tells apps apart.
    pub host: String,
    /// Requests per second.
    pub rate: u32,
    /// How many of 1000 requests are writes.
    pub writes_permille: u32,
    /// Logical clients. One client never has two writes under way, so that its order is defined.
    pub clients: u32,
    /// A request not answered this long after its intended time has failed.
    pub timeout: Duration,
    /// Seed of the jitter and of the tokens.
    pub seed: u64,
}

impl LoadOptions {
    /// 400 requests per second, half of them writes, by 64 clients.
    #[must_use]
    pub fn new(target: SocketAddr, host: &str) -> Self {
        Self {
            target,
            host: host.to_owned(),
            rate: 400,
            writes_permille: 500,
            clients: 64,
            timeout: Duration::from_secs(30),
            seed: 1,
        }
    }
}

/// Why the load could not run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The rate or the number of clients is zero.
    #[error("the load needs a rate and at least one client")]
    Nothing,
    /// No thread or runtime for it.
    #[error("cannot start the load")]
    Start(#[source] io::Error),
    /// Its thread ended by a panic.
    #[error("the load stopped by a panic")]
    Panicked,
}

/// A running load. Dropping it stops the load without waiting for it.
#[derive(Debug)]
pub struct Load {
    recorder: Arc<Recorder>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts sending, on a thread and a runtime of its own: a busy owner must not delay the schedule.
    pub fn start(options: LoadOptions) -> Result<Self, LoadError> {
        if options.rate == 0 || options.clients == 0 {
            return Err(LoadError::Nothing);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(LoadError::Start)?;
        let recorder = Arc::new(Recorder::start());
        let stop = CancellationToken::new();
        let work = run::run(options, Arc::clone(&recorder), stop.clone());
        let thread = std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || runtime.block_on(work))
            .map_err(LoadError::Start)?;
        Ok(Self { recorder, stop, thread: Some(thread) })
    }

    /// Time since the load started: the clock of every sample.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.recorder.since_start(Instant::now())
    }

    /// Counts so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.recorder.progress()
    }

    /// The counts for somebody who watches the load from elsewhere.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch { recorder: Arc::clone(&self.recorder) }
    }

    /// Sends no more, waits for what is outstanding (bounded by the request timeout) and returns everything. Blocking.
    pub fn stop(mut self) -> Result<Recording, LoadError> {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| LoadError::Panicked)?;
        }
        Ok(self.recorder.finish())
    }
}

/// The counts of a load, running or not.
#[derive(Debug, Clone)]
pub struct Watch {
    recorder: Arc<Recorder>,
}

impl Watch {
    /// Counts so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.recorder.progress()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests;
