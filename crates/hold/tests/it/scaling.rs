//! As long as nobody holds, a second thread costs the first one nothing.

#[path = "../../benches/open_path/figure.rs"]
mod figure;

const ROUNDS: usize = 200;
/// Two threads of one core share its units; two that shared a cache line would be several times dearer.
const RATIO_MAX: f64 = 2.5;

#[test]
fn two_threads_on_lanes_of_their_own_do_not_slow_each_other() {
    let figures = figure::Figures::measure(ROUNDS);
    // Nothing is known where two threads never had a processor each at the same time.
    let Some(ratio) = figures.ratio() else { return };
    assert!(
        ratio < RATIO_MAX,
        "{:.1} ns alone, {:?} beside another thread, {:?} by the same lane",
        figures.one_thread,
        figures.two_threads,
        figures.one_lane
    );
}
