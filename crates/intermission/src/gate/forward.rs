//! Sending a request to an upstream and its response back.

use std::error::Error;
use std::rc::Rc;

use http::header::{CONTENT_TYPE, UPGRADE};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::body::{BodyError, RequestBody, ResponseBody};
use super::dial::dial;
use super::header;
use super::page::Page;
use super::passage::Passage;
use super::pool::{Connection, Pool};
use super::upgrade::Upgraded;
use super::worker::{App, Worker};

/// What an upstream has answered.
pub(crate) enum Answer {
    Response(Response<ResponseBody>),
    /// 101: its connection speaks another protocol from now on.
    Switched {
        response: Response<()>,
        is_websocket: bool,
        upstream: Upgraded,
    },
}

/// How one attempt on one connection ended.
enum Sent {
    Answered(Answer),
    /// The connection had died before anything of the request was written.
    Unsent(Request<RequestBody>),
    Failed(Page),
}

/// Forwards a request that has its ticket. Tried again only as long as nothing of it was sent:
/// whatever was sent may have run.
pub(crate) async fn forward(
    worker: &Worker,
    app: &App,
    mut request: Request<RequestBody>,
    passage: Rc<Passage>,
) -> Result<Answer, Page> {
    for upstream in app.upstreams_in_turn() {
        let pool = &upstream.pool;
        while let Some(connection) = pool.check_out() {
            match send(worker, app, (pool, connection), request, &passage).await {
                Sent::Answered(answer) => return Ok(answer),
                Sent::Unsent(unsent) => request = unsent,
                Sent::Failed(page) => return Err(page),
            }
        }
        let limit = worker.settings.upstream_connect_timeout;
        let connection = match dial(&upstream.address, limit, &worker.shutdown).await {
            Ok(connection) => connection,
            Err(error) => {
                let source = error.source();
                let (app, request_id) = (&app.settings.name, passage.id());
                tracing::warn!(app, request_id, %error, source, "upstream unreachable");
                continue;
            }
        };
        match send(worker, app, (pool, connection), request, &passage).await {
            Sent::Answered(answer) => return Ok(answer),
            Sent::Unsent(unsent) => request = unsent,
            Sent::Failed(page) => return Err(page),
        }
    }
    Err(Page::UpstreamUnreachable)
}

async fn send(
    worker: &Worker,
    app: &App,
    (pool, mut connection): (&Rc<Pool>, Connection),
    mut request: Request<RequestBody>,
    passage: &Rc<Passage>,
) -> Sent {
    request.body_mut().written_by(connection.written.clone());
    let rest = request.headers().contains_key(UPGRADE).then(|| connection.expect_switch());
    let limit = worker.settings.upstream_head_timeout;
    let answer = connection.sender.try_send_request(request);
    let Ok(answer) = tokio::time::timeout(limit, answer).await else {
        let (request_id, limit_ms) = (passage.id(), limit.as_millis());
        tracing::warn!(request_id, limit_ms, "upstream sent no response head in time");
        return Sent::Failed(Page::UpstreamSlow);
    };
    match answer {
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let upstream = rest.map(|rest| Upgraded { socket: connection.into_socket(), rest });
            match upstream.and_then(|upstream| switched(response, upstream)) {
                Some(answer) => Sent::Answered(answer),
                None => {
                    let request_id = passage.id();
                    tracing::warn!(request_id, "upstream switched to what nobody asked for");
                    Sent::Failed(Page::UpstreamBroke)
                }
            }
        }
        Ok(response) => {
            connection.expect_no_switch();
            let connection = (Rc::clone(pool), connection);
            Sent::Answered(Answer::Response(answered(worker, app, response, passage, connection)))
        }
        Err(mut error) => match error.take_message() {
            Some(request) => Sent::Unsent(request),
            None => Sent::Failed(failure(error.error(), passage)),
        },
    }
}

fn switched(response: Response<Incoming>, upstream: Upgraded) -> Option<Answer> {
    let mut response = response.map(drop);
    let is_websocket = header::prepare_switch(response.headers_mut())?;
    *response.version_mut() = Version::HTTP_11;
    Some(Answer::Switched { response, is_websocket, upstream })
}

fn answered(
    worker: &Worker,
    app: &App,
    response: Response<Incoming>,
    passage: &Rc<Passage>,
    connection: (Rc<Pool>, Connection),
) -> Response<ResponseBody> {
    let (mut head, body) = response.into_parts();
    header::strip_hop_by_hop(&mut head.headers);
    head.version = Version::HTTP_11;
    let is_endless = head.headers.get(CONTENT_TYPE).is_some_and(|kind| app.is_endless(kind));
    let patience = if is_endless {
        worker.settings.endless_idle_timeout
    } else {
        worker.settings.upstream_body_timeout
    };
    let body = ResponseBody::new(body, patience, Rc::clone(passage), is_endless, connection);
    Response::from_parts(head, body)
}

/// The client's fault or the upstream's?
fn failure(error: &hyper::Error, passage: &Passage) -> Page {
    let request_id = passage.id();
    let source = error.source();
    let client = source.is_some_and(|source| source.downcast_ref::<BodyError>().is_some());
    if client {
        tracing::debug!(request_id, %error, source, "request body broke off");
        return Page::BodyBrokeOff;
    }
    tracing::warn!(request_id, %error, source, "upstream broke off");
    Page::UpstreamBroke
}
