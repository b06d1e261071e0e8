//! Back-pressure of the inner service, as `tower`'s own concurrency limit has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_layer::Layer as _;
use tower_service::Service;

use crate::desk::{Desk, Request, Work};
use crate::fixture::{answer, close, layer, layer_with, poll, poll_ready, send};

/// A desk with so many places. A service that is ready has one reserved, a clone has none, a call
/// takes its own along.
struct Limited {
    desk: Desk,
    places: Arc<Semaphore>,
    reserved: Option<OwnedSemaphorePermit>,
    broken: Arc<AtomicBool>,
}

impl Limited {
    fn new(desk: &Desk, places: usize) -> Self {
        let places = Arc::new(Semaphore::new(places));
        Self { desk: desk.clone(), places, reserved: None, broken: Arc::default() }
    }
}

impl Clone for Limited {
    fn clone(&self) -> Self {
        let (places, broken) = (Arc::clone(&self.places), Arc::clone(&self.broken));
        Self { desk: self.desk.clone(), places, reserved: None, broken }
    }
}

impl Service<Request> for Limited {
    type Response = String;
    type Error = &'static str;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<String, &'static str>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        if self.broken.load(Ordering::Relaxed) {
            return Poll::Ready(Err("broken"));
        }
        if self.reserved.is_none() {
            self.reserved = Arc::clone(&self.places).try_acquire_owned().ok();
        }
        if self.reserved.is_some() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let place = self.reserved.take().expect("called only when it was ready");
        let work: Work = self.desk.work(request);
        Box::pin(async move {
            let Ok(answer) = work.await;
            drop(place);
            Ok(answer)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_is_not_ready_holds_callers_back() {
    let (hold, layer) = layer();
    let desk = Desk::default();
    let mut service = layer.layer(Limited::new(&desk, 1));
    let mut running = send(&mut service, 1);
    assert!(poll_ready(&mut service).is_pending());
    assert_eq!(hold.status().in_flight, 1, "who is held back is not counted");
    desk.end(1);
    assert_eq!(answer(&mut running), "answer 1");
    assert!(poll_ready(&mut service).is_ready());
}

#[tokio::test(start_paused = true)]
async fn who_is_held_keeps_no_place_in_the_inner_service() {
    let (hold, layer) = layer_with(3, 8, 8);
    let desk = Desk::default();
    let limited = Limited::new(&desk, 1);
    let places = Arc::clone(&limited.places);
    let mut service = layer.layer(limited);
    let generation = close(&hold);
    let mut held: Vec<_> = (0..3).map(|request| send(&mut service, request)).collect();
    assert_eq!(places.available_permits(), 1);
    assert!(poll_ready(&mut service).is_ready());
    assert!(answer(&mut Box::pin(service.call(9))).starts_with("refused 9"));
    assert_eq!(places.available_permits(), 1);

    // All three have their turn at once and one place between them.
    hold.release(generation).unwrap();
    for request in 0..3 {
        for waiting in &mut held {
            assert!(poll(waiting).is_pending());
        }
        assert_eq!(desk.begun(), (0..=request).collect::<Vec<_>>());
        desk.end(request);
        assert_eq!(answer(&mut held.remove(0)), format!("answer {request}"));
    }
    assert_eq!((places.available_permits(), hold.status().in_flight), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_who_waits_for_the_inner_service() {
    let (hold, layer) = layer_with(3, 1, 8);
    let desk = Desk::default();
    let limited = Limited::new(&desk, 1);
    let places = Arc::clone(&limited.places);
    let mut service = layer.layer(limited);
    let generation = close(&hold);
    let mut ahead = send(&mut service, 1);
    let mut behind = send(&mut service, 2);
    let taken = places.try_acquire_owned().unwrap();
    hold.release(generation).unwrap();
    assert!(poll(&mut ahead).is_pending());
    drop(taken);
    assert!(poll(&mut behind).is_pending());
    assert!(desk.begun().is_empty());
    assert!(poll(&mut ahead).is_pending());
    assert_eq!(desk.begun(), [1]);
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_breaks_at_the_turn_ends_the_request() {
    let (hold, layer) = layer();
    let desk = Desk::default();
    let limited = Limited::new(&desk, 1);
    let broken = Arc::clone(&limited.broken);
    let mut service = layer.layer(limited);
    let generation = close(&hold);
    let mut held = send(&mut service, 1);
    broken.store(true, Ordering::Relaxed);
    hold.release(generation).unwrap();
    assert_eq!(poll(&mut held), Poll::Ready(Err("broken")));
    assert_eq!((desk.begun(), hold.status().in_flight), (Vec::new(), 0));
}
