//! The routes of the admin API. They parse, ask the gate and answer; they decide nothing.

mod call;
mod event;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::handler::Handler;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json, Router};
use hold::{Generation, Holder};
use http::Method;
use http::header::CONTENT_TYPE;

use self::call::Call;
use self::event::{Subscribers, events};
use super::api::{
    APPS_PATH, AppState, AppStatus, Apps, EVENTS_PATH, ErrorCode, HeldBy, HoldReply, HoldRequest,
    OPENAPI_PATH, ReleaseReply, ReleaseRequest, RenewReply, RenewRequest, Role, STATUS_PATH,
    Status, Summary, UpstreamHealth, UpstreamStatus, WarmUpReply, WarmUpRequest, WarmUpSettings,
    WarmUpstream,
};
use super::error::{ApiError, straggler};
use super::identified::Identified;
use crate::gate::{AppControl, Done, Gate, Health, Standing, StateError, millis};

const OPENAPI: &str = include_str!("../../../../docs/openapi.json");
const BODY_BYTES_MAX: usize = 16 * 1024;
const HOLDER_CHARS_MAX: usize = 100;
const REASON_CHARS_MAX: usize = 500;

#[derive(Clone)]
struct Context {
    gate: Arc<Gate>,
    /// Where this API is served over TCP.
    listen: Arc<[SocketAddr]>,
    subscribers: Subscribers,
}

/// One path and what it takes.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    handler: MethodRouter<Context>,
}

impl Route {
    fn get<H: Handler<T, Context>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { method: Method::GET, path, handler: get(handler) }
    }

    fn post<H: Handler<T, Context>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { method: Method::POST, path, handler: post(handler) }
    }

    /// The least role that may: whatever changes something is a POST.
    pub(super) fn needs(&self) -> Role {
        if self.method == Method::GET { Role::Read } else { Role::Operate }
    }
}

/// Every path. docs/openapi.json has them too, and a test compares.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get(STATUS_PATH, status),
        Route::get(APPS_PATH, apps),
        Route::get(EVENTS_PATH, events),
        Route::get(OPENAPI_PATH, openapi),
        Route::post("/v1/apps/{app}/hold", hold),
        Route::post("/v1/apps/{app}/renew", renew),
        Route::post("/v1/apps/{app}/release", release),
        Route::post("/v1/apps/{app}/warm_up", warm_up),
    ]
}

pub(super) fn router(gate: Arc<Gate>, listen: Vec<SocketAddr>) -> Router {
    let context = Context { gate, listen: listen.into(), subscribers: Subscribers::new() };
    let router = routes().into_iter().fold(Router::new(), |router, route| {
        let guard = from_fn_with_state(route.needs(), allowed);
        let guarded = route.handler.route_layer(guard);
        router.route(route.path, guarded)
    });
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(context)
}

/// Lets those through who have the role.
async fn allowed(
    State(needs): State<Role>,
    Extension(caller): Extension<Identified>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if caller.role.is_some_and(|has| has >= needs) {
        return Ok(next.run(request).await);
    }
    let path = request.uri().path();
    tracing::warn!(actor = %caller.actor, path, "an admin call was refused: it needs another role");
    Err(ApiError::forbidden(needs, caller.role, &caller.actor))
}

async fn status(
    State(context): State<Context>,
    Extension(caller): Extension<Identified>,
) -> Json<Status> {
    let gate = &context.gate;
    let apps = app_statuses(gate).await;
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        listen: gate.listen.iter().map(ToString::to_string).collect(),
        listen_tls: gate.listen_tls.iter().map(ToString::to_string).collect(),
        admin_listen: context.listen.iter().map(ToString::to_string).collect(),
        workers: gate.workers,
        stopping: gate.shutdown.is_stopping(),
        // Nobody else comes this far.
        role: caller.role.unwrap_or(Role::Read),
        audit_log: gate.audit.status(),
        predecessor_pid: gate.predecessor().map(|predecessor| predecessor.pid()),
        apps,
    })
}

async fn apps(State(context): State<Context>) -> Json<Apps> {
    Json(Apps { apps: app_statuses(&context.gate).await })
}

/// This API, for programs.
async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn hold(Call { app, actor, asked }: Call<HoldRequest>) -> Result<Json<HoldReply>, ApiError> {
    let holder = holder(asked.holder, asked.reason)?;
    let lease = lease(&app, asked.lease_ms)?;
    let drain = asked.drain_ms.map_or(app.settings().drain.min(lease), Duration::from_millis);
    if drain > lease {
        let (drain_ms, lease_ms) = (millis(drain), millis(lease));
        let message = format!(
            "drain_ms {drain_ms} is longer than the lease, {lease_ms}: the hold would end first"
        );
        return Err(ApiError::new(ErrorCode::BadRequest, message));
    }
    let held = app.hold(actor, holder, lease, drain).await?;
    let generation = held.generation.get();
    let killed = held.killed.into_iter().map(straggler).collect();
    let (lease_ms, drained_ms) = (millis(lease), millis(held.drained));
    Ok(Json(HoldReply { generation, lease_ms, drained_ms, killed }))
}

async fn renew(
    Call { app, actor, asked }: Call<RenewRequest>,
) -> Result<Json<RenewReply>, ApiError> {
    let lease = lease(&app, asked.lease_ms)?;
    let generation = Generation::new(asked.generation);
    let Done { value: (), unwritten } = app.renew(&actor, generation, lease).await?;
    let warning = unwritten
        .map(|error| warning("renewed, but a restart of the gate would release earlier", &error));
    Ok(Json(RenewReply { generation: asked.generation, lease_ms: millis(lease), warning }))
}

async fn release(
    Call { app, actor, asked }: Call<ReleaseRequest>,
) -> Result<Json<ReleaseReply>, ApiError> {
    let generation = Generation::new(asked.generation);
    let Done { value, unwritten } = app.release(&actor, generation).await?;
    let warning = unwritten.map(|error| {
        warning("released, but a restart of the gate within the lease would hold again", &error)
    });
    Ok(Json(ReleaseReply { generation: asked.generation, summary: value.into(), warning }))
}

/// Also of an app that is held: nobody in line goes on by it.
async fn warm_up(
    Call { app, actor, asked }: Call<WarmUpRequest>,
) -> Result<Json<WarmUpReply>, ApiError> {
    let warmed = app.warm_up(&actor, asked.timeout_ms.map(Duration::from_millis)).await?;
    let upstreams = warmed.into_iter().map(|warmed| WarmUpstream {
        upstream: warmed.upstream,
        requests: warmed.requests,
        failed: warmed.failed,
        took_ms: millis(warmed.took),
    });
    Ok(Json(WarmUpReply { upstreams: upstreams.collect() }))
}

async fn not_found() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "no such path; see GET /v1/status and GET /v1/apps")
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(ErrorCode::MethodNotAllowed, "this path does not take this method")
}

fn holder(name: String, reason: String) -> Result<Holder, ApiError> {
    let name_fits = !name.trim().is_empty() && name.chars().count() <= HOLDER_CHARS_MAX;
    let fits = name_fits && reason.chars().count() <= REASON_CHARS_MAX;
    // Both are shown on terminals.
    let printable = !name.chars().chain(reason.chars()).any(char::is_control);
    if fits && printable {
        return Ok(Holder { name, reason });
    }
    let message = format!(
        "holder must be 1 to {HOLDER_CHARS_MAX} characters and reason at most {REASON_CHARS_MAX}, \
         without control characters"
    );
    Err(ApiError::new(ErrorCode::BadRequest, message))
}

fn lease(app: &AppControl, asked_ms: Option<u64>) -> Result<Duration, ApiError> {
    let settings = app.settings();
    let lease = asked_ms.map_or(settings.lease, Duration::from_millis);
    let max = settings.lease_max;
    if !lease.is_zero() && lease <= max {
        return Ok(lease);
    }
    let message = format!(
        "lease_ms {} is not within 1 and {}, lease_max of the app `{}`",
        millis(lease),
        millis(max),
        app.name
    );
    Err(ApiError::new(ErrorCode::BadRequest, message))
}

fn warning(message: &str, error: &StateError) -> String {
    let source = std::error::Error::source(error);
    tracing::error!(%error, source, "{message}");
    format!("{message}: {error}")
}

/// With what the gate has that this one has taken over from.
async fn app_statuses(gate: &Gate) -> Vec<AppStatus> {
    let mut apps: Vec<_> = gate.apps().iter().map(|app| app_status(app)).collect();
    let Some(predecessor) = gate.predecessor() else { return apps };
    for there in predecessor.apps().await.unwrap_or_default() {
        if let Some(here) = apps.iter_mut().find(|here| here.name == there.name) {
            add(here, &there);
        }
    }
    apps
}

fn add(here: &mut AppStatus, there: &AppStatus) {
    here.held += there.held;
    here.in_flight += there.in_flight;
    here.released_in_flight += there.released_in_flight;
    here.release_stopped |= there.release_stopped;
    here.oldest_ms = here.oldest_ms.max(there.oldest_ms);
    let (sum, more) = (&mut here.summary, &there.summary);
    sum.held += more.held;
    sum.released += more.released;
    sum.timed_out += more.timed_out;
    sum.rejected += more.rejected;
    sum.refused += more.refused;
    sum.left += more.left;
    sum.longest_wait_ms = sum.longest_wait_ms.max(more.longest_wait_ms);
}

fn app_status(app: &AppControl) -> AppStatus {
    let status = app.hold.status();
    let settings = app.settings();
    AppStatus {
        name: app.name.clone(),
        hosts: settings.hosts.clone(),
        upstreams: app.standings().iter().map(|standing| upstream_status(standing)).collect(),
        state: if app.is_led() { AppState::Releasing } else { status.state.into() },
        generation: status.generation.get(),
        held: status.held,
        in_flight: status.in_flight,
        released_in_flight: status.released_in_flight,
        release_stopped: status.is_stopped,
        oldest_ms: status.oldest.map(millis),
        hold: status.hold.map(|current| HeldBy::new(status.generation, &current)),
        summary: status.summary.into(),
        max_wait_ms: millis(settings.max_wait),
        warm_up: settings.warm_up.as_ref().map(|warm_up| WarmUpSettings {
            path: warm_up.shown_path().to_owned(),
            host: warm_up.host_for(&settings.hosts).unwrap_or_default().to_owned(),
            successes: warm_up.successes,
            concurrency: warm_up.concurrency,
            timeout_ms: millis(warm_up.timeout),
        }),
    }
}

fn upstream_status(standing: &Standing) -> UpstreamStatus {
    let (health, problem, left_out_for_ms) = match standing.health() {
        Health::Up => (UpstreamHealth::Up, None, None),
        Health::Down(problem) => (UpstreamHealth::Down, Some(problem), None),
        Health::Ejected(problem, left) => {
            (UpstreamHealth::Ejected, Some(problem), Some(millis(left)))
        }
    };
    UpstreamStatus { upstream: standing.address().to_string(), health, problem, left_out_for_ms }
}

impl From<hold::State> for AppState {
    fn from(state: hold::State) -> Self {
        match state {
            hold::State::Open => Self::Open,
            hold::State::Draining => Self::Draining,
            hold::State::Held => Self::Held,
            hold::State::Releasing => Self::Releasing,
        }
    }
}

impl From<hold::Summary> for Summary {
    fn from(summary: hold::Summary) -> Self {
        Self {
            held: summary.held_total,
            released: summary.released,
            timed_out: summary.timed_out,
            rejected: summary.rejected,
            refused: summary.refused_full,
            left: summary.client_gone,
            longest_wait_ms: millis(summary.longest_wait),
        }
    }
}
