//! Drain deadline, lease, maximum wait: on a paused clock.

use std::time::Duration;

use hold::{Drain, Expiry, Generation, LeaseEnd, State, TurnedAway};
use tokio::time::sleep;

use crate::fixture::{LEASE, app, holder, now};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn h9_a_drain_that_never_ends_ends_the_hold_and_kills_nothing() {
    let app = app();
    let straggler = app.forward();
    let generation = app.close();
    let held = app.wait();
    let began = now();
    let drain = app.hold.drained(generation, began + 5 * SECOND).await;
    assert_eq!(drain, Drain::TimedOut { in_flight: 1 });
    assert_eq!(now() - began, 5 * SECOND);
    let ticket = held.await.unwrap();
    assert_eq!(ticket.waited(), Some(5 * SECOND));
    assert_eq!(app.hold.status().in_flight, 2, "the straggler was left alone");
    drop((straggler, ticket));
    assert_eq!(app.hold.status().state, State::Open);
    assert!(app.hold.release(generation).is_err(), "the hold was over");
}

#[tokio::test(start_paused = true)]
async fn a_drain_in_time_is_answered_at_once_and_keeps_the_hold() {
    let app = app();
    let straggler = app.forward();
    let generation = app.close();
    let began = now();
    tokio::spawn(async move {
        sleep(2 * SECOND).await;
        drop(straggler);
    });
    assert_eq!(app.hold.drained(generation, began + 5 * SECOND).await, Drain::Drained);
    assert_eq!(now() - began, 2 * SECOND);
    sleep(10 * SECOND).await;
    assert_eq!(app.hold.status().state, State::Held, "the deadline is the drain's only");
}

#[tokio::test(start_paused = true)]
async fn a_drain_after_its_deadline_still_counts_if_nothing_is_in_flight() {
    let app = app();
    let generation = app.close();
    assert_eq!(app.hold.drained(generation, now()).await, Drain::Drained);
    assert_eq!(app.hold.abort_drain(generation), Drain::Drained);
    assert_eq!(app.hold.status().state, State::Held);
}

#[tokio::test(start_paused = true)]
async fn h6_both_who_wait_for_a_drain_get_the_real_one() {
    let app = app();
    let straggler = app.forward();
    let generation = app.close();
    let deadline = now() + 5 * SECOND;
    let (first, second) = (app.hold.clone(), app.hold.clone());
    let first = tokio::spawn(async move { first.drained(generation, deadline).await });
    let second = tokio::spawn(async move { second.drained(generation, deadline).await });
    sleep(SECOND).await;
    assert!(!first.is_finished() && !second.is_finished());
    drop(straggler);
    assert_eq!(first.await.unwrap(), Drain::Drained);
    assert_eq!(second.await.unwrap(), Drain::Drained);
}

#[tokio::test(start_paused = true)]
async fn h7_h8_release_during_the_drain_answers_the_waiter_and_kills_nothing() {
    let app = app();
    let straggler = app.forward();
    let generation = app.close();
    let held = app.wait();
    let (hold, deadline) = (app.hold.clone(), now() + 60 * SECOND);
    let drain = tokio::spawn(async move { hold.drained(generation, deadline).await });
    sleep(SECOND).await;
    let began = now();
    app.hold.release(generation).unwrap();
    assert_eq!(drain.await.unwrap(), Drain::Over);
    assert_eq!(now(), began, "answered at once");
    let ticket = held.await.unwrap();
    assert_eq!(app.hold.status().in_flight, 2);
    drop((straggler, ticket));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_renews_ends_the_hold() {
    let app = app();
    let generation = app.close();
    let held = app.wait();
    let began = now();
    let LeaseEnd::Expired(summary) = app.hold.keep_lease(generation).await else {
        panic!("nobody else ended it")
    };
    assert_eq!(now() - began, LEASE);
    assert_eq!((summary.held_total, summary.longest_wait), (1, LEASE));
    drop(held.await.unwrap());
    assert_eq!(app.hold.status().state, State::Open);
    assert!(app.hold.renew(generation, now() + LEASE).is_err(), "what is over stays over");
    assert_eq!(app.hold.status().state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_renewed_lease_lives_on_and_is_never_shortened() {
    let app = app();
    let generation = app.close();
    let began = now();
    let hold = app.hold.clone();
    let kept = tokio::spawn(async move { hold.keep_lease(generation).await });
    for _ in 0..10 {
        sleep(20 * SECOND).await;
        app.hold.renew(generation, now() + LEASE).unwrap();
    }
    app.hold.renew(generation, now() + SECOND).unwrap();
    let hold = app.hold.status().hold.unwrap();
    assert_eq!((hold.lease_left, hold.held_for), (LEASE, 200 * SECOND));
    assert!(matches!(kept.await.unwrap(), LeaseEnd::Expired(_)));
    assert_eq!(now() - began, 200 * SECOND + LEASE);
}

#[tokio::test(start_paused = true)]
async fn the_lease_also_ends_a_hold_that_still_drains() {
    let app = app();
    let _straggler = app.forward();
    let generation = app.close();
    let (hold, deadline) = (app.hold.clone(), now() + 2 * LEASE);
    let drain = tokio::spawn(async move { hold.drained(generation, deadline).await });
    assert!(matches!(app.hold.keep_lease(generation).await, LeaseEnd::Expired(_)));
    assert_eq!(drain.await.unwrap(), Drain::Over);
}

#[tokio::test(start_paused = true)]
async fn who_keeps_a_lease_hears_of_a_release_at_once() {
    let app = app();
    let generation = app.close();
    let hold = app.hold.clone();
    let kept = tokio::spawn(async move { hold.keep_lease(generation).await });
    sleep(SECOND).await;
    let began = now();
    app.hold.release(generation).unwrap();
    assert_eq!(kept.await.unwrap(), LeaseEnd::Over);
    assert_eq!(now(), began);
    assert_eq!(app.hold.keep_lease(generation).await, LeaseEnd::Over);
}

#[tokio::test(start_paused = true)]
async fn expiry_before_its_time_changes_nothing() {
    let app = app();
    let generation = app.close();
    let until = now() + LEASE;
    let early = app.hold.expire(generation, until - Duration::from_millis(1));
    assert_eq!(early, Expiry::NotYet(until));
    assert_eq!(app.hold.status().state, State::Held);
    assert!(matches!(app.hold.expire(generation, until), Expiry::Released(_)));
    assert_eq!(app.hold.expire(generation, until), Expiry::Over);
}

#[tokio::test(start_paused = true)]
async fn h11_who_waited_too_long_is_never_forwarded() {
    let app = app();
    let generation = app.close();
    let (impatient, patient) = (app.wait(), app.wait());
    let timed_out = impatient.until(now() + 10 * SECOND).await.unwrap_err();
    assert_eq!(timed_out, TurnedAway::TimedOut { waited: 10 * SECOND });
    let status = app.hold.status();
    assert_eq!((status.state, status.held, status.in_flight), (State::Held, 1, 0));
    app.hold.release(generation).unwrap();
    let mut ticket = patient.until(now() + SECOND).await.unwrap();
    ticket.written();
    let summary = app.hold.status().summary;
    assert_eq!((summary.held_total, summary.released, summary.timed_out), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_grant_at_the_deadline_is_taken() {
    let app = app();
    let generation = app.close();
    let held = app.wait();
    app.hold.release(generation).unwrap();
    assert!(held.until(now()).await.is_ok());
    let generation = app.close();
    let held = app.wait();
    app.hold.release(generation).unwrap();
    assert!(held.give_up().is_ok());
}

#[tokio::test(start_paused = true)]
async fn h1_h4_a_restart_comes_up_held_with_the_rest_of_the_lease() {
    let app = app();
    let until = now() + 12 * SECOND;
    app.hold.restore(Generation::new(41), holder("before"), until).unwrap();
    let held = app.wait();
    let status = app.hold.status();
    assert_eq!((status.state, status.generation), (State::Held, Generation::new(41)));
    assert_eq!(status.hold.unwrap().lease_left, 12 * SECOND);
    app.hold.renew(Generation::new(41), until + SECOND).unwrap();
    assert!(matches!(app.hold.keep_lease(Generation::new(41)).await, LeaseEnd::Expired(_)));
    assert_eq!(now(), until + SECOND);
    drop(held.await.unwrap());
    assert_eq!(app.close(), Generation::new(42), "generations go on after a restart");
}

#[tokio::test(start_paused = true)]
async fn a_restart_after_the_lease_releases_at_once() {
    let app = app();
    let began = now();
    app.hold.restore(Generation::new(7), holder("before"), began).unwrap();
    assert!(matches!(app.hold.keep_lease(Generation::new(7)).await, LeaseEnd::Expired(_)));
    assert_eq!(now(), began);
    drop(app.forward());
}
