//! The switch of the older pauser, on the port that users come by: `enable`, `disable` and `status` below the app's
//! `control_path`. Only who is near enough, and whom no other proxy has passed on.

use std::sync::Arc;

use bytes::Bytes;
use hold::{Holder, State};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, FORWARDED, HeaderName, HeaderValue, VIA};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use tokio_util::task::AbortOnDropHandle;

use super::client::Client;
use super::control::{AppControl, HoldError};
use super::{Actor, Seen};
use crate::config::gate::Switch;

/// Whoever sends one of these is a proxy: the address is its own, not its client's.
const PASSED_ON: [HeaderName; 4] = [
    FORWARDED,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
];

/// Whether `client` may use the switch, by the request's `headers`.
pub(super) fn may_switch(control: &AppControl, client: &Client, headers: &HeaderMap) -> bool {
    let settings = control.settings();
    let is_near = settings.control_from.iter().any(|range| range.contains(client.address));
    is_near && !PASSED_ON.iter().any(|name| headers.contains_key(name))
}

/// Does it, and says how things are then. A client that leaves during the drain takes its hold back.
pub(super) async fn switch(
    control: &Arc<AppControl>,
    client: &Client,
    switch: Switch,
) -> Response<Full<Bytes>> {
    let (of_task, address) = (Arc::clone(control), client.address);
    let doing = async move {
        let _call = of_task.calls.read().await;
        if of_task.shutdown.is_replaced() {
            let text = "a new gate has taken over: connect again\n".to_owned();
            return (StatusCode::SERVICE_UNAVAILABLE, text);
        }
        let actor = Actor::Path { peer: address };
        match switch {
            Switch::Status => (StatusCode::OK, status(&of_task)),
            Switch::Enable => enable(&of_task, actor).await,
            Switch::Disable => disable(&of_task, &actor).await,
        }
    };
    // Where the other holds are led, whichever thread this connection is on.
    let done = AbortOnDropHandle::new(control.shutdown.spawn_on(doing, &control.runtime)).await;
    let (code, text) = done.unwrap_or_else(|error| {
        tracing::error!(%error, "a switch was not done");
        (StatusCode::SERVICE_UNAVAILABLE, "the gate is stopping\n".to_owned())
    });
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Held by the switch already: the lease begins anew.
async fn enable(control: &Arc<AppControl>, actor: Actor) -> (StatusCode, String) {
    let (settings, holder) = (control.settings(), holder(control, &actor));
    let outcome = match control.held_by(&holder.name) {
        Some(generation) => {
            control.renew(&actor, generation, settings.lease).await.map(|_renewed| ())
        }
        None => control.hold(actor, holder, settings.lease, settings.drain).await.map(|_held| ()),
    };
    match outcome {
        Ok(()) => (StatusCode::OK, status(control)),
        Err(error) => refused(&error),
    }
}

/// Only what the switch has enabled: a swap's hold is the swap's.
async fn disable(control: &Arc<AppControl>, actor: &Actor) -> (StatusCode, String) {
    let Some(generation) = control.held_by(&holder(control, actor).name) else {
        let held = control.hold.status().hold.map(|hold| hold.holder.name);
        return match held {
            Some(name) => (StatusCode::CONFLICT, format!("not released: held by {name}\n")),
            None => (StatusCode::OK, status(control)),
        };
    };
    match control.release(actor, generation).await {
        Ok(_released) => (StatusCode::OK, status(control)),
        Err(error) => refused(&error),
    }
}

fn holder(control: &AppControl, actor: &Actor) -> Holder {
    let path = control.settings().control_path.clone().unwrap_or_default();
    Holder { name: format!("path {path}/enable"), reason: actor.to_string() }
}

/// Its first line is what scripts look at.
fn status(control: &AppControl) -> String {
    let status = control.hold.status();
    let word = match status.state {
        State::Open => "running",
        State::Draining | State::Held => "paused",
        State::Releasing => "resuming",
    };
    let mut text = format!("{word}\nheld {}\nin flight {}\n", status.held, status.in_flight);
    if let Some(hold) = &status.hold {
        let left = hold.lease_left.as_secs_f64();
        text.push_str(&format!("by {}\nlease {left:.1}\n", hold.holder.name));
    }
    text
}

fn refused(error: &HoldError) -> (StatusCode, String) {
    let mut text = format!("{error}\n");
    let code = match error {
        HoldError::AlreadyHeld(held) => {
            text = format!("not held: held by {}\n", held.current.holder.name);
            StatusCode::CONFLICT
        }
        HoldError::Stale(_) | HoldError::ReleasedWhileDraining { .. } => StatusCode::CONFLICT,
        HoldError::DrainTimedOut { stragglers, .. } => {
            for Seen { method, path, age } in stragglers {
                text.push_str(&format!("{method} {path} for {} ms\n", age.as_millis()));
            }
            StatusCode::GATEWAY_TIMEOUT
        }
        HoldError::Predecessor { .. } => StatusCode::BAD_GATEWAY,
        HoldError::Unwritten(_) => StatusCode::INTERNAL_SERVER_ERROR,
        HoldError::Retired | HoldError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, text)
}
