//! Who goes on, who waits, in which order.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hold::{Entry, Limits, State, Ticket, Wait};

use crate::fixture::{App, app, app_with, pace};

/// The tickets of those whose turn has come, with their places in line.
fn granted(waits: &mut [Option<Wait>]) -> Vec<(usize, Ticket)> {
    let mut context = Context::from_waker(Waker::noop());
    let mut granted = Vec::new();
    for (place, slot) in waits.iter_mut().enumerate() {
        if let Some(wait) = slot
            && let Poll::Ready(Ok(ticket)) = pin!(wait).poll(&mut context)
        {
            *slot = None;
            granted.push((place, ticket));
        }
    }
    granted
}

fn queue(app: &App, count: usize) -> Vec<Option<Wait>> {
    (0..count).map(|_| Some(app.wait())).collect()
}

fn places(granted: &[(usize, Ticket)]) -> Vec<usize> {
    granted.iter().map(|(place, _)| *place).collect()
}

#[test]
fn at_one_by_one_the_next_goes_only_after_the_one_before() {
    let app = app();
    let generation = app.close();
    let mut waits = queue(&app, 5);
    app.hold.release(generation).unwrap();
    for place in 0..5 {
        let mut turn = granted(&mut waits);
        assert_eq!(places(&turn), [place]);
        turn[0].1.written();
        assert!(granted(&mut waits).is_empty(), "written, but still running");
    }
    assert_eq!(app.hold.status().state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn h19_h20_the_release_starts_small_and_grows_with_each_response() {
    let widths = widths(SLOW, 6).await;
    assert_eq!(widths, [2, 3, 4, 5, 5, 5], "one wider per response, up to the maximum");
}

/// More at once would only wait for each other; but when that has not emptied the line in three seconds, it is tried all the same.
#[tokio::test(start_paused = true)]
async fn prompt_responses_widen_the_window_only_after_three_seconds() {
    let widths = widths(PROMPT, 760).await;
    let wider = widths.iter().position(|width| *width > 2);
    assert_eq!(wider, Some(750), "3000 ms: {widths:?}");
    assert_eq!(widths.last(), Some(&5));
}

/// How long a response takes.
const SLOW: Duration = Duration::from_millis(25);
const PROMPT: Duration = Duration::from_millis(4);

/// How many run at once before each of some responses, of 2 at first and 5 at most.
async fn widths(each: Duration, responses: usize) -> Vec<usize> {
    let app = app_with(1, 1000, pace(2, 5));
    let generation = app.close();
    let mut waits = queue(&app, 1000);
    app.hold.release(generation).unwrap();
    let mut running: Vec<(usize, Ticket)> = Vec::new();
    let mut widths = Vec::new();
    for _ in 0..responses {
        // Written ones let the next go, until the window is full.
        loop {
            let next = granted(&mut waits);
            assert!(next.len() <= 2, "more than the concurrency unwritten");
            if next.is_empty() {
                break;
            }
            running.extend(next);
            running.iter_mut().for_each(|(_, ticket)| ticket.written());
        }
        widths.push(running.len());
        assert_eq!(app.hold.status().in_flight, u64::try_from(running.len()).unwrap());
        tokio::time::advance(each).await;
        drop(running.remove(0));
    }
    widths
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_before_it_was_written_does_not_widen_the_window() {
    let app = app_with(1, 100, pace(1, 100));
    let generation = app.close();
    let mut waits = queue(&app, 10);
    app.hold.release(generation).unwrap();
    for place in 0..5 {
        let turn = granted(&mut waits);
        tokio::time::advance(SLOW).await;
        assert_eq!(places(&turn), [place], "dropped unwritten");
    }
    let mut turn = granted(&mut waits);
    turn[0].1.written();
    assert!(granted(&mut waits).is_empty(), "the window is still one");
}

#[test]
fn an_endless_response_of_an_earlier_release_does_not_block_a_later_one() {
    let app = app();
    let generation = app.close();
    let mut waits = queue(&app, 1);
    app.hold.release(generation).unwrap();
    let mut endless = granted(&mut waits);
    endless[0].1.written();
    let generation = app.close();
    let mut waits = queue(&app, 2);
    app.hold.release(generation).unwrap();
    assert_eq!(places(&granted(&mut waits)), [0]);
    assert_eq!(places(&granted(&mut waits)), [1]);
    drop(endless);
    assert_eq!(app.hold.status().in_flight, 0);
    assert_eq!(app.hold.status().state, State::Open);
}

#[test]
fn h18_arrivals_during_the_release_go_to_the_tail() {
    let app = app();
    let generation = app.close();
    let mut waits = queue(&app, 3);
    app.hold.release(generation).unwrap();
    let mut order = Vec::new();
    while app.hold.status().state == State::Releasing {
        let turn = granted(&mut waits);
        order.extend(places(&turn));
        if waits.len() < 6 {
            waits.push(Some(app.wait()));
        }
    }
    assert_eq!(order, [0, 1, 2, 3, 4, 5]);
    drop(app.forward());
}

#[test]
fn h18_an_arrival_waits_until_the_last_one_is_written() {
    let app = app();
    let generation = app.close();
    let mut waits = queue(&app, 1);
    app.hold.release(generation).unwrap();
    let mut last = granted(&mut waits);
    let mut late = [Some(app.wait())];
    assert!(granted(&mut late).is_empty());
    last[0].1.written();
    drop(last);
    assert_eq!(granted(&mut late).len(), 1);
}

#[test]
fn h2_release_then_close_at_once_lets_out_no_more_than_the_first_places() {
    let app = app_with(1, 10_000, pace(4, 64));
    let first = app.close();
    let mut waits = queue(&app, 10_000);
    app.hold.release(first).unwrap();
    let second = app.close();
    let out = granted(&mut waits);
    assert_eq!(places(&out), [0, 1, 2, 3], "granted before the second hold, in its drain");
    assert_eq!(app.hold.status().state, State::Draining);
    drop(out);
    let status = app.hold.status();
    assert_eq!((status.state, status.held), (State::Held, 9_996));
    assert!(granted(&mut waits).is_empty());
    app.hold.release(second).unwrap();
    assert_eq!(places(&granted(&mut waits)), [4, 5, 6, 7], "the line kept its order");
}

#[test]
fn h2_close_after_a_release_of_nobody_lets_nobody_out() {
    let app = app();
    for _ in 0..10_000 {
        let generation = app.close();
        assert!(matches!(app.lanes[0].enter(), Entry::Wait(_)));
        app.hold.release(generation).unwrap();
    }
    assert_eq!(app.hold.status().in_flight, 0);
}

#[test]
fn h12_h39_a_client_that_left_is_not_forwarded_and_holds_nobody_up() {
    let app = app();
    let generation = app.close();
    let mut waits = queue(&app, 5);
    for gone in [0, 2, 4] {
        waits[gone] = None;
    }
    assert_eq!(app.hold.status().held, 2);
    app.hold.release(generation).unwrap();
    assert_eq!(places(&granted(&mut waits)), [1]);
    assert_eq!(places(&granted(&mut waits)), [3]);
    let summary = app.hold.status().summary;
    assert_eq!((summary.held_total, summary.released, summary.client_gone), (5, 2, 3));
    assert_eq!(app.hold.status().state, State::Open);
}

#[test]
fn h27_a_client_that_leaves_just_when_granted_passes_its_turn_on() {
    let app = app();
    let generation = app.close();
    let mut waits = queue(&app, 3);
    app.hold.release(generation).unwrap();
    assert_eq!(app.hold.status().in_flight, 1);
    waits[0] = None;
    assert_eq!(app.hold.status().in_flight, 1, "the second has the turn now");
    assert_eq!(places(&granted(&mut waits)), [1]);
    waits[2] = None;
    assert_eq!((app.hold.status().state, app.hold.status().in_flight), (State::Open, 0));
    let summary = app.hold.status().summary;
    assert_eq!((summary.released, summary.client_gone), (1, 2));
}

#[test]
fn h21_a_full_line_turns_away_and_hurts_nobody() {
    let app = app_with(1, 2, pace(1, 1));
    let running = app.forward();
    let generation = app.close();
    let mut waits = queue(&app, 2);
    assert!(matches!(app.lanes[0].enter(), Entry::Full));
    assert_eq!((app.hold.status().held, app.hold.status().in_flight), (2, 1));
    waits[0] = None;
    waits.push(Some(app.wait()));
    assert_eq!(app.hold.release(generation).unwrap().refused_full, 1);
    assert_eq!(places(&granted(&mut waits)), [1]);
    assert_eq!(places(&granted(&mut waits)), [2]);
    drop(running);
}

#[test]
fn h17_a_line_without_places_turns_away_and_lets_nobody_pass() {
    let app = app_with(1, 0, pace(1, 1));
    let generation = app.close();
    for _ in 0..3 {
        assert!(matches!(app.lanes[0].enter(), Entry::Full));
    }
    let status = app.hold.status();
    assert_eq!((status.state, status.in_flight, status.summary.refused_full), (State::Held, 0, 3));
    app.hold.release(generation).unwrap();
    drop(app.forward());
}

#[test]
fn h26_the_line_may_go_empty_and_fill_again_while_releasing() {
    let app = app();
    let generation = app.close();
    let mut waits = queue(&app, 1);
    app.hold.release(generation).unwrap();
    for _ in 0..100 {
        let turn = granted(&mut waits);
        assert_eq!(turn.len(), 1);
        waits = queue(&app, 1);
    }
    waits.clear();
    assert_eq!(app.hold.status().state, State::Open);
}

#[test]
fn other_bounds_apply_from_the_next_decision_on_and_nobody_in_line_is_lost() {
    let app = app_with(1, 100, pace(4, 8));
    let generation = app.close();
    let mut waits = queue(&app, 6);
    app.hold.set_limits(Limits::new(3, pace(1, 1)));
    assert!(matches!(app.lanes[0].enter(), Entry::Full));
    assert_eq!(app.hold.status().held, 6);
    app.hold.release(generation).unwrap();
    let mut running = granted(&mut waits);
    assert_eq!(places(&running), [0]);
    // Wider while it runs: others go on at once, and nobody is passed over.
    app.hold.set_limits(Limits::new(3, pace(3, 3)));
    running.extend(granted(&mut waits));
    assert_eq!(places(&running), [0, 1, 2]);
    // Narrower: those on their way stay there, and the next goes when there is room for it.
    app.hold.set_limits(Limits::new(3, pace(1, 1)));
    for (_, ticket) in &mut running {
        ticket.written();
    }
    running.truncate(1);
    assert!(granted(&mut waits).is_empty());
    running.clear();
    for place in 3..6 {
        assert_eq!(places(&granted(&mut waits)), [place]);
    }
    assert_eq!(app.hold.status().state, State::Open);
}
