//! A held service, and the short forms of what tests do with it.

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hold::tower::{HoldLayer, Refused};
use hold::{Generation, Hold, Holder, Limits, Pace};
use tower_service::Service;

use crate::desk::Request;

pub(crate) const MAX_WAIT: Duration = Duration::from_secs(10);
pub(crate) const HELD_MAX: usize = 100;

pub(crate) type Refuse = fn(Request, Refused) -> String;
pub(crate) type Layer = HoldLayer<Refuse>;

pub(crate) fn layer_with(held_max: usize, concurrency: u32, concurrency_max: u32) -> (Hold, Layer) {
    let pace = Pace {
        concurrency: NonZeroU32::new(concurrency).unwrap(),
        concurrency_max: NonZeroU32::new(concurrency_max).unwrap(),
    };
    HoldLayer::new(Limits::new(held_max, pace), MAX_WAIT, refuse)
}

/// Strictly serial release.
pub(crate) fn layer() -> (Hold, Layer) {
    layer_with(HELD_MAX, 1, 1)
}

fn refuse(request: Request, refused: Refused) -> String {
    format!("refused {request}: {refused}")
}

pub(crate) fn close(hold: &Hold) -> Generation {
    let holder = Holder { name: "test".to_owned(), reason: String::new() };
    let now = tokio::time::Instant::now().into_std();
    hold.close(Generation::NONE, holder, now + Duration::from_secs(60)).unwrap()
}

/// Ready, called, and polled once.
pub(crate) fn send<S: Service<Request>>(service: &mut S, request: Request) -> Pin<Box<S::Future>> {
    assert!(poll_ready(service).is_ready(), "request {request} found the service not ready");
    let mut future = Box::pin(service.call(request));
    assert!(poll(&mut future).is_pending(), "request {request} was answered at once");
    future
}

pub(crate) fn poll_ready<S: Service<Request>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

pub(crate) fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

pub(crate) fn answer<F, T, E>(future: &mut Pin<Box<F>>) -> T
where
    F: Future<Output = Result<T, E>>,
    E: std::fmt::Debug,
{
    match poll(future) {
        Poll::Ready(answered) => answered.unwrap(),
        Poll::Pending => panic!("not answered yet"),
    }
}
