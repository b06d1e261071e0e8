//! Who is not let go on: rejected, stopped behind failures, one too many.

use std::num::NonZeroU32;
use std::time::Instant;

use hold::{Entry, Expiry, Limits, OnExpiry, Pace, Ramping};
use loom::future::block_on;
use loom::thread;

use super::{LEASE, app, assert_open_and_idle, close, model, turn, wait};

#[test]
fn a_rejected_line_is_told_so_whatever_it_does_meanwhile() {
    model(|| {
        let (hold, [lane, other]) = app();
        let pace = Pace { concurrency: NonZeroU32::MIN, concurrency_max: NonZeroU32::MIN };
        hold.set_limits(Limits { on_expiry: OnExpiry::Reject, ..Limits::new(8, pace) });
        let until = Instant::now() + LEASE;
        let generation = close(&hold, until);
        let (waiting, giving_up) = (wait(lane.enter()), wait(other.enter()));
        let waiting = thread::spawn(move || block_on(waiting).is_err());
        let giving_up = thread::spawn(move || giving_up.give_up().is_err());
        assert!(matches!(hold.expire(generation, until), Expiry::Released(_)));
        assert!(waiting.join().unwrap() && giving_up.join().unwrap(), "forwarded all the same");
        assert_open_and_idle(&hold);
        assert!(matches!(lane.enter(), Entry::Forward(_)), "who comes later goes on");
    });
}

#[test]
fn a_release_that_stops_is_seen_and_goes_on() {
    model(|| {
        let (hold, [lane, other]) = app();
        let pace = Pace { concurrency: NonZeroU32::MIN, concurrency_max: NonZeroU32::MIN };
        let failures_max = Some(NonZeroU32::MIN);
        hold.set_limits(Limits { failures_max, ..Limits::new(8, pace) });
        let generation = close(&hold, Instant::now() + LEASE);
        let (failing, held) = (wait(lane.enter()), wait(other.enter()));
        let failing = thread::spawn(move || {
            let mut ticket = turn(failing);
            ticket.written();
            ticket.failed();
        });
        hold.release(generation).unwrap();
        assert_eq!(block_on(hold.ramp_after(generation, Ramping::Running)), Ramping::Stopped);
        assert_eq!(hold.status().held, 1, "it waits");
        failing.join().unwrap();
        let tried = thread::spawn(move || drop(turn(held)));
        assert!(hold.retry(generation));
        assert_eq!(block_on(hold.ramp_after(generation, Ramping::Stopped)), Ramping::Over);
        tried.join().unwrap();
        assert_open_and_idle(&hold);
    });
}

#[test]
fn a_place_taken_back_against_its_turn() {
    model(|| {
        let (hold, [lane, other]) = app();
        let generation = close(&hold, Instant::now() + LEASE);
        let (excess, staying) = (wait(lane.enter()), wait(other.enter()));
        let excess = thread::spawn(move || u64::from(excess.refuse().is_err()));
        let staying = thread::spawn(move || drop(turn(staying)));
        hold.release(generation).unwrap();
        let refused = excess.join().unwrap();
        staying.join().unwrap();
        assert_open_and_idle(&hold);
        let figures = hold.status().summary;
        assert_eq!((figures.refused_full, figures.held_total), (refused, 2 - refused));
    });
}
