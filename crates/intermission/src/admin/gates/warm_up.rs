//! The warm-up of a gate's apps, as a swap asks for it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{AdminGate, find};
use crate::{
    admin::{
        api::{Status, UpstreamStatus, WarmUpReply, WarmUpSettings},
        client::ClientError,
    },
    swap::{
        gates::{GateBounds, GateError, MaxWait, WarmUp},
        refusal::{Code, Refusal},
    },
};

/// How often a gate that cannot be reached is asked again: it may be starting.
const PAUSE: Duration = Duration::from_millis(100);

impl AdminGate {
    /// Asked before the swap: what fails now fails when users wait for it.
    pub(super) async fn warm_up_refusal(&self, status: &Status) -> Option<Refusal> {
        let name = &self.app;
        let settings = find(status, name)?.warm_up.as_ref()?;
        let limit = Duration::from_millis(settings.timeout_ms);
        let error = self.client.warm_up(name, limit).await.err()?;
        Some(Refusal::new(
            Code::WarmUpFails,
            self.error(format!("warm up {name}"), &error).to_string(),
            format!(
                "bring these upstreams up, or correct app.{name}.warm_up; then try: {} warm-up {name}",
                self.program
            ),
        ))
    }

    pub(super) fn bounds_of(&self, status: &Status) -> GateBounds {
        let Some(app) = find(status, &self.app) else { return GateBounds::default() };
        GateBounds {
            warm_up: app.warm_up.as_ref().map(|settings| WarmUp {
                bound: Duration::from_millis(settings.timeout_ms),
                said: vec![words(&app.name, settings, &app.upstreams)],
            }),
            max_wait: Some(MaxWait {
                app: app.name.clone(),
                bound: Duration::from_millis(app.max_wait_ms),
            }),
        }
    }

    /// A gate that died comes back held, and is asked again while there is time.
    pub(super) async fn warm_up_app(&self, bound: Duration) -> Result<String, GateError> {
        let app = &self.app;
        let deadline = Instant::now() + bound;
        let mut left = bound;
        loop {
            match self.client.warm_up(app, left).await {
                Ok(reply) => return Ok(told(app, &reply)),
                Err(ClientError::Connect { .. } | ClientError::Broke { .. })
                    if Instant::now() + PAUSE < deadline =>
                {
                    sleep(PAUSE).await;
                    left = deadline.saturating_duration_since(Instant::now());
                }
                Err(error) => {
                    let mut error = self.error(format!("warm up {app}"), &error);
                    error.reason.push_str(&format!("; by hand: {} warm-up {app}", self.program));
                    return Err(error);
                }
            }
        }
    }
}

fn words(app: &str, settings: &WarmUpSettings, upstreams: &[UpstreamStatus]) -> String {
    let WarmUpSettings { path, host, successes, concurrency, timeout_ms } = settings;
    let at_once = if *concurrency > 1 { format!(", {concurrency} at once") } else { String::new() };
    let bound = Duration::from_millis(*timeout_ms);
    let names: Vec<_> = upstreams.iter().map(|upstream| upstream.upstream.as_str()).collect();
    format!(
        "{app}: GET {path} (Host: {host}) of {} until each answers 2xx {successes} times in a row{at_once}  ({bound:?} at \
         most)",
        names.join(", ")
    )
}

/// In how many requests each upstream was warm.
pub(crate) fn told(app: &str, reply: &WarmUpReply) -> String {
    let each: Vec<String> = reply
        .upstreams
        .iter()
        .map(|warm| {
            let failed =
                if warm.failed > 0 { format!(", {} failed", warm.failed) } else { String::new() };
            format!("{} ({} requests{failed})", warm.upstream, warm.requests)
        })
        .collect();
    if each.is_empty() { String::new() } else { format!("{app}: {}", each.join(", ")) }
}
