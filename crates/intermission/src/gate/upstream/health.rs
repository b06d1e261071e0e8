//! Active health checks: every upstream of an app is asked from time to time, by one worker for all of them.
//!
//! What an application answers while its database is swapped is not held against it: as long as the app is not open, and
//! for checks that began before it was, failures do not count.

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::{sleep, timeout};

use super::Standing;
use crate::config::gate::Health as Settings;
use crate::gate::dial::dial;
use crate::gate::live::{App, Live};
use crate::gate::question::{chain, judge, question, read_to_end};
use crate::gate::worker::Worker;

/// By which an application can tell these requests from its users'.
const AGENT: &str = concat!("intermission-health/", env!("CARGO_PKG_VERSION"));

/// Checks every upstream of every app that wants it, as long as the worker serves by `live`.
pub(crate) fn watch_health(worker: &Rc<Worker>, live: &Rc<Live>) {
    for app in &live.apps {
        let Some(settings) = &app.settings.health else { continue };
        for upstream in &app.upstreams {
            let (worker, live, app) = (Rc::clone(worker), Rc::clone(live), Rc::clone(app));
            let standing = Arc::clone(&upstream.standing);
            let settings = settings.clone();
            let shutdown = worker.shutdown.clone();
            shutdown.spawn_local(async move {
                let (over, of_worker) = (Rc::clone(&live), worker.shutdown.clone());
                tokio::select! {
                    () = Watch { worker, live, app, standing, settings }.run() => {}
                    () = over.over(&of_worker) => {}
                }
            });
        }
    }
}

struct Watch {
    worker: Rc<Worker>,
    live: Rc<Live>,
    app: Rc<App>,
    standing: Arc<Standing>,
    settings: Settings,
}

/// Successes or failures in a row.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    successes: usize,
    failures: usize,
}

impl Watch {
    async fn run(self) {
        let mut row = Row::default();
        loop {
            let before = self.app.open_since();
            let said = match timeout(self.settings.timeout, self.ask()).await {
                Ok(said) => said,
                Err(_elapsed) => Err(format!("no answer within {:?}", self.settings.timeout)),
            };
            let counts = before.is_some() && before == self.app.open_since();
            match said {
                Ok(()) => row.succeeded(),
                Err(_) if !counts => {}
                Err(problem) => {
                    row.failed();
                    if row.failures == self.settings.fall {
                        self.put(Some(format!("health check: {problem}")));
                    }
                }
            }
            if row.successes == self.settings.rise {
                self.put(None);
            }
            sleep(self.settings.interval).await;
        }
    }

    fn put(&self, problem: Option<String>) {
        let (app, upstream) = (&self.app.settings.name, self.standing.address());
        match &problem {
            Some(problem) => tracing::warn!(app, %upstream, problem, "upstream down"),
            None => tracing::info!(app, %upstream, "upstream up"),
        }
        self.standing.set_down(problem);
    }

    /// By a connection of its own: what is asked is also whether it takes one.
    async fn ask(&self) -> Result<(), String> {
        let settings = &self.live.settings;
        let limit = settings.upstream_connect_timeout;
        let dialed = dial(&self.standing, limit).await;
        let connection = dialed.map_err(|error| chain(&error))?;
        let host = self.settings.host_for(&self.app.settings.hosts).unwrap_or_default();
        let request = question(settings, &self.settings.path, host, AGENT);
        let answer =
            connection.exchange(request, None, self.settings.timeout, &self.worker.shutdown).await;
        let answer = answer.map_err(|error| chain(&error))?;
        let status = answer.status();
        // A server that is not let finish logs an error.
        read_to_end(answer).await;
        judge(status)
    }
}

impl Row {
    fn succeeded(&mut self) {
        *self = Self { successes: self.successes.saturating_add(1), failures: 0 };
    }

    fn failed(&mut self) {
        *self = Self { successes: 0, failures: self.failures.saturating_add(1) };
    }
}
