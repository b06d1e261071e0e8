//! One request on its way through the layer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{KeepTicket, Refused, WayIn};
use crate::{Ticket, TurnedAway, Wait, sync};

const POLLED_AGAIN: &str = "a future is not polled again once it was ready";

pin_project! {
    /// The response of a request, or what it was refused with. Dropping it while held leaves the
    /// line; later it ends the request.
    #[must_use = "a request does nothing unless it is polled"]
    pub struct HoldFuture<S, Request, R, K>
    where
        S: Service<Request>,
    {
        keep: K,
        #[pin]
        stage: Stage<S, S::Future, S::Response, Request, R>,
    }
}

pin_project! {
    /// What is rare is boxed: a future that is not held is little larger than the inner one.
    #[project = Staged]
    enum Stage<S, F, Response, Request, R> {
        InLine { waiting: Option<Box<Waiting<S, Request, R>>> },
        Granted { call: Option<Box<Call<S, Request>>> },
        Forwarded { ticket: Option<Ticket>, #[pin] answer: F },
        Refused { response: Option<Box<Response>> },
    }
}

struct Waiting<S, Request, R> {
    turn: Pin<Box<dyn Future<Output = Result<Ticket, TurnedAway>> + Send>>,
    inner: S,
    request: Request,
    way_in: Arc<WayIn<R>>,
}

/// Its turn has come, and the inner service is asked whether it is ready.
struct Call<S, Request> {
    ticket: Ticket,
    inner: S,
    request: Request,
}

impl<S: Service<Request>, Request, R, K> HoldFuture<S, Request, R, K> {
    pub(super) fn forward(ticket: Ticket, answer: S::Future, keep: K) -> Self {
        Self { keep, stage: Stage::Forwarded { ticket: Some(ticket), answer } }
    }

    /// `inner` is a clone, and not ready.
    pub(super) fn wait(
        wait: Wait,
        inner: S,
        request: Request,
        way_in: Arc<WayIn<R>>,
        keep: K,
    ) -> Self {
        let turn = Box::pin(wait.until(sync::now() + way_in.max_wait));
        let waiting = Some(Box::new(Waiting { turn, inner, request, way_in }));
        Self { keep, stage: Stage::InLine { waiting } }
    }

    pub(super) fn refuse(response: S::Response, keep: K) -> Self {
        Self { keep, stage: Stage::Refused { response: Some(Box::new(response)) } }
    }
}

impl<S, Request, R, K> Future for HoldFuture<S, Request, R, K>
where
    S: Service<Request>,
    R: Fn(Request, Refused) -> S::Response,
    K: KeepTicket<S::Response>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                Staged::InLine { waiting } => {
                    let turn = &mut waiting.as_mut().expect(POLLED_AGAIN).turn;
                    let came = ready!(turn.as_mut().poll(cx));
                    let Waiting { turn: _, inner, request, way_in } =
                        *waiting.take().expect(POLLED_AGAIN);
                    match came {
                        Ok(ticket) => {
                            let call = Some(Box::new(Call { ticket, inner, request }));
                            this.stage.set(Stage::Granted { call });
                        }
                        Err(turned_away) => {
                            let refused = Refused::TurnedAway(turned_away);
                            return Poll::Ready(Ok((way_in.refuse)(request, refused)));
                        }
                    }
                }
                Staged::Granted { call } => {
                    let ready = ready!(call.as_mut().expect(POLLED_AGAIN).inner.poll_ready(cx));
                    let Call { ticket, mut inner, request } = *call.take().expect(POLLED_AGAIN);
                    ready?;
                    let answer = inner.call(request);
                    this.stage.set(Stage::Forwarded { ticket: Some(ticket), answer });
                }
                Staged::Forwarded { ticket, answer } => {
                    let answered = answer.poll(cx);
                    // The inner service has begun with it: now the next may begin.
                    ticket.as_mut().expect(POLLED_AGAIN).written();
                    let answered = ready!(answered);
                    let mut ticket = ticket.take().expect(POLLED_AGAIN);
                    if answered.is_err() {
                        ticket.failed();
                    }
                    return Poll::Ready(answered.map(|response| this.keep.keep(ticket, response)));
                }
                Staged::Refused { response } => {
                    return Poll::Ready(Ok(*response.take().expect(POLLED_AGAIN)));
                }
            }
        }
    }
}

impl<S: Service<Request>, Request, R, K> fmt::Debug for HoldFuture<S, Request, R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::InLine { .. } => "in line",
            Stage::Granted { .. } => "granted",
            Stage::Forwarded { .. } => "forwarded",
            Stage::Refused { .. } => "refused",
        };
        f.debug_struct("HoldFuture").field("stage", &stage).finish_non_exhaustive()
    }
}
