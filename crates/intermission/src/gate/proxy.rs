//! One request: which app, may it go on, and then on.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hold::{Entry, Ticket, Wait};
use http::header::EXPECT;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::body::{GateBody, RequestBody};
use super::client::Client;
use super::forward::forward;
use super::header;
use super::page::{Form, Page, may_go_on};
use super::passage::Passage;
use super::route::named_host;
use super::worker::{App, Worker};

/// Of the body of a request that is turned away, this much is read, so that the client reads its
/// answer instead of a reset.
const DISCARD_BYTES_MAX: usize = 64 * 1024;
const DISCARD_TIME_MAX: Duration = Duration::from_millis(250);

/// The client has left: there is nobody to answer, and nothing was forwarded.
#[derive(Debug, thiserror::Error)]
#[error("the client left while its request was held")]
pub(crate) struct ClientLeft;

/// Why a held request does not go on.
enum Turned {
    Away(Page),
    Left,
}

pub(crate) async fn serve(
    worker: Rc<Worker>,
    client: Client,
    request: Request<Incoming>,
) -> Result<Response<GateBody>, ClientLeft> {
    let app = match find_app(&worker, &request) {
        Ok(app) => app,
        Err(page) => return Ok(turn_away(page, request).await),
    };
    let asks = app.settings.is_asked_at(request.uri().path());
    if !asks && app.upstreams.is_empty() {
        return Ok(turn_away(Page::OnlyAsked, request).await);
    }
    let ticket = match app.lane.enter() {
        Entry::Forward(ticket) => ticket,
        Entry::Wait(wait) => match held(&worker, app, &client, wait).await {
            Ok(ticket) => ticket,
            Err(Turned::Away(page)) => return Ok(turn_away(page, request).await),
            Err(Turned::Left) => return Err(ClientLeft),
        },
        Entry::Full => return Ok(turn_away(Page::LineFull, request).await),
    };
    if asks {
        // What becomes of the request is not seen here: its ticket is done.
        drop(ticket);
        return Ok(may_go_on().map(GateBody::Page));
    }
    let (mut head, body) = request.into_parts();
    let flight = worker.flights.enter(app.index, head.method.clone(), head.uri.clone());
    let passage = Passage::new(ticket, flight);
    let chunked = !body.is_end_stream() && body.size_hint().exact().is_none();
    let form = Form::preferred(&head.headers);
    let trust_forwarded = worker.settings.trust_forwarded;
    header::prepare_request(&mut head, client.address, client.secure, trust_forwarded, chunked);
    let body = RequestBody::new(body, worker.settings.client_body_timeout, &passage);
    let request = Request::from_parts(head, body);
    Ok(match forward(&worker, app, request, passage).await {
        Ok(response) => response.map(GateBody::Upstream),
        Err(page) => page.response(form).map(GateBody::Page),
    })
}

fn find_app<'w>(worker: &'w Worker, request: &Request<Incoming>) -> Result<&'w App, Page> {
    if request.method() == Method::CONNECT || header::asks_for_websocket(request.headers()) {
        return Err(Page::NotCarried);
    }
    let host = named_host(request.uri(), request.headers()).ok_or(Page::BadRequest)?;
    let index = worker.routes.find(host, request.uri().path()).ok_or(Page::UnknownHost)?;
    worker.apps.get(index).ok_or(Page::UnknownHost)
}

/// Waits in line. Its body stays in the socket: nobody polls it, so `100 Continue` is not sent.
async fn held(worker: &Worker, app: &App, client: &Client, wait: Wait) -> Result<Ticket, Turned> {
    let deadline = Instant::now() + app.settings.max_wait;
    let watched = worker.held.watch(client.socket.clone());
    tokio::select! {
        biased;
        granted = wait.until(deadline) => match granted {
            // The sweeper looks four times a second; this look is for those who left since.
            Ok(ticket) if client.socket.is_gone() => {
                drop(ticket);
                Err(Turned::Left)
            }
            Ok(ticket) => Ok(ticket),
            Err(_timed_out) => Err(Turned::Away(Page::HeldTooLong)),
        },
        () = watched.gone() => Err(Turned::Left),
        () = worker.shutdown.ending() => Err(Turned::Away(Page::Stopping)),
    }
}

async fn turn_away(page: Page, request: Request<Incoming>) -> Response<GateBody> {
    let (head, body) = request.into_parts();
    if !body.is_end_stream() && !head.headers.contains_key(EXPECT) {
        let discard = tokio::time::timeout(DISCARD_TIME_MAX, discard(body));
        if discard.await.is_err() {
            tracing::debug!("the body of a request turned away was not complete in time");
        }
    }
    page.response(Form::preferred(&head.headers)).map(GateBody::Page)
}

async fn discard(mut body: Incoming) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > DISCARD_BYTES_MAX {
            return;
        }
    }
}
