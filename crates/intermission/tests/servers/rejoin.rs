//! A former primary that comes back after a failover.

use std::sync::Arc;

use intermission::swap::{
    plan::Request,
    record::Ending,
    refusal::{Code, Refusal},
    run::{self, Report},
    server::Server,
};
use lab::server::Flavor;
use tokio_util::sync::CancellationToken;

use crate::{
    bench::{Bench, codes, ending_of},
    failover::kill_and_fail_over,
};

lab::on_both!(
    a_former_primary_that_has_not_diverged_follows,
    one_that_has_diverged_is_refused_by_what_it_has,
);

async fn rejoin(bench: &Bench, request: &Request) -> Report {
    let (cancel, listener) = (CancellationToken::new(), Arc::new(|_: &_| {}));
    run::rejoin(&bench.parties(), bench.journals(), request, |_| true, cancel, listener)
        .await
        .unwrap()
}

async fn refusals(bench: &Bench, request: &Request) -> Vec<Refusal> {
    match rejoin(bench, request).await {
        Report::Refused(refusals) => refusals,
        other @ (Report::Ended { .. } | Report::NothingToDo(_)) => panic!("{other:?}"),
    }
}

async fn a_former_primary_that_has_not_diverged_follows(flavor: Flavor) {
    let mut bench = Bench::new(flavor).await;
    bench.write(0, "before").await.unwrap();
    bench.pair.wait_replicated().await.unwrap();
    kill_and_fail_over(&bench).await;
    bench.write(1, "while it was away").await.unwrap();
    let found = refusals(&bench, &Bench::request()).await;
    assert_eq!(codes(&found), [Code::Unreachable]);
    bench.pair.servers[0].restart().await.unwrap();
    // It came up as it was: writable.
    assert!(!bench.pair.is_read_only(0).await.unwrap());
    let report = rejoin(&bench, &Bench::request()).await;
    let ended = matches!(report, Report::Ended { ending: Ending::Swapped, .. });
    assert!(ended, "{flavor}: {report:?}\n{:#?}", bench.journal());
    bench.write(1, "by the new primary").await.unwrap();
    bench.pair.wait_caught_up(1, 0).await.unwrap();
    for row in ["before", "while it was away", "by the new primary"] {
        assert!(bench.has_row(0, row).await, "{row}");
    }
    assert!(
        bench.pair.is_read_only(0).await.unwrap() && !bench.pair.is_read_only(1).await.unwrap()
    );
    let again = rejoin(&bench, &Bench::request()).await;
    assert!(matches!(again, Report::NothingToDo(_)), "{again:?}");
    // And the roles can be given back.
    let report = bench.swap().await;
    assert_eq!(ending_of(&report).0, Ending::Swapped, "{report:?}");
    assert_eq!(bench.pair.primary_index().await.unwrap(), 0);
}

async fn one_that_has_diverged_is_refused_by_what_it_has(flavor: Flavor) {
    let mut bench = Bench::new(flavor).await;
    bench.pair.wait_replicated().await.unwrap();
    let stop = bench.either("STOP SLAVE IO_THREAD", "STOP REPLICA IO_THREAD");
    bench.sql(1, [stop]).await;
    for row in 0..3 {
        bench.write(0, &format!("never sent {row}")).await.unwrap();
    }
    let lost = bench.server(0).executed().await.unwrap();
    let lost = lost.minus(&bench.server(1).executed().await.unwrap());
    kill_and_fail_over(&bench).await;
    bench.write(1, "on the new primary").await.unwrap();
    bench.pair.servers[0].restart().await.unwrap();
    // Writable still: first of all nobody may write there.
    let report = rejoin(&bench, &Bench::request()).await;
    let (ending, cause) = ending_of(&report);
    let cause = cause.unwrap();
    assert_eq!(ending, Ending::RolledBack, "{cause}");
    assert!(
        cause.contains(&lost.to_string()) && cause.contains("build db1 anew"),
        "{lost}: {cause}"
    );
    assert!(bench.pair.is_read_only(0).await.unwrap(), "a second writer");
    // Read-only now, and refused before anything is done.
    let found = refusals(&bench, &Bench::request()).await;
    assert_eq!(codes(&found), [Code::ErrantTransactions]);
    assert!(found[0].sentence.contains(&lost.to_string()), "{}", found[0]);
    assert!(found[0].mend.contains("build db1 anew"), "{}", found[0]);
    assert!(bench.server(0).channels().await.unwrap().is_empty());
    bench.write(1, "goes on").await.unwrap();
}
