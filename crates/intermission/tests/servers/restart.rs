//! Servers that are restarted after a swap.

use intermission::swap::{
    record::{Ending, Outcome},
    run::Report,
    step::Step,
};
use lab::server::Flavor;

use crate::bench::{Bench, outcome_of};

lab::on_both!(a_restarted_old_primary_is_no_second_writer,);

/// Over two swaps, so that what the first one kept for a server's restart must not stop the second one's primary.
async fn a_restarted_old_primary_is_no_second_writer(flavor: Flavor) {
    let mut bench = Bench::new(flavor).await;
    for primary in [1, 0] {
        let old = 1 - primary;
        let report = bench.swap().await;
        assert!(matches!(report, Report::Ended { ending: Ending::Swapped, .. }), "{report:?}");
        assert_eq!(bench.pair.primary_index().await.unwrap(), primary, "{flavor}");
        let journal = bench.journal();
        let Some(Outcome::Done { facts }) = outcome_of(&journal, Step::Rejoin) else {
            panic!("{flavor}: not rejoined")
        };
        for server in [old, primary] {
            bench.pair.servers[server].restart().await.unwrap();
        }
        let is_read_only = bench.pair.is_read_only(old).await.unwrap();
        match flavor {
            Flavor::MySql => assert!(is_read_only, "the old primary is writable again"),
            // It cannot be told; the journal says what to do.
            Flavor::MariaDb => {
                let note = facts.note.as_deref().unwrap_or_default();
                assert!(!is_read_only && note.contains("option file"), "{note:?}");
                bench.sql(old, ["SET GLOBAL read_only=1"]).await;
            }
        }
        assert!(!bench.pair.is_read_only(primary).await.unwrap(), "{flavor}: nobody can write");
        // Its source restarted too: it would try again by itself, but after up to a minute.
        let again = bench.either(["STOP SLAVE", "START SLAVE"], ["STOP REPLICA", "START REPLICA"]);
        bench.sql(old, again).await;
        bench.write(primary, &format!("after the restart of {old}")).await.unwrap();
        bench.pair.wait_caught_up(primary, old).await.unwrap();
        bench.assert_same_rows().await;
    }
}
