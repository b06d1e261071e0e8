//! Sending a request to an upstream and its response back.

use std::error::Error;
use std::rc::Rc;

use http::header::{CONTENT_TYPE, UPGRADE};
use http::{Response, StatusCode, Version};

use super::body::{BoxedRequest, ResponseBody};
use super::dial::dial;
use super::exchange::{Failure, ReceivedBody};
use super::header;
use super::header::told::About;
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

impl Answer {
    /// The application says that it has failed.
    pub(crate) fn is_failure(&self) -> bool {
        match self {
            Self::Response(response) => response.status().is_server_error(),
            Self::Switched { .. } => false,
        }
    }
}

/// Why a request was not answered, by one upstream or by any.
pub(crate) enum Unanswered {
    Page(Page),
    /// Nothing of it was sent, so it may be tried again.
    Unsent(BoxedRequest),
}

/// One request on its way.
struct Sending<'a> {
    worker: &'a Worker,
    settings: &'a Settings,
    app: &'a App,
    passage: &'a Rc<Passage>,
    about: About<'a>,
}

/// Forwards a request that has its ticket. Each upstream is tried once, and only as long as nothing was sent: whatever was
/// sent may have run.
pub(crate) async fn forward(
    worker: &Worker,
    settings: &Settings,
    app: &App,
    mut request: BoxedRequest,
    passage: &Rc<Passage>,
    about: About<'_>,
) -> Result<Answer, Unanswered> {
    let sending = Sending { worker, settings, app, passage, about };
    let turn = app.take_turn();
    let mut tried = Vec::new();
    while let Some((index, upstream)) = app.next_upstream(turn, &tried) {
        match sending.try_on(upstream, request).await {
            Err(Unanswered::Unsent(unsent)) => request = unsent,
            settled @ (Ok(_) | Err(Unanswered::Page(_))) => return settled,
        }
        tried.push(index);
    }
    Err(Unanswered::Unsent(request))
}

impl Sending<'_> {
    /// On idle connections, and on a fresh one in the end.
    async fn try_on(
        &self,
        upstream: &Upstream,
        mut request: BoxedRequest,
    ) -> Result<Answer, Unanswered> {
        while let Some(connection) = upstream.pool.check_out() {
            let connection = upstream.pool.adopt(connection, upstream.enter());
            match self.send(upstream, connection, request).await {
                Err(Unanswered::Unsent(unsent)) => request = unsent,
                settled @ (Ok(_) | Err(Unanswered::Page(_))) => return settled,
            }
        }
        let in_use = upstream.enter();
        let limit = self.settings.upstream_connect_timeout;
        // Boxed: most requests do not carry its size.
        let connection = match Box::pin(dial(&upstream.standing, limit)).await {
            Ok(connection) => upstream.pool.adopt(connection, in_use),
            Err(error) => {
                let source = error.source();
                let (app, request_id) = (&self.app.settings.name, self.passage.id());
                tracing::warn!(app, request_id, %error, source, "upstream unreachable");
                self.failed(upstream, Trouble::Unreachable);
                return Err(Unanswered::Unsent(request));
            }
        };
        let sent = self.send(upstream, connection, request).await;
        if matches!(sent, Err(Unanswered::Unsent(_))) {
            self.failed(upstream, Trouble::BrokeOff);
        }
        sent
    }

    async fn send(
        &self,
        upstream: &Upstream,
        connection: Box<Connection>,
        request: BoxedRequest,
    ) -> Result<Answer, Unanswered> {
        let asks_to_upgrade = request.headers().contains_key(UPGRADE);
        let limit = self.settings.upstream_head_timeout;
        if !self.passage.goes_to(&connection.socket) {
            return Err(Unanswered::Page(Page::CutOff));
        }
        match connection.exchange(request, Some(self.about), limit, &self.worker.shutdown).await {
            Ok(response) => {
                upstream.standing.answered();
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    return self.switched(response, asks_to_upgrade);
                }
                Ok(Answer::Response(self.answered(response, upstream)))
            }
            Err(_) if self.passage.is_killed() => Err(Unanswered::Page(Page::CutOff)),
            Err(Failure::Unsent(request)) => Err(Unanswered::Unsent(request)),
            Err(Failure::Slow(_)) => {
                let (request_id, limit_ms) = (self.passage.id(), limit.as_millis());
                let address = upstream.address();
                tracing::warn!(request_id, %address, limit_ms, "upstream sent no response head in time");
                self.failed(upstream, Trouble::Slow);
                Err(Unanswered::Page(Page::UpstreamSlow))
            }
            Err(Failure::Body(error)) => {
                let (request_id, source) = (self.passage.id(), error.source());
                tracing::debug!(request_id, %error, source, "request body broke off");
                Err(Unanswered::Page(error.page()))
            }
            Err(Failure::Upstream(error)) => {
                let (request_id, source) = (self.passage.id(), error.source());
                tracing::warn!(request_id, %error, source, "upstream broke off");
                self.failed(upstream, Trouble::BrokeOff);
                Err(Unanswered::Page(Page::UpstreamBroke))
            }
        }
    }

    fn failed(&self, upstream: &Upstream, trouble: Trouble) {
        upstream.standing.failed(self.app.settings.eject, trouble);
    }

    fn switched(
        &self,
        response: Response<ReceivedBody>,
        asks_to_upgrade: bool,
    ) -> Result<Answer, Unanswered> {
        asks_to_upgrade.then(|| switched(response)).flatten().map_or_else(
            || {
                let request_id = self.passage.id();
                tracing::warn!(request_id, "upstream switched to what nobody asked for");
                Err(Unanswered::Page(Page::UpstreamBroke))
            },
            Ok,
        )
    }

    fn answered(
        &self,
        response: Response<ReceivedBody>,
        upstream: &Upstream,
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
        let (passage, pool) = (Rc::clone(self.passage), Rc::clone(&upstream.pool));
        let body = ResponseBody::new(body, patience, passage, is_endless, pool);
        Response::from_parts(head, body)
    }
}

fn switched(response: Response<ReceivedBody>) -> Option<Answer> {
    let (head, body) = response.into_parts();
    let (connection, rest) = body.into_parts()?;
    let (socket, in_use) = connection.into_socket();
    let upstream = Upgraded { socket, rest, _in_use: in_use };
    let mut response = Response::from_parts(head, ());
    let is_websocket = header::prepare_switch(response.headers_mut())?;
    *response.version_mut() = Version::HTTP_11;
    Some(Answer::Switched { response, is_websocket, upstream })
}
