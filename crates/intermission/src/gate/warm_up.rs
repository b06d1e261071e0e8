//! Warming an app up: each of its upstreams is asked until it answers well several times in a row.
//!
//! It goes past the hold, by connections of the same kind and the same pool as users' requests, so that what an
//! application has to renew after a swap (its dead connections to the database, a failure it remembers) is renewed
//! before they are let go on.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use super::actor::Actor;
use super::audit::{Action, Entry, Outcome};
use super::control::AppControl;
use super::dial::dial;
use super::exchange::Failure;
use super::live::{App, AppId};
use super::question::{chain, judge, question, read_to_end};
use super::upstream::Upstream;
use super::worker::Worker;
use crate::config::gate::{Gate, WarmUp as Settings};

/// Callers that wait for the worker to take their wish, which it does at once.
pub(super) const WAITING_MAX: usize = 16;
/// By which an application can tell these requests from its users'.
const AGENT: &str = concat!("intermission-warm-up/", env!("CARGO_PKG_VERSION"));

/// One wish: which app, and where the outcome goes.
#[derive(Debug)]
pub(crate) struct Asked {
    app: AppId,
    timeout: Option<Duration>,
    reply: oneshot::Sender<Result<Vec<Warmed>, WarmUpError>>,
}

/// An upstream that answers as it must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warmed {
    pub upstream: String,
    pub requests: u64,
    /// Those of them that did not succeed.
    pub failed: u64,
    pub took: Duration,
}

/// Why an app is not warm.
#[derive(Debug, thiserror::Error)]
pub enum WarmUpError {
    #[error("{failed} of {all} upstreams did not answer 2xx {wanted} within {bound:?}: {said}")]
    Failed { failed: usize, all: usize, wanted: String, bound: Duration, said: String },
    #[error("another caller is warming this app up")]
    UnderWay,
    #[error("the gate is stopping")]
    Stopping,
}

impl AppControl {
    /// Asks every upstream at the same time; done when each has answered as the app's settings demand, within `timeout`
    /// too, if there is one. Held or not, the app stays what it is. Dropping the future ends it.
    ///
    /// # Errors
    /// [`WarmUpError::Failed`] names the upstreams that did not in time, and what they last did.
    pub async fn warm_up(
        &self,
        actor: &Actor,
        timeout: Option<Duration>,
    ) -> Result<Vec<Warmed>, WarmUpError> {
        let warmed = self.warm_up_now(timeout).await;
        let outcome = match &warmed {
            Ok(_) => Outcome::Warm,
            Err(WarmUpError::Failed { .. }) => Outcome::Failed,
            Err(WarmUpError::UnderWay | WarmUpError::Stopping) => Outcome::Refused,
        };
        self.audit.note(&Entry {
            app: &self.name,
            action: Action::WarmUp,
            outcome,
            actor,
            generation: None,
            holder: None,
            reason: None,
            error: warmed.as_ref().err().map(ToString::to_string),
        });
        warmed
    }

    async fn warm_up_now(&self, timeout: Option<Duration>) -> Result<Vec<Warmed>, WarmUpError> {
        let Ok(_alone) = self.warming.try_lock() else { return Err(WarmUpError::UnderWay) };
        let (reply, answer) = oneshot::channel();
        let stopping = |_| WarmUpError::Stopping;
        self.warm_ups.send(Asked { app: self.id, timeout, reply }).await.map_err(stopping)?;
        answer.await.unwrap_or(Err(WarmUpError::Stopping))
    }
}

/// Does what is asked for, each in a task of its own.
pub(super) async fn serve(worker: Rc<Worker>, mut asked: mpsc::Receiver<Asked>) {
    let stopping = worker.shutdown.clone();
    loop {
        let Asked { app, timeout, mut reply } = tokio::select! {
            asked = asked.recv() => match asked {
                Some(asked) => asked,
                None => return,
            },
            () = stopping.stopping() => return,
        };
        let warming = Rc::clone(&worker);
        worker.shutdown.spawn_local(async move {
            let live = warming.live();
            let Some(app) = live.app(app) else { return };
            tokio::select! {
                warmed = warm_up(&warming, &live.settings, app, timeout) => drop(reply.send(warmed)),
                () = reply.closed() => {}
                () = warming.shutdown.ending() => {}
            }
        });
    }
}

async fn warm_up(
    worker: &Worker,
    gate: &Gate,
    app: &App,
    timeout: Option<Duration>,
) -> Result<Vec<Warmed>, WarmUpError> {
    let Some(settings) = &app.settings.warm_up else { return Ok(Vec::new()) };
    let bound = timeout.map_or(settings.timeout, |timeout| timeout.min(settings.timeout));
    let host = settings.host_for(&app.settings.hosts).unwrap_or_default();
    let asking = Asking { worker, gate, settings, host, bound, began: Instant::now() };
    let all = join_all(app.upstreams.iter().map(|upstream| asking.until_warm(upstream))).await;
    let count = all.len();
    let (mut warmed, mut failed) = (Vec::new(), Vec::new());
    for outcome in all {
        match outcome {
            Ok(one) => warmed.push(one),
            Err(said) => failed.push(said),
        }
    }
    if failed.is_empty() {
        return Ok(warmed);
    }
    let error = WarmUpError::Failed {
        failed: failed.len(),
        all: count,
        wanted: wanted(settings),
        bound,
        said: failed.join("; "),
    };
    tracing::warn!(app = app.settings.name, %error, "warm-up");
    Err(error)
}

/// One warm-up of one app.
struct Asking<'a> {
    worker: &'a Worker,
    gate: &'a Gate,
    settings: &'a Settings,
    host: &'a str,
    bound: Duration,
    began: Instant,
}

impl Asking<'_> {
    /// The error names the upstream and what it last did.
    async fn until_warm(&self, upstream: &Upstream) -> Result<Warmed, String> {
        let (mut requests, mut failed, mut in_a_row) = (0, 0, 0);
        let mut last = "nothing was asked".to_owned();
        let deadline = self.began + self.bound;
        loop {
            let round = (0..self.settings.concurrency).map(|_| self.ask(upstream));
            let Ok(answers) = timeout_at(deadline, join_all(round)).await else {
                last = format!("no answer to the last of them; before: {last}");
                requests += u64::try_from(self.settings.concurrency).unwrap_or(u64::MAX);
                break;
            };
            let before = failed;
            for answer in answers {
                requests += 1;
                if let Err(problem) = answer {
                    failed += 1;
                    last = problem;
                }
            }
            in_a_row = if failed == before { in_a_row + 1 } else { 0 };
            if in_a_row >= self.settings.successes {
                let (upstream, took) = (upstream.address().to_string(), self.began.elapsed());
                return Ok(Warmed { upstream, requests, failed, took });
            }
            if in_a_row > 0 {
                continue;
            }
            if Instant::now() + self.settings.interval >= deadline {
                break;
            }
            sleep(self.settings.interval).await;
        }
        Err(format!("{}, asked {requests} times: {last}", upstream.address()))
    }

    /// One request, on a pooled connection if there is one. Asked anew only where nothing of it was sent.
    async fn ask(&self, upstream: &Upstream) -> Result<(), String> {
        let mut request = question(self.gate, &self.settings.path, self.host, AGENT);
        loop {
            let pooled = upstream.pool.check_out();
            let was_pooled = pooled.is_some();
            let connection = match pooled {
                Some(connection) => connection,
                None => self.dial(upstream).await?,
            };
            let connection = upstream.pool.adopt(connection, upstream.enter());
            let limit = self.gate.upstream_head_timeout;
            match connection.exchange(request, None, limit, &self.worker.shutdown).await {
                Ok(response) => {
                    let status = response.status();
                    let limit = Instant::now() + self.gate.upstream_body_timeout;
                    match timeout_at(limit, read_to_end(response)).await {
                        Ok(Some(free)) => upstream.pool.check_in(free),
                        Ok(None) => {}
                        Err(_elapsed) => return Err(format!("{status} without its end")),
                    }
                    return judge(status);
                }
                Err(Failure::Unsent(unsent)) if was_pooled => request = unsent,
                Err(failure) => return Err(chain(&failure)),
            }
        }
    }

    async fn dial(&self, upstream: &Upstream) -> Result<Box<super::pool::Connection>, String> {
        let limit = self.gate.upstream_connect_timeout;
        let dialed = dial(&upstream.standing, limit).await;
        dialed.map_err(|error| chain(&error))
    }
}

fn wanted(settings: &Settings) -> String {
    format!("{} times in a row to GET {}", settings.successes, settings.shown_path())
}
