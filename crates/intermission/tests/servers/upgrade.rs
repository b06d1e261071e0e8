//! A replica of a newer series takes over.

use intermission::swap::{plan::Allowed, record::Ending, refusal::Code, run::Report};
use lab::{
    cluster::PairOptions,
    server::{Flavor, Series},
};

use crate::bench::{Bench, codes};

/// The old primary follows a newer series where it can; the way back is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_11_8_takes_over_from_an_older_one_and_not_the_other_way_round() {
    let options = PairOptions::default().with_replica_of(Series::MariaDb118);
    let bench = Bench::with(Flavor::MariaDb, &options).await;
    let refusals = bench.expect_codes(&[Code::NewerCandidate, Code::IncompatibleSetting]).await;
    assert!(refusals[0].sentence.contains("MariaDb 11."), "{}", refusals[0]);
    // Its default is another since 11.6.
    let setting = &refusals[1];
    assert!(setting.sentence.starts_with("innodb_snapshot_isolation is OFF on db1"), "{setting}");
    let (mend, _) = setting.mend.split_once(" on db2").expect("a statement");
    bench.sql(1, [mend]).await;
    bench.expect_codes(&[Code::NewerCandidate]).await;

    let allowed = Allowed { upgrade: true, ..Allowed::default() };
    let request = intermission::swap::plan::Request { allowed, ..Bench::request() };
    let warnings = bench.warnings_of(&bench.parties(), &request).await;
    let wanted = [Code::NewerCandidate, Code::DifferentSetting, Code::DifferentSetting];
    assert_eq!(codes(&warnings), wanted, "{warnings:#?}");
    bench.write(0, "before").await.unwrap();
    let report = bench.swap_by(&bench.parties(), &request).await;
    assert!(
        matches!(report, Report::Ended { ending: Ending::Swapped, cause: None, .. }),
        "{report:?}"
    );
    assert_eq!(bench.pair.primary_index().await.unwrap(), 1);
    bench.write(1, "after").await.unwrap();
    bench.assert_same_rows().await;

    let refusals = bench.refusals().await;
    assert_eq!(codes(&refusals), [Code::OlderCandidate, Code::IncompatibleSetting]);
    let wanted = "an older series must not take over from a newer one";
    assert!(refusals[0].sentence.ends_with(wanted), "{}", refusals[0]);
    assert!(refusals[1].sentence.starts_with("tls is offered on db2"), "{}", refusals[1]);
}
