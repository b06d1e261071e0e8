//! An inner service whose calls and places a test controls.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tower_service::Service;

/// Requests are numbers; so are their answers.
pub(crate) type Request = u32;

/// Clones are one desk. A call begins when its future is polled first, and ends when the test says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desk(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    begun: Vec<Request>,
    ended: Vec<Request>,
    dropped: Vec<Request>,
}

/// One call of a desk.
pub(crate) struct Work {
    desk: Desk,
    request: Request,
    begun: bool,
}

impl Desk {
    pub(crate) fn begun(&self) -> Vec<Request> {
        self.0.lock().unwrap().begun.clone()
    }

    /// Those that were dropped, answered or not.
    pub(crate) fn dropped(&self) -> Vec<Request> {
        self.0.lock().unwrap().dropped.clone()
    }

    pub(crate) fn end(&self, request: Request) {
        self.0.lock().unwrap().ended.push(request);
    }

    pub(crate) fn work(&self, request: Request) -> Work {
        Work { desk: self.clone(), request, begun: false }
    }
}

impl Service<Request> for Desk {
    type Response = String;
    type Error = Infallible;
    type Future = Work;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Work {
        self.work(request)
    }
}

impl Future for Work {
    type Output = Result<String, Infallible>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let request = self.request;
        let first = !std::mem::replace(&mut self.begun, true);
        let mut seen = self.desk.0.lock().unwrap();
        if first {
            seen.begun.push(request);
        }
        if seen.ended.contains(&request) {
            return Poll::Ready(Ok(format!("answer {request}")));
        }
        Poll::Pending
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.desk.0.lock().unwrap().dropped.push(self.request);
    }
}
