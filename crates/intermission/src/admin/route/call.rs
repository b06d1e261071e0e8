//! What a call to an app's path says: the app in the path, the request in the body.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;

use super::{BODY_BYTES_MAX, Context};
use crate::admin::api::ErrorCode;
use crate::admin::error::ApiError;
use crate::admin::identified::Identified;
use crate::gate::{Actor, AppControl};

/// Of what a caller sent, an error repeats no more.
const QUOTE_CHARS_MAX: usize = 64;
const EXPLANATION_CHARS_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Call<T> {
    pub(super) app: Arc<AppControl>,
    pub(super) actor: Actor,
    pub(super) asked: T,
}

impl<T: DeserializeOwned> FromRequest<Context> for Call<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, context: &Context) -> Result<Self, ApiError> {
        let (mut head, body) = request.into_parts();
        let Ok(Path(name)) = Path::<String>::from_request_parts(&mut head, context).await else {
            return Err(ApiError::new(ErrorCode::BadRequest, "the path names no app"));
        };
        let app = find(context, &name)?;
        let caller = Extension::<Identified>::from_request_parts(&mut head, context).await;
        let Extension(Identified { actor, .. }) = caller.map_err(|_nobody| {
            ApiError::new(ErrorCode::Unauthorized, "nobody is known to make this call")
        })?;
        let body = Bytes::from_request(Request::from_parts(head, body), context).await;
        let body = body.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                let message = format!("the body is larger than {BODY_BYTES_MAX} bytes");
                return ApiError::new(ErrorCode::TooLarge, message);
            }
            ApiError::new(ErrorCode::BadRequest, "the body broke off")
        })?;
        Ok(Self { app, actor, asked: parse(&body)? })
    }
}

fn find(context: &Context, name: &str) -> Result<Arc<AppControl>, ApiError> {
    context.gate.app(name).ok_or_else(|| {
        let known: Vec<_> = context.gate.apps().iter().map(|app| app.name.clone()).collect();
        let name: String = name.chars().take(QUOTE_CHARS_MAX).collect();
        let message = format!("no app {name:?}; there is: {}", known.join(", "));
        ApiError::new(ErrorCode::UnknownApp, message)
    })
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        let error: String = error.to_string().chars().take(EXPLANATION_CHARS_MAX).collect();
        let message = format!("the body is not what this path takes: {error}");
        ApiError::new(ErrorCode::BadRequest, message)
    })
}
