//! The hold as a layer around a `tower` service: an application holds its own requests, without a
//! gate in front of it. Like the core it knows no protocol: what a request that was not let
//! through is answered is the application's business.
//!
//! ```
//! use std::num::NonZeroU32;
//! use std::time::Duration;
//!
//! use axum::extract::Request;
//! use axum::http::{StatusCode, header};
//! use axum::response::{IntoResponse, Response};
//! use axum::{Router, routing::get};
//! use hold::tower::{HoldLayer, Refused};
//! use hold::{Limits, Pace};
//!
//! const MAX_WAIT: Duration = Duration::from_secs(30);
//!
//! fn busy(_request: Request, refused: Refused) -> Response {
//!     let retry = [(header::RETRY_AFTER, "5")];
//!     (StatusCode::SERVICE_UNAVAILABLE, retry, refused.to_string()).into_response()
//! }
//!
//! let few = NonZeroU32::new(16).expect("16 is not 0");
//! let limits = Limits::new(2000, Pace { concurrency: few, concurrency_max: few });
//! let (hold, layer) = HoldLayer::new(limits, MAX_WAIT, busy);
//! let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(layer);
//! # drop((hold, app));
//! ```
//!
//! `hold` closes and releases, see [`Hold`]. Its lease is ended by whoever runs
//! [`Hold::keep_lease`]: spawn it for every hold. `examples/axum_hold.rs` is a whole application.
//! Routes that must answer while the others are held (health, the one that releases) are merged
//! after the layer.
//!
//! - **Counted** is a request from when it goes on until its response is there: its head and what
//!   the handler did, not a body that is streamed after it. [`HoldLayer::keep_ticket`] counts
//!   bodies too, or some of them.
//! - **In order** is when requests are handed to the inner service and polled first. With a
//!   [`Pace`](crate::Pace) of 1 and 1 each is answered before the next begins.
//! - **A caller that left** is never run: its future is dropped, and with it its place. hyper drops
//!   it when the connection ends, unless bytes of the request are still unread.
//! - **Back-pressure.** While open, `poll_ready` is the inner service's. A held request keeps no
//!   place in the inner service; it waits for one when its turn has come, and nobody overtakes it.
//! - **What it costs** while nobody holds: [`Lane::enter`], no lock, no memory, and for a clone of
//!   the service one count that threads share; some 50 ns in all (`benches/open_path.rs`). The lane
//!   is chosen by the thread that calls. A task that then moves to another thread drops its ticket
//!   there, which moves a cache line and nothing else.

mod future;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use crate::{Entry, Hold, Lane, Limits, Ticket, TurnedAway};

pub use future::HoldFuture;

/// What a longer maximum wait is cut to: the clock of no runtime goes on without end.
pub const MAX_WAIT_LONGEST: Duration = Duration::from_hours(24);

/// Why a request was not let through. It was not given to the inner service and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// [`Limits::held_max`] requests were waiting already.
    #[error("held, and too many are waiting already")]
    Full,
    /// The maximum wait, or the hold, was over before its turn came.
    #[error(transparent)]
    TurnedAway(TurnedAway),
}

/// Puts a hold around services. Clones are of the same hold: routes that share a database share
/// one, however many routers they are spread over.
pub struct HoldLayer<R, K = UntilAnswered> {
    way_in: Arc<WayIn<R>>,
    keep: K,
}

/// A service with a hold around it.
pub struct HoldService<S, R, K = UntilAnswered> {
    inner: S,
    way_in: Arc<WayIn<R>>,
    keep: K,
}

/// What clones share.
struct WayIn<R> {
    /// One at least.
    lanes: Vec<Lane>,
    max_wait: Duration,
    refuse: R,
}

/// How long a request counts in flight. Implemented for `Fn(Ticket, Response) -> Response`.
pub trait KeepTicket<Response> {
    /// Gives the response, perhaps with the ticket in it.
    fn keep(&self, ticket: Ticket, response: Response) -> Response;
}

/// A request counts until its response is there.
#[derive(Clone, Copy, Debug, Default)]
pub struct UntilAnswered;

impl<R> HoldLayer<R> {
    /// An open hold and the layer by which requests come to it, with a lane for each thread that
    /// this machine runs at once.
    ///
    /// A request that is held waits `max_wait` at most. Whoever waited as long, or finds the line
    /// full, is answered by `refuse`, a `Fn(Request, Refused) -> Response`.
    pub fn new(limits: Limits, max_wait: Duration, refuse: R) -> (Hold, Self) {
        let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let (hold, lanes) = Hold::new(limits, threads);
        let max_wait = max_wait.min(MAX_WAIT_LONGEST);
        let way_in = Arc::new(WayIn { lanes, max_wait, refuse });
        (hold, Self { way_in, keep: UntilAnswered })
    }

    /// Counts requests longer: `keep` gets every response with its ticket, and the request counts
    /// in flight until the ticket is dropped. A body that owns it is counted to its end:
    ///
    /// ```
    /// # use axum::{body::Body, response::Response};
    /// # use hold::Ticket;
    /// use http_body_util::BodyExt;
    ///
    /// fn until_sent(ticket: Ticket, response: Response) -> Response {
    ///     response.map(|body| {
    ///         Body::new(body.map_err(move |error| {
    ///             let _counted = &ticket;
    ///             error
    ///         }))
    ///     })
    /// }
    /// ```
    ///
    /// An endless response (an event stream) counted so keeps every drain from its end: let go of
    /// its ticket at once.
    #[must_use]
    pub fn keep_ticket<K>(self, keep: K) -> HoldLayer<R, K> {
        HoldLayer { way_in: self.way_in, keep }
    }
}

impl<S, R, K: Clone> Layer<S> for HoldLayer<R, K> {
    type Service = HoldService<S, R, K>;

    fn layer(&self, inner: S) -> Self::Service {
        HoldService { inner, way_in: Arc::clone(&self.way_in), keep: self.keep.clone() }
    }
}

impl<S, Request, R, K> Service<Request> for HoldService<S, R, K>
where
    S: Service<Request> + Clone,
    R: Fn(Request, Refused) -> S::Response,
    K: KeepTicket<S::Response> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = HoldFuture<S, Request, R, K>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let keep = self.keep.clone();
        match self.way_in.lane().enter() {
            Entry::Forward(ticket) => HoldFuture::forward(ticket, self.inner.call(request), keep),
            Entry::Wait(wait) => {
                self.give_readiness_back();
                let way_in = Arc::clone(&self.way_in);
                HoldFuture::wait(wait, self.inner.clone(), request, way_in, keep)
            }
            Entry::Full => {
                self.give_readiness_back();
                HoldFuture::refuse((self.way_in.refuse)(request, Refused::Full), keep)
            }
        }
    }
}

impl<S: Clone, R, K> HoldService<S, R, K> {
    /// A service that is ready may have a place in it reserved for the call that does not come
    /// now. A clone has none.
    fn give_readiness_back(&mut self) {
        self.inner = self.inner.clone();
    }
}

impl<R> WayIn<R> {
    fn lane(&self) -> &Lane {
        let index = THREAD.with(|number| *number).checked_rem(self.lanes.len());
        index.and_then(|index| self.lanes.get(index)).expect("there is one lane at least")
    }
}

thread_local! {
    /// The number of this thread among all of the process.
    static THREAD: usize = {
        let mut number = Number(0);
        thread::current().id().hash(&mut number);
        usize::try_from(number.0).unwrap_or_default()
    };
}

/// Takes a thread's number out of its identifier. The standard library counts threads upwards, so
/// those of one runtime have lanes of their own; should it not, some of them share one.
struct Number(u64);

impl Hasher for Number {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

impl<Response, F: Fn(Ticket, Response) -> Response> KeepTicket<Response> for F {
    fn keep(&self, ticket: Ticket, response: Response) -> Response {
        self(ticket, response)
    }
}

impl<Response> KeepTicket<Response> for UntilAnswered {
    fn keep(&self, _: Ticket, response: Response) -> Response {
        response
    }
}

impl<R, K: Clone> Clone for HoldLayer<R, K> {
    fn clone(&self) -> Self {
        Self { way_in: Arc::clone(&self.way_in), keep: self.keep.clone() }
    }
}

impl<S: Clone, R, K: Clone> Clone for HoldService<S, R, K> {
    fn clone(&self) -> Self {
        let (inner, keep) = (self.inner.clone(), self.keep.clone());
        Self { inner, way_in: Arc::clone(&self.way_in), keep }
    }
}

impl<R, K> fmt::Debug for HoldLayer<R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HoldLayer").field("max_wait", &self.way_in.max_wait).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, R, K> fmt::Debug for HoldService<S, R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HoldService").field("inner", &self.inner).finish_non_exhaustive()
    }
}
