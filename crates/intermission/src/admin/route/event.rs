//! `GET /v1/events`: what happens to holds, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use super::Context;
use crate::admin::api::{ErrorCode, Event, Lost};
use crate::admin::error::ApiError;
use crate::shutdown::Shutdown;

const SUBSCRIBERS_MAX: usize = 32;
/// So that a subscriber that left without a word is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Permits of those who listen.
#[derive(Debug, Clone)]
pub(super) struct Subscribers(Arc<Semaphore>);

impl Subscribers {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(SUBSCRIBERS_MAX)))
    }
}

struct Subscription {
    events: broadcast::Receiver<Event>,
    shutdown: Shutdown,
    _permit: OwnedSemaphorePermit,
}

pub(super) async fn events(
    State(context): State<Context>,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, ApiError> {
    let permit = Arc::clone(&context.subscribers.0).try_acquire_owned().map_err(|_none_left| {
        let message = format!("{SUBSCRIBERS_MAX} subscribers listen already");
        ApiError::new(ErrorCode::TooManySubscribers, message)
    })?;
    let events = context.gate.events.subscribe();
    let shutdown = context.gate.shutdown.clone();
    let subscription = Subscription { events, shutdown, _permit: permit };
    let stream = unfold(subscription, async |mut subscription| {
        let event = tokio::select! {
            event = subscription.events.recv() => event,
            // It comes back to the successor.
            () = subscription.shutdown.replaced() => return None,
            () = subscription.shutdown.ending() => return None,
        };
        let event = match event {
            Ok(event) => SseEvent::default().event("hold").json_data(event),
            Err(RecvError::Lagged(lost)) => {
                SseEvent::default().event("lost").json_data(Lost { lost })
            }
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event.expect("plain numbers and strings are JSON")), subscription))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
