//! Sending a request to an upstream and its response back.

use std::error::Error;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, UPGRADE};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::body::{BodyError, RequestBody, ResponseBody};
use super::dial::dial;
use super::header;
use super::live::App;
use super::page::Page;
use super::passage::Passage;
use super::pool::Connection;
use super::upgrade::Upgraded;
use super::upstream::{Trouble, Upstream};
use super::worker::Worker;
use crate::config::gate::Gate as Settings;

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

/// Why a request was not answered by its upstreams.
pub(crate) enum Unanswered {
    Page(Page),
    /// No upstream could be connected to. Nothing of it was sent, so it may be tried again.
    Unsent(Box<Request<RequestBody>>),
}

/// How one attempt on one connection ended.
enum Sent {
    Answered(Answer),
    /// The connection had died before anything of the request was written.
    Unsent(Request<RequestBody>),
    Failed(Page),
}

/// One request on its way.
struct Sending<'a> {
    worker: &'a Worker,
    settings: &'a Settings,
    app: &'a App,
    passage: &'a Rc<Passage>,
}

/// Forwards a request that has its ticket. Each upstream is tried once, and only as long as nothing was sent: whatever was
/// sent may have run.
pub(crate) async fn forward(
    worker: &Worker,
    settings: &Settings,
    app: &App,
    mut request: Request<RequestBody>,
    passage: &Rc<Passage>,
) -> Result<Answer, Unanswered> {
    let sending = Sending { worker, settings, app, passage };
    let turn = app.take_turn();
    let mut tried = Vec::new();
    while let Some((index, upstream)) = app.next_upstream(turn, &tried) {
        match sending.try_on(upstream, request).await {
            Sent::Answered(answer) => return Ok(answer),
            Sent::Failed(page) => return Err(Unanswered::Page(page)),
            Sent::Unsent(unsent) => request = unsent,
        }
        tried.push(index);
    }
    Err(Unanswered::Unsent(Box::new(request)))
}

impl Sending<'_> {
    /// On idle connections, and on a fresh one in the end.
    async fn try_on(&self, upstream: &Upstream, mut request: Request<RequestBody>) -> Sent {
        while let Some(connection) = upstream.pool.check_out() {
            let connection = upstream.pool.adopt(connection, upstream.enter());
            match self.send(upstream, connection, request).await {
                Sent::Unsent(unsent) => request = unsent,
                sent @ (Sent::Answered(_) | Sent::Failed(_)) => return sent,
            }
        }
        let in_use = upstream.enter();
        let limit = self.settings.upstream_connect_timeout;
        let connection = match dial(&upstream.standing, limit, &self.worker.shutdown).await {
            Ok(connection) => upstream.pool.adopt(connection, in_use),
            Err(error) => {
                let source = error.source();
                let (app, request_id) = (&self.app.settings.name, self.passage.id());
                tracing::warn!(app, request_id, %error, source, "upstream unreachable");
                self.failed(upstream, Trouble::Unreachable);
                return Sent::Unsent(request);
            }
        };
        let sent = self.send(upstream, connection, request).await;
        if matches!(sent, Sent::Unsent(_)) {
            self.failed(upstream, Trouble::BrokeOff);
        }
        sent
    }

    async fn send(
        &self,
        upstream: &Upstream,
        mut connection: Connection,
        mut request: Request<RequestBody>,
    ) -> Sent {
        request.body_mut().written_by(connection.written.clone());
        let rest = request.headers().contains_key(UPGRADE).then(|| connection.expect_switch());
        let limit = self.settings.upstream_head_timeout;
        let answer = connection.sender.try_send_request(request);
        let Ok(answer) = tokio::time::timeout(limit, answer).await else {
            let (request_id, limit_ms) = (self.passage.id(), limit.as_millis());
            let address = upstream.address();
            tracing::warn!(request_id, %address, limit_ms, "upstream sent no response head in time");
            self.failed(upstream, Trouble::Slow);
            return Sent::Failed(Page::UpstreamSlow);
        };
        match answer {
            Ok(response) => {
                upstream.standing.answered();
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    return self.switched(response, connection, rest);
                }
                connection.expect_no_switch();
                Sent::Answered(Answer::Response(self.answered(response, upstream, connection)))
            }
            Err(mut error) => match error.take_message() {
                Some(request) => Sent::Unsent(request),
                None => {
                    let page = failure(error.error(), self.passage);
                    if page == Page::UpstreamBroke {
                        self.failed(upstream, Trouble::BrokeOff);
                    }
                    Sent::Failed(page)
                }
            },
        }
    }

    fn failed(&self, upstream: &Upstream, trouble: Trouble) {
        upstream.standing.failed(self.app.settings.eject, trouble);
    }

    fn switched(
        &self,
        response: Response<Incoming>,
        connection: Connection,
        rest: Option<oneshot::Receiver<Bytes>>,
    ) -> Sent {
        let upstream = rest.map(|rest| {
            let (socket, in_use) = connection.into_socket();
            Upgraded { socket, rest, _in_use: in_use }
        });
        upstream.and_then(|upstream| switched(response, upstream)).map_or_else(
            || {
                let request_id = self.passage.id();
                tracing::warn!(request_id, "upstream switched to what nobody asked for");
                Sent::Failed(Page::UpstreamBroke)
            },
            Sent::Answered,
        )
    }

    fn answered(
        &self,
        response: Response<Incoming>,
        upstream: &Upstream,
        connection: Connection,
    ) -> Response<ResponseBody> {
        let (mut head, body) = response.into_parts();
        header::strip_hop_by_hop(&mut head.headers);
        head.version = Version::HTTP_11;
        let kind = head.headers.get(CONTENT_TYPE);
        let is_endless = kind.is_some_and(|kind| self.app.is_endless(kind));
        let patience = if is_endless {
            self.settings.endless_idle_timeout
        } else {
            self.settings.upstream_body_timeout
        };
        let (passage, connection) =
            (Rc::clone(self.passage), (Rc::clone(&upstream.pool), connection));
        let body = ResponseBody::new(body, patience, passage, is_endless, connection);
        Response::from_parts(head, body)
    }
}

fn switched(response: Response<Incoming>, upstream: Upgraded) -> Option<Answer> {
    let mut response = response.map(drop);
    let is_websocket = header::prepare_switch(response.headers_mut())?;
    *response.version_mut() = Version::HTTP_11;
    Some(Answer::Switched { response, is_websocket, upstream })
}

/// The client's fault or the upstream's?
fn failure(error: &hyper::Error, passage: &Passage) -> Page {
    let request_id = passage.id();
    let source = error.source();
    if let Some(body) = source.and_then(|source| source.downcast_ref::<BodyError>()) {
        tracing::debug!(request_id, %error, source, "request body broke off");
        return body.page();
    }
    tracing::warn!(request_id, %error, source, "upstream broke off");
    Page::UpstreamBroke
}
