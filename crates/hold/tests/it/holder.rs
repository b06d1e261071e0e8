//! Generations, two holders, two apps.

use std::time::Duration;

use hold::{Entry, Expiry, Generation, State};

use crate::fixture::{LEASE, app, holder, now};

#[tokio::test(start_paused = true)]
async fn h6_the_second_holder_is_told_who_holds() {
    let app = app();
    let generation = app.close();
    tokio::time::advance(Duration::from_secs(12)).await;
    let until = now() + LEASE;
    let refused = app.hold.close(Generation::NONE, holder("second"), until).unwrap_err();
    assert_eq!(refused.generation, generation);
    assert_eq!(refused.current.holder, holder("first"));
    assert_eq!(
        refused.to_string(),
        "already held by first (maintenance) as generation 1 for 12.0s, lease left 18.0s"
    );
    assert_eq!(app.hold.status().hold.unwrap().lease_left, Duration::from_secs(18));
}

#[tokio::test(start_paused = true)]
async fn h29_a_stale_generation_changes_nothing() {
    let app = app();
    let old = app.close();
    app.hold.release(old).unwrap();
    let new = app.close();
    let held = app.wait();
    let before = app.hold.status();
    let refused = app.hold.release(old).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "generation 1 is not in force: the app is held, last generation 2, \
         held by first (maintenance)"
    );
    assert_eq!(app.hold.renew(old, now() + 9 * LEASE), Err(refused));
    assert_eq!(app.hold.expire(old, now() + 9 * LEASE), Expiry::Over);
    assert_eq!(app.hold.abort_drain(old), hold::Drain::Over);
    assert!(app.hold.release(new.next()).is_err(), "nor does one that is not yet");
    assert_eq!(app.hold.status(), before);
    app.hold.release(new).unwrap();
    drop(held.await);
}

#[test]
fn a_floor_lifts_the_generation_and_never_lowers_it() {
    let app = app();
    let close = |floor| {
        let generation = app.hold.close(floor, holder("first"), now() + LEASE).unwrap();
        app.hold.release(generation).unwrap();
        generation.get()
    };
    assert_eq!(close(Generation::new(10)), 10);
    assert_eq!(close(Generation::new(3)), 11);
    assert_eq!(close(Generation::NONE), 12);
}

#[tokio::test(start_paused = true)]
async fn h10_h33_two_apps_do_not_know_each_other() {
    let (a, b) = (app(), app());
    let (held_a, held_b) = (a.close(), b.close());
    let (wait_a, wait_b) = (a.wait(), b.wait());
    b.hold.release(held_b).unwrap();
    drop(wait_b.await);
    assert_eq!((a.hold.status().state, b.hold.status().state), (State::Held, State::Open));
    assert!(matches!(a.lanes[0].enter(), Entry::Wait(_)));
    drop(b.forward());
    a.hold.release(held_a).unwrap();
    drop(wait_a.await);
}

#[test]
fn h36_the_state_says_what_is_so() {
    let app = app();
    let states = || app.hold.status().state;
    assert_eq!(states(), State::Open);
    let straggler = app.forward();
    let generation = app.close();
    assert_eq!(states(), State::Draining);
    drop(straggler);
    assert_eq!(states(), State::Held);
    let held = app.wait();
    app.hold.release(generation).unwrap();
    assert_eq!(states(), State::Releasing);
    drop(held);
    assert_eq!(states(), State::Open);
    let generation = app.close();
    app.hold.release(generation).unwrap();
    assert_eq!(states(), State::Open, "nobody was in line");
}
