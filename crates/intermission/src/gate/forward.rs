//! Sending a request to an upstream and its response back.

use std::error::Error;
use std::rc::Rc;

use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::body::{BodyError, RequestBody, ResponseBody};
use super::dial::dial;
use super::header;
use super::page::Page;
use super::passage::Passage;
use super::pool::{Connection, Pool};
use super::worker::{App, Worker};

/// How one attempt on one connection ended.
enum Sent {
    Answered(Response<ResponseBody>),
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
) -> Result<Response<ResponseBody>, Page> {
    for upstream in app.upstreams_in_turn() {
        let pool = &upstream.pool;
        while let Some(connection) = pool.check_out() {
            match send(worker, pool, connection, request, &passage).await {
                Sent::Answered(response) => return Ok(response),
                Sent::Unsent(unsent) => request = unsent,
                Sent::Failed(page) => return Err(page),
            }
        }
        let limit = worker.settings.upstream_connect_timeout;
        let connection = match dial(&upstream.address, limit, &worker.shutdown).await {
            Ok(connection) => connection,
            Err(error) => {
                let source = error.source();
                tracing::warn!(app = app.settings.name, %error, source, "upstream unreachable");
                continue;
            }
        };
        match send(worker, pool, connection, request, &passage).await {
            Sent::Answered(response) => return Ok(response),
            Sent::Unsent(unsent) => request = unsent,
            Sent::Failed(page) => return Err(page),
        }
    }
    Err(Page::UpstreamUnreachable)
}

async fn send(
    worker: &Worker,
    pool: &Rc<Pool>,
    mut connection: Connection,
    mut request: Request<RequestBody>,
    passage: &Rc<Passage>,
) -> Sent {
    request.body_mut().written_by(connection.written.clone());
    let limit = worker.settings.upstream_head_timeout;
    let answer = connection.sender.try_send_request(request);
    let Ok(answer) = tokio::time::timeout(limit, answer).await else {
        tracing::warn!(limit_ms = limit.as_millis(), "upstream sent no response head in time");
        return Sent::Failed(Page::UpstreamSlow);
    };
    match answer {
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Sent::Failed(Page::UpstreamBroke)
        }
        Ok(response) => {
            let connection = (Rc::clone(pool), connection);
            Sent::Answered(answered(worker, response, passage, connection))
        }
        Err(mut error) => match error.take_message() {
            Some(request) => Sent::Unsent(request),
            None => Sent::Failed(failure(error.error())),
        },
    }
}

fn answered(
    worker: &Worker,
    response: Response<Incoming>,
    passage: &Rc<Passage>,
    connection: (Rc<Pool>, Connection),
) -> Response<ResponseBody> {
    let (mut head, body) = response.into_parts();
    header::strip_hop_by_hop(&mut head.headers);
    head.version = Version::HTTP_11;
    let patience = worker.settings.upstream_body_timeout;
    let body = ResponseBody::new(body, patience, Rc::clone(passage), connection);
    Response::from_parts(head, body)
}

/// The client's fault or the upstream's?
fn failure(error: &hyper::Error) -> Page {
    let source = error.source();
    let client = source.is_some_and(|source| source.downcast_ref::<BodyError>().is_some());
    if client {
        tracing::debug!(%error, source, "request body broke off");
        return Page::BodyBrokeOff;
    }
    tracing::warn!(%error, source, "upstream broke off");
    Page::UpstreamBroke
}
