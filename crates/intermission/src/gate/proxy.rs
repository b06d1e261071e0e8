//! One request: which app, may it go on, and then on.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hold::{Entry, Ticket, Wait};
use http::header::{EXPECT, UPGRADE};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};

use super::arrival::Arrival;
use super::body::{GateBody, RequestBody};
use super::client::Client;
use super::forward::{Answer, forward};
use super::header::{self, About};
use super::page::{Form, Page, may_go_on};
use super::passage::Passage;
use super::route::named_host;
use super::upgrade::Tunnel;
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
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<GateBody>, ClientLeft> {
    let mut arrival = Arrival::now(request.headers(), client.is_trusted);
    let mut response = answer(&worker, &client, &mut arrival, request).await?;
    arrival.note_on(&mut response);
    Ok(response)
}

async fn answer(
    worker: &Worker,
    client: &Client,
    arrival: &mut Arrival,
    request: Request<Incoming>,
) -> Result<Response<GateBody>, ClientLeft> {
    let app = match find_app(worker, &request) {
        Ok(app) => app,
        Err(page) => return Ok(turn_away(page, request).await),
    };
    let asks = app.settings.is_asked_at(request.uri().path());
    if !asks && app.upstreams.is_empty() {
        return Ok(turn_away(Page::OnlyAsked, request).await);
    }
    // Noted before the ticket: a hold that begins after it is seen.
    let asks_to_upgrade = request.headers().contains_key(UPGRADE);
    let mut holds = if asks_to_upgrade { app.closing_holds() } else { None };
    let ticket = match admit(worker, app, client, arrival).await {
        Ok(ticket) => ticket,
        Err(Turned::Away(page)) => return Ok(turn_away(page, request).await),
        Err(Turned::Left) => return Err(ClientLeft),
    };
    if let (Some(holds), Some(_)) = (&mut holds, arrival.held) {
        // The hold that it has waited for is no reason to close what it becomes.
        holds.mark_unchanged();
    }
    if asks {
        // What becomes of the request is not seen here: its ticket is done.
        drop(ticket);
        return Ok(may_go_on().map(GateBody::Page));
    }
    let (mut head, body) = request.into_parts();
    let flight = worker.flights.enter(app.index, head.method.clone(), head.uri.clone());
    let passage = Passage::new(ticket, arrival.id.clone(), flight);
    let chunked = !body.is_end_stream() && body.size_hint().exact().is_none();
    let form = Form::preferred(&head.headers);
    header::prepare_request(&mut head, About::new(client, arrival), chunked);
    let body = RequestBody::new(body, worker.settings.client_body_timeout, &passage);
    let request = Request::from_parts(head, body);
    Ok(match forward(worker, app, request, passage).await {
        Ok(Answer::Response(response)) => response.map(GateBody::Upstream),
        Ok(Answer::Switched { response, is_websocket, upstream }) => {
            client.tunnel.replace(Some(Tunnel { upstream, is_websocket, holds }));
            response.map(|()| GateBody::Page(Full::default()))
        }
        Err(page) => page.response(form).map(GateBody::Page),
    })
}

fn find_app<'w>(worker: &'w Worker, request: &Request<Incoming>) -> Result<&'w App, Page> {
    if request.method() == Method::CONNECT {
        return Err(Page::NotCarried);
    }
    let host = named_host(request.uri(), request.headers()).ok_or(Page::BadRequest)?;
    let index = worker.routes.find(host, request.uri().path()).ok_or(Page::UnknownHost)?;
    worker.apps.get(index).ok_or(Page::UnknownHost)
}

/// Lets a request go on, at once or when its turn has come.
async fn admit(
    worker: &Worker,
    app: &App,
    client: &Client,
    arrival: &mut Arrival,
) -> Result<Ticket, Turned> {
    match app.lane.enter() {
        Entry::Forward(ticket) => Ok(ticket),
        Entry::Wait(wait) => {
            let since = Instant::now();
            let granted = held(worker, app, client, wait).await;
            arrival.held = Some(since.elapsed());
            granted
        }
        Entry::Full => Err(Turned::Away(Page::LineFull)),
    }
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
