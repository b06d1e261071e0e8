//! The journal cannot be written any more.

use intermission::swap::record::Ending;

use crate::{
    harness::{End, KINDS, on_paused_clock, recover, stage, swap},
    oracle::{assert_safe, check_end},
};

#[test]
fn a_full_disk_at_any_record_leaves_one_writable_primary_and_nobody_held() {
    for kind in KINDS {
        let appends = on_paused_clock(async {
            let stage = stage(kind, []);
            drop(swap(&stage).await);
            stage.with(|world| world.appends)
        });
        for full in 0..appends {
            let case = format!("{kind:?} full at append {full} of {appends}");
            on_paused_clock(async {
                let stage = stage(kind, []);
                stage.with(|world| world.full_at = Some(full));
                let end = swap(&stage).await;
                let is_last = full + 1 == appends;
                match &end {
                    End::NotBegun => assert_eq!(full, 0, "{case}"),
                    // Everything is done but the last word.
                    End::Closed(Ending::Swapped, _) => assert!(is_last, "{case}"),
                    End::Closed(ending, _) => assert_eq!(*ending, Ending::NeedsOperator, "{case}"),
                    End::Killed | End::Refused | End::Superseded | End::LeftOpen => {
                        panic!("{case}: {end:?}")
                    }
                }
                let is_swapped = stage.with(|world| {
                    assert_safe(world, &case);
                    let writable = world.servers.iter().position(|db| db.access.is_writable());
                    assert_eq!(writable, world.endpoint, "{case}: users cannot write");
                    assert!(world.gate.held.is_none(), "{case}: users stay held");
                    assert_eq!((world.user_errors, world.gate.expired), (0, 0), "{case}");
                    world.process_ends(false);
                    world.full_at = None;
                    writable == Some(1)
                });
                if full == 0 {
                    return check_end(&stage, Ending::RolledBack, &case).await;
                }
                // With room on the disk again what is left is done.
                let ending = if is_swapped { Ending::Swapped } else { Ending::RolledBack };
                let end = recover(&stage).await;
                assert_eq!(end.ending(), Some(ending), "{case}");
                stage.with(|world| world.process_ends(false));
                check_end(&stage, ending, &case).await;
            });
        }
    }
}
