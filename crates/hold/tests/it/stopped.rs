//! A release that failures stop, a line that is rejected, a place that is taken back.

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hold::{Entry, Excess, Expiry, LeaseEnd, Limits, OnExpiry, Ramping, State, TurnedAway, Wait};
use tokio::time::timeout;

use crate::fixture::{App, LEASE, app, app_with, now, pace};

const HELD_MAX: usize = 100;

fn stopping_after(failures: u32, concurrency: u32, concurrency_max: u32) -> App {
    let pace = pace(concurrency, concurrency_max);
    let app = app_with(1, HELD_MAX, pace);
    let failures_max = NonZeroU32::new(failures);
    app.hold.set_limits(Limits { failures_max, ..Limits::new(HELD_MAX, pace) });
    app
}

fn rejecting() -> App {
    let app = app();
    let limits = Limits::new(HELD_MAX, pace(1, 1));
    app.hold.set_limits(Limits { on_expiry: OnExpiry::Reject, ..limits });
    app
}

/// Lets those go whose turn has come, each well or not; says how many they were.
fn answer(waits: &mut Vec<Wait>, well: bool) -> usize {
    let mut context = Context::from_waker(Waker::noop());
    let before = waits.len();
    loop {
        let turn = waits.iter_mut().enumerate().find_map(|(place, wait)| {
            match pin!(wait).poll(&mut context) {
                Poll::Ready(turn) => Some((place, turn.unwrap())),
                Poll::Pending => None,
            }
        });
        let Some((place, mut ticket)) = turn else { return before - waits.len() };
        assert_eq!(place, 0, "out of order");
        drop(waits.remove(place));
        ticket.written();
        if !well {
            ticket.failed();
        }
    }
}

fn queue(app: &App, count: usize) -> Vec<Wait> {
    (0..count).map(|_| app.wait()).collect()
}

#[test]
fn failures_in_a_row_stop_the_release_and_the_rest_stay_held() {
    let app = stopping_after(3, 1, 4);
    let generation = app.close();
    let mut waits = queue(&app, 10);
    app.hold.release(generation).unwrap();
    assert_eq!(answer(&mut waits, false), 3);
    let status = app.hold.status();
    assert!(status.is_stopped && status.state == State::Releasing);
    assert_eq!((status.held, status.in_flight), (7, 0));
    assert!(matches!(app.lanes[0].enter(), Entry::Wait(_)), "who comes waits, too");
}

#[test]
fn one_that_does_not_fail_begins_the_count_anew() {
    let app = stopping_after(3, 1, 1);
    let generation = app.close();
    let mut waits = queue(&app, 12);
    app.hold.release(generation).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    for (turn, wait) in waits.iter_mut().enumerate() {
        let Poll::Ready(Ok(mut ticket)) = pin!(wait).poll(&mut context) else {
            panic!("stopped at the {turn}th")
        };
        ticket.written();
        if turn % 3 != 2 {
            ticket.failed();
        }
    }
    assert_eq!(app.hold.status().state, State::Open);
}

#[test]
fn without_the_limit_no_failure_stops_it() {
    let app = app_with(1, HELD_MAX, pace(2, 4));
    let generation = app.close();
    let mut waits = queue(&app, 50);
    app.hold.release(generation).unwrap();
    assert_eq!(answer(&mut waits, false), 50);
    assert_eq!(app.hold.status().state, State::Open);
}

#[test]
fn a_failed_request_does_not_widen_the_window() {
    let app = stopping_after(50, 1, 10);
    let generation = app.close();
    let mut waits = queue(&app, 5);
    app.hold.release(generation).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..4 {
        let Poll::Ready(Ok(mut ticket)) = pin!(&mut waits[0]).poll(&mut context) else {
            panic!("its turn has come")
        };
        ticket.written();
        assert!(pin!(&mut waits[1]).poll(&mut context).is_pending(), "one at a time");
        ticket.failed();
        drop(ticket);
        drop(waits.remove(0));
    }
}

#[test]
fn one_may_try_at_a_time_and_the_line_goes_on_when_it_succeeds() {
    let app = stopping_after(2, 1, 8);
    let generation = app.close();
    let mut waits = queue(&app, 10);
    app.hold.release(generation).unwrap();
    assert_eq!(answer(&mut waits, false), 2);
    for _ in 0..3 {
        assert!(app.hold.retry(generation));
        assert_eq!(answer(&mut waits, false), 1);
        assert!(app.hold.status().is_stopped);
    }
    assert!(app.hold.retry(generation));
    assert_eq!(answer(&mut waits, true), 5, "one tries, then all of them");
    assert_eq!(app.hold.status().state, State::Open);
    assert!(!app.hold.retry(generation), "nothing is stopped");
}

#[test]
fn an_overruled_release_does_not_stop_again_and_the_next_one_does() {
    let app = stopping_after(2, 1, 1);
    let first = app.close();
    let mut waits = queue(&app, 10);
    app.hold.release(first).unwrap();
    answer(&mut waits, false);
    assert!(app.hold.overrule(first));
    assert_eq!(answer(&mut waits, false), 8);
    assert_eq!(app.hold.status().state, State::Open);
    let second = app.close();
    let mut waits = queue(&app, 10);
    app.hold.release(second).unwrap();
    assert_eq!(answer(&mut waits, false), 2);
    assert!(!app.hold.overrule(first) && !app.hold.retry(first), "that one is over");
    assert!(app.hold.status().is_stopped);
}

#[test]
fn a_stopped_release_can_be_held_again() {
    let app = stopping_after(1, 1, 1);
    let first = app.close();
    let mut waits = queue(&app, 3);
    app.hold.release(first).unwrap();
    assert_eq!(answer(&mut waits, false), 1);
    let second = app.close();
    assert!(!app.hold.status().is_stopped, "held, not stopped");
    assert!(!app.hold.overrule(first));
    app.hold.release(second).unwrap();
    assert_eq!(answer(&mut waits, true), 2);
    assert_eq!(app.hold.status().state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn whoever_looks_after_a_release_is_told_of_every_change() {
    let app = stopping_after(1, 1, 1);
    let generation = app.close();
    let mut waits = queue(&app, 3);
    app.hold.release(generation).unwrap();
    let hold = app.hold.clone();
    let told = tokio::spawn(async move {
        let mut told = vec![Ramping::Running];
        while *told.last().unwrap() != Ramping::Over {
            told.push(hold.ramp_after(generation, *told.last().unwrap()).await);
        }
        told
    });
    tokio::task::yield_now().await;
    answer(&mut waits, false);
    tokio::task::yield_now().await;
    let _tried = app.hold.retry(generation);
    let Poll::Ready(Ok(mut ticket)) =
        pin!(&mut waits[0]).poll(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("it may try")
    };
    ticket.written();
    drop(ticket);
    tokio::task::yield_now().await;
    drop(waits.remove(0));
    answer(&mut waits, true);
    let told = timeout(Duration::from_secs(1), told).await.unwrap().unwrap();
    assert_eq!(told, [Ramping::Running, Ramping::Stopped, Ramping::Running, Ramping::Over]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ends_rejects_the_line_where_it_is_to() {
    let app = rejecting();
    let generation = app.close();
    let (held, left) = (app.wait(), app.wait());
    let LeaseEnd::Expired(summary) = app.hold.keep_lease(generation).await else {
        panic!("nobody else ended it")
    };
    assert_eq!((summary.held_total, summary.rejected, summary.released), (2, 2, 0));
    assert_eq!(held.await.unwrap_err(), TurnedAway::HoldExpired { waited: LEASE });
    drop(left);
    let status = app.hold.status();
    assert_eq!((status.state, status.held, status.in_flight), (State::Open, 0, 0));
    assert_eq!((status.summary.rejected, status.summary.client_gone), (2, 0));
    drop(app.forward());
}

#[tokio::test(start_paused = true)]
async fn a_release_and_a_renewal_reject_nobody() {
    let app = rejecting();
    let generation = app.close();
    let held = app.wait();
    app.hold.renew(generation, now() + 2 * LEASE).unwrap();
    assert!(matches!(app.hold.expire(generation, now() + LEASE), Expiry::NotYet(_)));
    app.hold.release(generation).unwrap();
    assert!(matches!(app.hold.expire(generation, now() + 3 * LEASE), Expiry::Over));
    drop(held.await.unwrap());
    assert_eq!(app.hold.status().summary.rejected, 0);
}

#[test]
fn a_drain_that_ends_late_releases_also_where_leases_reject() {
    let app = rejecting();
    let straggler = app.forward();
    let generation = app.close();
    let mut waits = queue(&app, 1);
    app.hold.abort_drain(generation);
    assert_eq!(answer(&mut waits, true), 1);
    drop(straggler);
}

#[test]
fn a_place_taken_back_counts_as_refused() {
    let app = app();
    let generation = app.close();
    let (excess, granted) = (app.wait(), app.wait());
    assert_eq!(excess.refuse().unwrap_err(), Excess);
    let summary = app.hold.status().summary;
    assert_eq!((summary.held_total, summary.refused_full, summary.client_gone), (1, 1, 0));
    app.hold.release(generation).unwrap();
    drop(granted.refuse().expect("its turn had come"));
    assert_eq!(app.hold.status().summary.released, 1);
}
