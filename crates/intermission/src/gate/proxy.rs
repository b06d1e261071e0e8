//! One request: which app, may it go on, and then on.

use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hold::Ticket;
use http::header::{CONNECTION, EXPECT, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;

use super::admit::{Turned, admit};
use super::arrival::Arrival;
use super::body::{BoxedRequest, GateBody, RequestBody};
use super::client::Client;
use super::error_pages::ErrorPages;
use super::forward::{Answer, Unanswered, forward};
use super::header::{self, told::About};
use super::live::{App, AppId, Live};
use super::message;
use super::page::{Form, Page, here, may_go_on};
use super::passage::Passage;
use super::switch::{may_switch, switch};
use super::upgrade::Tunnel;
use super::worker::Worker;
use crate::config::gate::Stragglers;

/// The pause between two rounds of all upstreams while none can be connected to.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Of the body of a request that is turned away, this much is read, so that the client reads its
/// answer instead of a reset.
pub(super) const DISCARD_BYTES_MAX: u64 = 64 * 1024;
pub(super) const DISCARD_TIME_MAX: Duration = Duration::from_millis(250);

/// The client has left: there is nobody to answer, and nothing was forwarded.
#[derive(Debug, thiserror::Error)]
#[error("the client left while its request was held")]
pub(crate) struct ClientLeft;

pub(crate) async fn serve(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: BoxedRequest,
) -> Result<Response<GateBody>, ClientLeft> {
    let mut arrival = Arrival::now(request.headers(), client.is_trusted);
    let is_http2 = request.version() == Version::HTTP_2;
    let mut response = answer(&worker, &client, &mut arrival, request).await?;
    let is_switch = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if worker.is_replaced.get() && !is_http2 && !is_switch {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    arrival.note_on(&mut response);
    Ok(response)
}

async fn answer(
    worker: &Worker,
    client: &Client,
    arrival: &mut Arrival,
    mut request: BoxedRequest,
) -> Result<Response<GateBody>, ClientLeft> {
    let live = worker.live();
    let app = match find_app(&live, &request) {
        Ok(app) => app,
        Err(page) => return Ok(turn_away(page, request, &live.pages).await),
    };
    if app.settings.is_answered_at(request.uri().path()) {
        return Ok(here().map(GateBody::Page));
    }
    if let Some(asked) = app.settings.switch_at(request.uri().path()) {
        if !may_switch(&app.control, client, request.headers()) {
            return Ok(turn_away(Page::NotFromHere, request, &app.pages).await);
        }
        return Ok(Box::pin(switch(&app.control, client, asked)).await.map(GateBody::Page));
    }
    let asks = app.settings.is_asked_at(request.uri().path());
    if !asks && app.upstreams.is_empty() {
        return Ok(turn_away(Page::OnlyAsked, request, &app.pages).await);
    }
    // Noted before the ticket: a hold that begins after it is seen.
    let asks_to_upgrade = request.headers().contains_key(UPGRADE);
    let mut holds = if asks_to_upgrade { app.closing_holds() } else { None };
    // A question is the web server's: none of what the rules look at is its client's.
    let ticket = if !asks && app.bypass.lets_pass(client.address, &request) {
        None
    } else {
        match admit(worker, app, client, request.headers(), arrival).await {
            Ok(ticket) => Some(ticket),
            Err(Turned::Away(page)) => return Ok(turn_away(page, request, &app.pages).await),
            Err(Turned::Left) => return Err(ClientLeft),
        }
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
    app.bypass.strip_token(request.headers_mut());
    let form = Form::preferred(request.headers());
    let passing = Passing { worker, client, app: app.id };
    // Boxed: whoever waits in line has no room for what comes then.
    Ok(match Box::pin(passing.pass(ticket, request, arrival)).await? {
        Ok(Answer::Response(response)) => response.map(GateBody::Upstream),
        Ok(Answer::Switched { response, is_websocket, upstream }) => {
            client.tunnel.replace(Some(Tunnel { upstream, is_websocket, holds }));
            response.map(|()| GateBody::Page(Full::default()))
        }
        Err(page) => page.response(form, &app.pages).map(GateBody::Page),
    })
}

fn find_app<'l>(live: &'l Live, request: &Request<RequestBody>) -> Result<&'l App, Page> {
    let host = message::check(request)?;
    let index = live.routes.find(host, request.uri().path()).ok_or(Page::UnknownHost)?;
    live.apps.get(index).map(Rc::as_ref).ok_or(Page::UnknownHost)
}

/// A request that has been let go on.
struct Passing<'a> {
    worker: &'a Worker,
    client: &'a Client,
    app: AppId,
}

impl Passing<'_> {
    /// Tries until an upstream takes it, as long as the app allows. A hold that begins meanwhile does not wait for it: it
    /// waits in line.
    async fn pass(
        &self,
        ticket: Option<Ticket>,
        mut request: BoxedRequest,
        arrival: &mut Arrival,
    ) -> Result<Result<Answer, Page>, ClientLeft> {
        // By what there is now: it may have been held while the configuration was read again.
        let mut live = self.worker.live();
        let waits_in_line = ticket.is_some();
        let mut passage = self.passage(&live, ticket, &request, arrival);
        let body = request.body();
        let chunked = !body.is_end_stream() && body.size_hint().exact().is_none();
        header::prepare_request(&mut request, chunked);
        request.body_mut().passes_by(&passage, live.settings.client_body_timeout);
        let mut give_up = None;
        loop {
            // An app that is there no more was open, so nobody comes here from its line.
            let Some(app) = live.app(self.app) else { return Ok(Err(Page::UnknownHost)) };
            let about = About::new(self.client, arrival);
            match forward(self.worker, &live.settings, app, request, &passage, about).await {
                Ok(answer) => {
                    if answer.is_failure() {
                        passage.failed();
                    }
                    return Ok(Ok(answer));
                }
                Err(Unanswered::Page(page)) => {
                    if page.is_failure() {
                        passage.failed();
                    }
                    return Ok(Err(page));
                }
                Err(Unanswered::Unsent(unsent)) => request = unsent,
            }
            let now = Instant::now();
            let give_up = *give_up.get_or_insert(now + app.try_duration());
            if now + TRY_AGAIN_AFTER > give_up {
                passage.failed();
                return Ok(Err(Page::UpstreamUnreachable));
            }
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
            live = self.worker.live();
            let app = live.app(self.app).filter(|app| waits_in_line && app.is_draining());
            let Some(app) = app else { continue };
            drop(passage);
            let headers = request.headers();
            let ticket = match admit(self.worker, app, self.client, headers, arrival).await {
                Ok(ticket) => ticket,
                Err(Turned::Away(page)) => return Ok(Err(page)),
                Err(Turned::Left) => return Err(ClientLeft),
            };
            live = self.worker.live();
            passage = self.passage(&live, Some(ticket), &request, arrival);
            request.body_mut().passes_by(&passage, live.settings.client_body_timeout);
        }
    }

    fn passage(
        &self,
        live: &Live,
        ticket: Option<Ticket>,
        request: &Request<RequestBody>,
        arrival: &Arrival,
    ) -> Rc<Passage> {
        let asked = (request.method().clone(), request.uri().clone());
        let since = arrival.held.map_or(arrival.at, |_| Instant::now());
        let flight = self.worker.flights.enter(self.app, asked, since, ticket.is_some());
        let kills = |app: &Rc<App>| app.settings.stragglers == Stragglers::Kill;
        // No hold waits for who has no ticket.
        if ticket.is_some() && live.app(self.app).is_some_and(kills) {
            let (id, list) = (arrival.id.clone(), &self.worker.stragglers);
            return Passage::new_killable(ticket, id, flight, self.app, list);
        }
        Passage::new(ticket, arrival.id.clone(), flight)
    }
}

/// Boxed: few are.
fn turn_away(
    page: Page,
    request: BoxedRequest,
    pages: &ErrorPages,
) -> Pin<Box<impl Future<Output = Response<GateBody>>>> {
    Box::pin(async move {
        let (head, body) = request.into_parts();
        if !body.is_end_stream() && !head.headers.contains_key(EXPECT) {
            let discard = tokio::time::timeout(DISCARD_TIME_MAX, discard(body));
            if discard.await.is_err() {
                tracing::debug!("the body of a request turned away was not complete in time");
            }
        }
        let form = Form::preferred(&head.headers);
        let mut response = page.response(form, pages).map(GateBody::Page);
        if matches!(page, Page::BadRequest | Page::Ambiguous) && head.version != Version::HTTP_2 {
            // Where its next request begins may be in doubt too.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    })
}

async fn discard(mut body: RequestBody) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        bytes += u64::try_from(length).unwrap_or(u64::MAX);
        if bytes > DISCARD_BYTES_MAX {
            return;
        }
    }
}
