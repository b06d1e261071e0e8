//! An application that holds its own requests: users by one port, the operator by another.
//!
//! ```text
//! cargo run -p hold --features tower --example axum_hold
//! curl -X POST http://127.0.0.1:3001/hold       # {"drain":"drained","generation":1}
//! curl http://127.0.0.1:3000/ &                 # waits
//! curl http://127.0.0.1:3001/                   # {"held":1,"in_flight":0,"state":"held"}
//! curl -X POST http://127.0.0.1:3001/release/1  # {"held_total":1,"released":1}: the first is answered
//! ```

use std::error::Error;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hold::tower::{HoldLayer, Refused};
use hold::{AlreadyHeld, Drain, Generation, Hold, Holder, Limits, Pace, Stale, Ticket};
use http_body_util::BodyExt;
use tokio::net::TcpListener;

const USERS: &str = "127.0.0.1:3000";
const OPERATOR: &str = "127.0.0.1:3001";

/// Who waits longer is told to come again.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// What is in flight at a hold has so long to end, or the hold ends itself.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);
/// A hold that nobody releases ends by itself.
const LEASE: Duration = Duration::from_secs(15);
const HELD_MAX: usize = 5000;
/// So many of the line begin at once, and so many run at most.
const PACE: Pace = Pace {
    concurrency: NonZeroU32::new(8).expect("8 is not 0"),
    concurrency_max: NonZeroU32::new(64).expect("64 is not 0"),
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (users, operator) = app();
    let by_users = axum::serve(TcpListener::bind(USERS).await?, users);
    let by_operator = axum::serve(TcpListener::bind(OPERATOR).await?, operator);
    tokio::try_join!(by_users.into_future(), by_operator.into_future())?;
    Ok(())
}

/// The routes of users and those of the operator.
pub(crate) fn app() -> (Router, Router) {
    let (hold, layer) = HoldLayer::new(Limits::new(HELD_MAX, PACE), MAX_WAIT, refuse);
    let users = Router::new()
        .route("/", get(|| async { "served\n" }))
        // The ticket of a response goes with its body: rows that are still being read for a
        // download are in flight.
        .layer(layer.keep_ticket(until_sent))
        // What comes after the layer is answered while the others are held.
        .route("/health", get(|| async { "well\n" }));
    let operator = Router::new()
        .route("/", get(status))
        .route("/hold", post(close))
        .route("/release/{generation}", post(release))
        .with_state(hold);
    (users, operator)
}

pub(crate) fn refuse(_request: Request, refused: Refused) -> Response {
    let come_again = [(header::RETRY_AFTER, "5")];
    (StatusCode::SERVICE_UNAVAILABLE, come_again, format!("{refused}\n")).into_response()
}

pub(crate) fn until_sent(ticket: Ticket, response: Response) -> Response {
    response.map(|body| {
        Body::new(body.map_err(move |error| {
            let _counted = &ticket;
            error
        }))
    })
}

async fn close(State(hold): State<Hold>) -> Response {
    let now = Instant::now();
    let holder = Holder { name: "operator".to_owned(), reason: "maintenance".to_owned() };
    let generation = match hold.close(Generation::NONE, holder, now + LEASE) {
        Ok(generation) => generation,
        Err(already @ AlreadyHeld { .. }) => return conflict(&already),
    };
    let lease_of = hold.clone();
    tokio::spawn(async move { lease_of.keep_lease(generation).await });
    let drain = match hold.drained(generation, now + DRAIN_WITHIN).await {
        Drain::Drained => "drained",
        Drain::TimedOut { in_flight: _ } => "timed out",
        Drain::Over => "over",
    };
    Json(serde_json::json!({ "generation": generation.get(), "drain": drain })).into_response()
}

async fn release(State(hold): State<Hold>, Path(generation): Path<u64>) -> Response {
    match hold.release(Generation::new(generation)) {
        Ok(figures) => Json(serde_json::json!({
            "held_total": figures.held_total, "released": figures.released,
        }))
        .into_response(),
        Err(stale @ Stale { .. }) => conflict(&stale),
    }
}

async fn status(State(hold): State<Hold>) -> Response {
    let status = hold.status();
    Json(serde_json::json!({
        "state": status.state.name(), "held": status.held, "in_flight": status.in_flight,
    }))
    .into_response()
}

fn conflict(refusal: &dyn Error) -> Response {
    (StatusCode::CONFLICT, format!("{refusal}\n")).into_response()
}
