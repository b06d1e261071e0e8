//! The app's routes and the answers to their failures.

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use super::ledger::{Entry, Ledger, LedgerError};

/// Largest request body, bytes; an entry needs about 80.
const BODY_MAX: usize = 4096;

pub(super) fn router(ledger: Ledger) -> Router {
    Router::new()
        .route("/entries", post(create))
        .route("/entries/latest", get(latest))
        .route("/up", get(|| async { "up\n" }))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(ledger)
}

/// Writes in a task of its own: a client that leaves drops this handler, and a transaction dropped half-way could have
/// committed or not.
async fn create(State(ledger): State<Ledger>, Json(entry): Json<Entry>) -> Response {
    let write = tokio::spawn(async move {
        let written = ledger.insert(&entry).await;
        (entry, written)
    });
    match write.await {
        Ok((entry, Ok(()))) => (StatusCode::CREATED, Json(entry)).into_response(),
        Ok((_, Err(error))) => refuse(&error),
        Err(panicked) => {
            tracing::error!(%panicked, "a write did not finish");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn latest(State(ledger): State<Ledger>) -> Response {
    match ledger.latest().await {
        Ok(entry) => Json(entry).into_response(),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &LedgerError) -> Response {
    let status = match error {
        LedgerError::ReadOnly(_) | LedgerError::NoConnection(_) => StatusCode::SERVICE_UNAVAILABLE,
        LedgerError::Statement(_) | LedgerError::Url(_) | LedgerError::PoolSize => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    let chain = describe(error);
    tracing::warn!(error = chain, "a request failed");
    (status, Json(json!({ "error": chain }))).into_response()
}

/// The error with its causes, on one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
