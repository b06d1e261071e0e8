//! Who goes on, who waits, in which order.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test helpers")]

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, Instant};

use hold::{Drain, Entry, Generation, Hold, Holder, Limits, Pace, State};

#[tokio::test(start_paused = true)]
async fn a_held_request_goes_on_after_the_release() {
    let one = NonZeroU32::MIN;
    let limits = Limits { held_max: 10, pace: Pace { concurrency: one, concurrency_max: one } };
    let (hold, lanes) = Hold::new(limits, NonZeroUsize::MIN);
    let Entry::Forward(before) = lanes[0].enter() else { panic!("not held yet") };
    let until = Instant::now() + Duration::from_secs(30);
    let holder = Holder { name: "test".to_owned(), reason: String::new() };
    let generation = hold.close(Generation::NONE, holder, until).unwrap();
    let Entry::Wait(wait) = lanes[0].enter() else { panic!("held") };
    assert_eq!(hold.status().state, State::Draining);
    drop(before);
    assert_eq!(hold.drained(generation, until).await, Drain::Drained);
    hold.release(generation).unwrap();
    let mut ticket = wait.await;
    assert_eq!(hold.status().state, State::Releasing);
    ticket.written();
    assert_eq!(hold.status().state, State::Open);
    drop(ticket);
    assert_eq!(hold.status().in_flight, 0);
}
