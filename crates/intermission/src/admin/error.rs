//! Every refusal of the admin API, in one form.

use std::error::Error;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};

use super::api::{ErrorBody, ErrorCode, HeldBy, Straggler};
use crate::gate::{HoldError, Seen, WarmUpError, millis};

/// RFC 9457; `code` and `message` are members of our own.
const PROBLEM: &str = "application/problem+json";

#[derive(Debug)]
pub(super) struct ApiError(Box<ErrorBody>);

impl ApiError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let status = status_of(code).as_u16();
        let (held_by, stragglers) = (None, Vec::new());
        Self(Box::new(ErrorBody { status, code, message: message.into(), held_by, stragglers }))
    }

    pub(super) const fn code(&self) -> ErrorCode {
        self.0.code
    }
}

impl From<HoldError> for ApiError {
    fn from(error: HoldError) -> Self {
        let message = error.to_string();
        match error {
            HoldError::AlreadyHeld(already) => {
                let mut body = Self::new(ErrorCode::AlreadyHeld, message);
                body.0.held_by = Some(HeldBy::new(already.generation, &already.current));
                body
            }
            HoldError::Stale(_) => Self::new(ErrorCode::Stale, message),
            HoldError::DrainTimedOut { stragglers, .. } => {
                let mut body = Self::new(ErrorCode::DrainTimedOut, message);
                body.0.stragglers = stragglers.into_iter().map(straggler).collect();
                body
            }
            HoldError::ReleasedWhileDraining { .. } => {
                Self::new(ErrorCode::ReleasedWhileDraining, message)
            }
            HoldError::Unwritten(error) => {
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                let message = format!("{message}: {error}{cause}");
                tracing::error!(message);
                Self::new(ErrorCode::StateNotWritten, message)
            }
            HoldError::Retired => Self::new(ErrorCode::UnknownApp, message),
            HoldError::Predecessor { .. } => Self::new(ErrorCode::PredecessorFailed, message),
            HoldError::Stopping => Self::new(ErrorCode::Stopping, message),
        }
    }
}

impl From<WarmUpError> for ApiError {
    fn from(error: WarmUpError) -> Self {
        let code = match &error {
            WarmUpError::Failed { .. } => ErrorCode::WarmUpFailed,
            WarmUpError::UnderWay => ErrorCode::WarmUpUnderWay,
            WarmUpError::Stopping => ErrorCode::Stopping,
        };
        Self::new(code, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.0.code;
        let mut response = (status_of(code), Json(self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        if code == ErrorCode::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl HeldBy {
    pub(super) fn new(generation: hold::Generation, current: &hold::Current) -> Self {
        Self {
            generation: generation.get(),
            holder: current.holder.name.clone(),
            reason: current.holder.reason.clone(),
            held_for_ms: millis(current.held_for),
            lease_left_ms: millis(current.lease_left),
        }
    }
}

const fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::NotFound | ErrorCode::UnknownApp => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::BadRequest => StatusCode::BAD_REQUEST,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::AlreadyHeld
        | ErrorCode::Stale
        | ErrorCode::ReleasedWhileDraining
        | ErrorCode::WarmUpUnderWay => StatusCode::CONFLICT,
        ErrorCode::DrainTimedOut => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::WarmUpFailed | ErrorCode::PredecessorFailed => StatusCode::BAD_GATEWAY,
        ErrorCode::StateNotWritten => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::TooManySubscribers => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Stopping | ErrorCode::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
    }
}

fn straggler(seen: Seen) -> Straggler {
    Straggler { method: seen.method.to_string(), path: seen.path, age_ms: millis(seen.age) }
}
