//! Held, released, refused, left.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hold::{Drain, State, Ticket};
use tower_layer::Layer as _;
use tower_service::Service;

use crate::desk::Desk;
use crate::fixture::{
    HELD_MAX, MAX_WAIT, answer, close, layer, layer_with, poll, poll_ready, send,
};

#[tokio::test(start_paused = true)]
async fn who_is_held_is_not_called_until_released() {
    let (hold, layer) = layer();
    let desk = Desk::default();
    let mut service = layer.layer(desk.clone());
    let generation = close(&hold);
    let mut held = send(&mut service, 1);
    tokio::time::advance(MAX_WAIT / 2).await;
    assert!(poll(&mut held).is_pending());
    assert_eq!((desk.begun(), hold.status().held), (Vec::new(), 1));

    hold.release(generation).unwrap();
    assert!(poll(&mut held).is_pending());
    assert_eq!((desk.begun(), hold.status().in_flight), (vec![1], 1));
    desk.end(1);
    assert_eq!(answer(&mut held), "answer 1");
    assert_eq!((hold.status().state, hold.status().in_flight), (State::Open, 0));
}

#[tokio::test(start_paused = true)]
async fn the_next_begins_when_the_one_before_is_answered() {
    let (hold, layer) = layer();
    let desk = Desk::default();
    let mut service = layer.layer(desk.clone());
    let generation = close(&hold);
    let mut held: Vec<_> = (0..5).map(|request| send(&mut service, request)).collect();
    hold.release(generation).unwrap();
    for request in 0..5 {
        for later in held.iter_mut().rev() {
            assert!(poll(later).is_pending());
        }
        assert_eq!(desk.begun(), (0..=request).collect::<Vec<_>>());
        desk.end(request);
        let mut first = held.remove(0);
        assert_eq!(answer(&mut first), format!("answer {request}"));
    }
}

#[tokio::test(start_paused = true)]
async fn with_each_answer_more_of_them_run_beside_each_other() {
    let (hold, layer) = layer_with(HELD_MAX, 1, 8);
    let desk = Desk::default();
    let mut service = layer.layer(desk.clone());
    let generation = close(&hold);
    let mut held: Vec<_> = (0..5).map(|request| send(&mut service, request)).collect();
    hold.release(generation).unwrap();
    for waiting in &mut held {
        assert!(poll(waiting).is_pending());
    }
    assert_eq!(desk.begun(), [0]);
    // Who is answered at once shows nothing that more at a time would be good for.
    tokio::time::advance(Duration::from_millis(25)).await;
    desk.end(0);
    assert_eq!(answer(&mut held.remove(0)), "answer 0");
    for waiting in &mut held {
        assert!(poll(waiting).is_pending());
    }
    // The third was let go when the second had begun, and began beside it.
    assert_eq!(desk.begun(), [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_begin_in_their_order_on_several_threads() {
    const COUNT: u32 = 90;
    const WITHIN: Duration = Duration::from_secs(20);
    let (hold, layer) = layer_with(HELD_MAX, 1, 64);
    let desk = Desk::default();
    let generation = close(&hold);
    let mut tasks = Vec::new();
    for request in 0..COUNT {
        let mut service = layer.clone().layer(desk.clone());
        desk.end(request);
        assert!(poll_ready(&mut service).is_ready());
        tasks.push(tokio::spawn(service.call(request)));
    }
    hold.release(generation).unwrap();
    for (request, task) in tasks.into_iter().enumerate() {
        let answered = tokio::time::timeout(WITHIN, task).await.unwrap().unwrap();
        assert_eq!(answered.unwrap(), format!("answer {request}"));
    }
    assert_eq!(desk.begun(), (0..COUNT).collect::<Vec<_>>());
    assert_eq!(hold.status().state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn who_finds_the_line_full_or_waits_too_long_is_answered_as_the_application_says() {
    let (hold, layer) = layer_with(1, 1, 1);
    let desk = Desk::default();
    let mut service = layer.layer(desk.clone());
    let generation = close(&hold);
    let mut held = send(&mut service, 1);
    assert!(poll_ready(&mut service).is_ready());
    let mut turned_away = Box::pin(service.call(2));
    assert_eq!(answer(&mut turned_away), "refused 2: held, and too many are waiting already");

    tokio::time::advance(MAX_WAIT - Duration::from_millis(1)).await;
    assert!(poll(&mut held).is_pending());
    tokio::time::advance(Duration::from_millis(2)).await;
    let refused = answer(&mut held);
    assert_eq!(refused, "refused 1: held longer than the maximum wait (10.0s)");
    let figures = hold.release(generation).unwrap();
    assert_eq!((figures.timed_out, figures.refused_full, figures.released), (1, 1, 0));
    assert!(desk.begun().is_empty());
    assert_eq!(hold.status().state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn who_left_while_held_is_never_run() {
    let (hold, layer) = layer();
    let desk = Desk::default();
    let mut service = layer.layer(desk.clone());
    let generation = close(&hold);
    let left = send(&mut service, 1);
    let left_at_its_turn = send(&mut service, 2);
    let mut stayed = send(&mut service, 3);
    drop(left);
    hold.release(generation).unwrap();
    assert!(poll(&mut stayed).is_pending());
    drop(left_at_its_turn);
    assert!(poll(&mut stayed).is_pending());
    assert_eq!(desk.begun(), [3]);
    let figures = hold.status().summary;
    assert_eq!((figures.client_gone, figures.released), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn who_is_cancelled_in_flight_does_not_keep_the_drain_waiting() {
    let (hold, layer) = layer();
    let desk = Desk::default();
    let mut service = layer.layer(desk.clone());
    let running = send(&mut service, 1);
    let generation = close(&hold);
    let mut drained = Box::pin(hold.drain_end(generation));
    assert!(poll(&mut drained).is_pending());
    drop(running);
    assert_eq!(drained.await, Drain::Drained);
    assert_eq!(desk.dropped(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_request_counts_until_it_is_answered_or_as_long_as_its_ticket_is_kept() {
    let (hold, layer) = layer();
    let kept: Arc<Mutex<Vec<Ticket>>> = Arc::default();
    let keep = {
        let kept = Arc::clone(&kept);
        move |ticket: Ticket, response: String| {
            kept.lock().unwrap().push(ticket);
            response + ", counted"
        }
    };
    let desk = Desk::default();
    let mut short = layer.clone().layer(desk.clone());
    let mut long = layer.keep_ticket(keep).layer(desk.clone());
    let (mut first, mut second) = (send(&mut short, 1), send(&mut long, 2));
    assert_eq!(hold.status().in_flight, 2);
    desk.end(1);
    assert_eq!((answer(&mut first), hold.status().in_flight), ("answer 1".to_owned(), 1));
    desk.end(2);
    assert_eq!((answer(&mut second), hold.status().in_flight), ("answer 2, counted".to_owned(), 1));
    kept.lock().unwrap().clear();
    assert_eq!(hold.status().in_flight, 0);
}

/// What axum asks of a layer's service and of its future.
#[test]
fn the_service_can_be_cloned_and_used_by_any_thread() {
    fn check<S>(_: &S)
    where
        S: Service<u32, Response = String, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
    }
    check(&layer().1.layer(Desk::default()));
}
