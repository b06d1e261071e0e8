use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::Ramp;
use super::search::NARROW;
use crate::{Generation, Limits, Pace};

const STEP_US: u64 = 50;

fn ramp(concurrency: u32, concurrency_max: u32) -> Ramp {
    let number = |number| NonZeroU32::new(number).expect("positive");
    let pace = Pace { concurrency: number(concurrency), concurrency_max: number(concurrency_max) };
    Ramp::new(&Limits::new(usize::MAX, pace))
}

/// A release of a line without end: how many run at the end of each of so many milliseconds, and how many were answered in all. `due` says
/// when who goes on at a time will be answered, both in microseconds since the release began.
fn run(mut ramp: Ramp, millis: u64, mut due: impl FnMut(u64) -> u64) -> (Vec<u32>, usize) {
    let began = Instant::now();
    let at = |us| began + Duration::from_micros(us);
    ramp.begin(Generation::NONE, began);
    let (mut running, mut next, mut widths, mut answered) = (BTreeMap::new(), 0_u64, Vec::new(), 0);
    for now in (0..millis * 1000).step_by(usize::try_from(STEP_US).expect("small")) {
        while running.first_key_value().is_some_and(|((due, _), _)| *due <= now) {
            let (_, place) = running.pop_first().expect("it is there");
            ramp.give_back(place, at(now));
            answered += 1;
        }
        while let Some(mut place) = ramp.try_take(at(now)) {
            assert!(running.len() < 512, "more than the widest window");
            ramp.written(&mut place);
            running.insert((due(now), next), place);
            next += 1;
        }
        if (now + STEP_US).is_multiple_of(1000) {
            widths.push(ramp.running());
        }
    }
    (widths, answered)
}

/// One after the other, 50 µs each.
fn one_worker() -> impl FnMut(u64) -> u64 {
    let mut free = 0;
    move |now: u64| {
        free = free.max(now) + 50;
        free
    }
}

/// Other apps of the same threads wait behind whoever waits for a processor: no more do than keep it at work.
#[test]
fn where_more_only_wait_for_each_other_fewer_go_on_at_once() {
    let (widths, answered) = run(ramp(64, 512), 900, one_worker());
    // Those of the beginning are answered within 6.4 ms; now and then twice as many are tried.
    let narrow = widths.iter().skip(6).filter(|width| **width == NARROW).count();
    assert!(narrow > 860, "{narrow} of 894: {widths:?}");
    assert!(widths.iter().skip(6).all(|width| (NARROW..=2 * NARROW).contains(width)), "{widths:?}");
    assert!(answered > 900 * 19, "{answered} of 18 000: the worker had nothing to do");
    let (widths, _) = run(ramp(8, 512), 900, one_worker());
    assert!(widths.iter().all(|width| *width == 8), "{widths:?}");
}

#[test]
fn an_upstream_that_takes_its_time_whoever_else_comes_gets_what_is_configured() {
    let (widths, answered) = run(ramp(64, 512), 900, |now| now + 3800);
    let wide = widths.iter().filter(|width| **width == 64).count();
    assert!(wide > 800, "{wide} of 900: {widths:?}");
    assert!(answered > 64 * 900 * 10 / 38 * 9 / 10, "{answered}");
    assert!(
        widths[50..400].iter().all(|width| *width == 64),
        "it takes long to find out: {widths:?}"
    );
}

/// Fast ones among slow ones say nothing about these.
#[test]
fn different_requests_get_what_is_configured_and_more_when_the_line_does_not_end() {
    let mut number = 0;
    let mixed = |now| {
        number += 1;
        now + if number % 10 == 0 { 200 } else { 9000 }
    };
    let (widths, _) = run(ramp(64, 512), 3500, mixed);
    let wide = widths.iter().take(2900).filter(|width| **width == 64).count();
    assert!(wide > 2700, "{wide} of 2900: {widths:?}");
    assert_eq!(widths.last(), Some(&512), "{widths:?}");
}

/// Prompt ones among slow ones narrow nothing: an application takes its time.
#[test]
fn a_few_prompt_answers_among_slow_ones_narrow_nothing() {
    let mut number = 0;
    let mixed = |now| {
        number += 1;
        now + if number % 3 == 0 { 500 } else { 30_000 }
    };
    let (widths, _) = run(ramp(64, 512), 300, mixed);
    assert!(widths.iter().all(|width| *width >= 64), "{widths:?}");
    assert_eq!(widths.last(), Some(&512), "{widths:?}");
}

/// A narrow window that was right is made wider when the upstream has become another one.
#[test]
fn a_window_that_was_narrowed_is_widened_again() {
    let mut worker = one_worker();
    let changes = |now| if now < 300_000 { worker(now) } else { now + 3800 };
    let (widths, _) = run(ramp(64, 512), 2900, changes);
    assert_eq!(widths.get(250), Some(&NARROW), "{widths:?}");
    assert_eq!(widths.last(), Some(&64), "{widths:?}");
}

#[test]
fn other_bounds_end_what_was_found_within_the_ones_before() {
    let mut ramp = ramp(64, 512);
    ramp.window = NARROW;
    let number = |number| NonZeroU32::new(number).expect("positive");
    let pace = Pace { concurrency: number(100), concurrency_max: number(200) };
    ramp.set_limits(&Limits::new(usize::MAX, pace));
    assert_eq!(ramp.window, 100);
    ramp.window = 200;
    let pace = Pace { concurrency: number(2), concurrency_max: number(3) };
    ramp.set_limits(&Limits::new(usize::MAX, pace));
    assert_eq!(ramp.window, 3);
}
