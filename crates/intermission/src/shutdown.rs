//! Stopping in two steps, and the tasks that stop with it. Before that, perhaps, a successor takes over.
//!
//! `stopping`: no new connection, what is there may finish. `ending`: the grace is over, whoever
//! still waits gets a last answer. Every task is spawned here, ends on one of the two, and is
//! waited for, with a bound.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal as NixSignal};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What one thread needs to know about the end, and the list of its tasks. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    replaced: CancellationToken,
    stopping: CancellationToken,
    /// Set before `stopping` is: to look at it takes no lock.
    is_stopping: Arc<AtomicBool>,
    ending: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same stop with its own list of tasks, for another thread.
    #[must_use]
    pub fn with_own_tasks(&self) -> Self {
        Self { tasks: TaskTracker::new(), ..self.clone() }
    }

    /// A successor has taken over: no new connections, and no hurry.
    pub fn replace(&self) {
        self.replaced.cancel();
    }

    pub async fn replaced(&self) {
        self.replaced.cancelled().await;
    }

    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.replaced.is_cancelled()
    }

    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.stopping.cancel();
    }

    pub fn end(&self) {
        self.stop();
        self.ending.cancel();
    }

    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    pub async fn ending(&self) {
        self.ending.cancelled().await;
    }

    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// On another runtime than the caller's.
    pub fn spawn_on<F>(&self, task: F, runtime: &Handle) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn_on(task, runtime)
    }

    /// For a thread that runs a `LocalSet`.
    pub fn spawn_local<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.tasks.spawn_local(task)
    }

    /// Runs `task`, which blocks, on a thread where it may.
    pub fn spawn_blocking<F, T>(&self, task: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.tasks.spawn_blocking(task)
    }

    /// Waits until every task on this list has ended; false if some had not after `bound`.
    pub async fn tasks_ended(&self, bound: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(bound, self.tasks.wait()).await.is_ok()
    }
}

/// The signals that ask this process to stop.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// Which signal it was: its name, and whether a terminal sent it to the whole foreground group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    Interrupt,
    Terminate,
    Hangup,
}

impl StopSignals {
    /// From now on these signals no longer end the process by themselves. Called before there are other threads: one that
    /// comes while the handlers are put in place waits until they are, because the library under tokio may lose it
    /// (signal-hook-registry 1.4.8 says so; one in some 4000 was lost, when it came in the first milliseconds).
    ///
    /// # Errors
    /// The operating system refuses to install a handler.
    pub fn install() -> std::io::Result<Self> {
        let all: SigSet =
            [NixSignal::SIGINT, NixSignal::SIGTERM, NixSignal::SIGHUP].into_iter().collect();
        all.thread_block()?;
        let installed = Self::install_now();
        all.thread_unblock()?;
        installed
    }

    fn install_now() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    pub async fn next(&mut self) -> StopSignal {
        tokio::select! {
            _ = self.interrupt.recv() => StopSignal::Interrupt,
            _ = self.terminate.recv() => StopSignal::Terminate,
            _ = self.hangup.recv() => StopSignal::Hangup,
        }
    }
}

impl StopSignal {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
        }
    }
}
