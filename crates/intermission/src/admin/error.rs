//! Every refusal of the admin API, in one form.

use std::error::Error;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

use super::api::{ErrorBody, ErrorCode, HeldBy, Role, Straggler};
use crate::gate::{Actor, HoldError, Seen, WarmUpError, millis};

/// RFC 9457; `code` and `message` are members of our own.
const PROBLEM: &str = "application/problem+json";

#[derive(Debug)]
pub(super) struct ApiError(Box<ErrorBody>);

impl ApiError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let status = status_of(code).as_u16();
        Self(Box::new(ErrorBody {
            status,
            code,
            message: message.into(),
            held_by: None,
            stragglers: Vec::new(),
            needs: None,
            has: None,
            retry_after_s: None,
        }))
    }

    pub(super) fn forbidden(needs: Role, has: Option<Role>, actor: &Actor) -> Self {
        let has_what =
            has.map_or_else(|| "none".to_owned(), |role| format!("the role {}", role.name()));
        let message =
            format!("this call needs the role {}, and {actor} has {has_what}", needs.name());
        let mut body = Self::new(ErrorCode::Forbidden, message);
        body.0.needs = Some(needs);
        body.0.has = has;
        body
    }

    /// Until `wait` is over no token from `peer` is looked at.
    pub(super) fn too_many_failures(wait: Duration) -> Self {
        let seconds = wait.as_secs().saturating_add(1);
        let message = format!(
            "too many calls without the right token came from this address: none is looked at for {seconds} s"
        );
        let mut body = Self::new(ErrorCode::TooManyFailures, message);
        body.0.retry_after_s = Some(seconds);
        body
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
        let (code, retry_after_s) = (self.0.code, self.0.retry_after_s);
        let mut response = (status_of(code), Json(self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        if code == ErrorCode::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
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

pub(super) const fn status_of(code: ErrorCode) -> StatusCode {
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
        ErrorCode::TooManySubscribers | ErrorCode::TooManyFailures => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Stopping | ErrorCode::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
    }
}

pub(super) fn straggler(seen: Seen) -> Straggler {
    Straggler { method: seen.method.to_string(), path: seen.path, age_ms: millis(seen.age) }
}
