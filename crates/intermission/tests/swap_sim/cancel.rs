//! A signal at any moment.

use intermission::swap::{record::Ending, step::Step};

use crate::{
    fault::{Blow, Point, Reached, Strike},
    harness::{End, KINDS, on_paused_clock, stage, swap},
    oracle::check_end,
};

#[test]
fn f16_a_signal_goes_back_before_the_commit_point_and_on_after_it() {
    for kind in KINDS {
        let calls = on_paused_clock(async {
            let stage = stage(kind, []);
            drop(swap(&stage).await);
            stage.with(|world| world.trace.clone())
        });
        for (call, called) in calls.iter().enumerate() {
            // What was under way is cut short or not; both may have landed.
            let is_behind = called.current.is_none_or(|(_, step)| step >= Step::COMMIT);
            let expected = if is_behind { Ending::Swapped } else { Ending::RolledBack };
            for reached in [Reached::NotLanded, Reached::Landed] {
                let case = format!("{kind:?} call {call} {called:?} {reached:?}");
                on_paused_clock(async {
                    let stage = stage(kind, []);
                    let strike = Strike::new(Blow::Cancel, Point::Call(call), reached);
                    stage.with(|world| world.strike = Some(strike));
                    let End::Closed(ending, state) = swap(&stage).await else { panic!("{case}") };
                    assert_eq!(ending, expected, "{case}: {:?}", state.cause());
                    check_end(&stage, ending, &case).await;
                    stage.with(|world| {
                        assert_eq!(world.user_errors, 0, "{case}");
                        assert_eq!(world.gate.expired, 0, "{case}");
                    });
                });
            }
        }
    }
}

#[test]
fn a_signal_between_two_steps_is_noticed_at_the_next_one() {
    for kind in KINDS {
        let appends = on_paused_clock(async {
            let stage = stage(kind, []);
            drop(swap(&stage).await);
            stage.with(|world| world.appends)
        });
        for append in 0..appends {
            let case = format!("{kind:?} append {append}");
            on_paused_clock(async {
                let stage = stage(kind, []);
                let strike = Strike::new(Blow::Cancel, Point::Append(append), Reached::NotLanded);
                stage.with(|world| world.strike = Some(strike));
                let End::Closed(ending, state) = swap(&stage).await else { panic!("{case}") };
                let is_committed = state.is_committed();
                let expected = if is_committed { Ending::Swapped } else { Ending::RolledBack };
                assert_eq!(ending, expected, "{case}");
                check_end(&stage, ending, &case).await;
                assert_eq!(stage.with(|world| world.user_errors), 0, "{case}");
            });
        }
    }
}
