//! Calls that come to a gate by connections of before it had a successor: they are passed on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::Method;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::admin::api::{ErrorCode, Role};
use crate::admin::error::ApiError;
use crate::admin::identified::Identified;
use crate::gate::Gate;

#[derive(Clone)]
struct Context {
    gate: Arc<Gate>,
    /// Where the successor serves the API.
    socket: PathBuf,
}

/// `router`, whose calls finish before the gate is handed over, and later ones are the successor's at `socket`.
pub(super) fn with_successor(router: Router, gate: Arc<Gate>, socket: PathBuf) -> Router {
    router.layer(from_fn_with_state(Context { gate, socket }, answer))
}

async fn answer(State(context): State<Context>, request: Request, next: Next) -> Response {
    let gate = context.gate;
    {
        let _call = gate.calls.read().await;
        // The successor would take this process for the caller: whoever may not do it is refused here.
        if !gate.shutdown.is_replaced() || !may_pass(&request) {
            return next.run(request).await;
        }
    }
    match pass_on(&gate, &context.socket, request).await {
        Ok(response) => response,
        Err(error) => {
            let message = format!("this gate has a successor, which cannot be reached: {error}");
            ApiError::new(ErrorCode::Stopping, message).into_response()
        }
    }
}

fn may_pass(request: &Request) -> bool {
    let role = request.extensions().get::<Identified>().and_then(|caller| caller.role);
    match role {
        Some(Role::Operate) => true,
        Some(Role::Read) => request.method() == Method::GET,
        None => false,
    }
}

async fn pass_on(gate: &Gate, socket: &Path, request: Request) -> io::Result<Response> {
    let stream = TokioIo::new(UnixStream::connect(socket).await?);
    let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
    let ending = gate.shutdown.clone();
    drop(gate.shutdown.spawn(async move {
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(%error, "a call to the successor broke off");
            },
            () = ending.ending() => {}
        }
    }));
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    Ok(response.map(Body::new))
}
