//! The requests of one HTTP/1 connection, one after the other in one place. hyper gives a
//! connection back for an upgrade only if the future of a request can be moved; this one can,
//! and costs no memory per request.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::Request;
use hyper::body::Incoming;
use hyper::service::Service;

type Place<F> = Rc<RefCell<Pin<Box<Option<F>>>>>;

/// Serves each request with the future that `begin` makes of it.
pub(crate) struct OneByOne<B, F> {
    begin: B,
    place: Place<F>,
}

/// The request that is being served. Dropped: it is given up.
pub(crate) struct Running<F>(Place<F>);

impl<B, F> OneByOne<B, F> {
    pub(crate) fn new(begin: B) -> Self {
        Self { begin, place: Rc::new(RefCell::new(Box::pin(None))) }
    }
}

impl<B, F, A, E> Service<Request<Incoming>> for OneByOne<B, F>
where
    B: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<A, E>>,
{
    type Response = A;
    type Error = E;
    type Future = Running<F>;

    fn call(&self, request: Request<Incoming>) -> Running<F> {
        let future = (self.begin)(request);
        self.place.borrow_mut().as_mut().set(Some(future));
        Running(Rc::clone(&self.place))
    }
}

impl<F: Future> Future for Running<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut place = self.0.borrow_mut();
        match place.as_mut().as_pin_mut() {
            Some(future) => {
                let output = ready!(future.poll(cx));
                place.as_mut().set(None);
                Poll::Ready(output)
            }
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Running<F> {
    fn drop(&mut self) {
        self.0.borrow_mut().as_mut().set(None);
    }
}

impl<B, F> fmt::Debug for OneByOne<B, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneByOne").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for Running<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}
