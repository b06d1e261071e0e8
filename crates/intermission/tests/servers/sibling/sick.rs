//! Siblings that are not well: none refuses a swap, and each is listed with what mends it.

use std::time::Duration;

use intermission::swap::{refusal::Code, sibling::Standing, step::Step};
use lab::{
    cluster::{Pair, PairOptions},
    server::Flavor,
};
use tokio::time::{Instant, sleep};

use super::{PATIENCE, find, four, mend, port, source_of, stop_start, swap, warned};
use crate::bench::{insert, outcome_of};

lab::on_both!(
    f31_a_sibling_that_is_down_and_one_with_an_error_are_listed_with_their_mends,
    f3_f41_what_comes_from_elsewhere_is_left_alone_and_a_chain_stays,
    f31_a_sibling_that_needs_purged_logs_is_left_alone,
    f31_one_that_hangs_keeps_nobody_waiting,
    f38_errant_transactions_and_a_lost_login_are_listed,
);

async fn f31_a_sibling_that_is_down_and_one_with_an_error_are_listed_with_their_mends(
    flavor: Flavor,
) {
    let mut bench = four(flavor).await;
    let [open, close] = bench.switches();
    // F2: a row db4 has already, past its binary log.
    bench.sql(3, ["SET sql_log_bin = 0", open, &insert("twice"), close]).await;
    bench.write(0, "twice").await.unwrap();
    bench.pair.server(2).kill().await.unwrap();
    let warnings = warned(&bench, "db2", &[Code::Unreachable, Code::SqlThread]).await;
    assert!(warnings[0].sentence.contains("sibling db3"), "{}", warnings[0]);
    let reports = swap(&bench, "db2").await;
    let (down, broken) = (find(&reports, "db3"), find(&reports, "db4"));
    assert_eq!(down.standing, Standing::Failed, "{down:?}");
    assert!(down.said.contains("log in"), "{down:?}");
    assert_eq!(broken.standing, Standing::Failed, "{broken:?}");
    let words = bench.either("Duplicate entry", "failed executing transaction");
    assert!(broken.said.contains("arrive") && broken.said.contains(words), "{broken:?}");
    assert_eq!(source_of(&bench, 3).await, port(&bench, 1), "it was led all the same");

    // The mends, as they are told.
    bench.pair.servers[2].restart().await.unwrap();
    bench.sql(2, [close]).await;
    mend(&bench, 2, &down.mend[0]).await;
    bench.sql(3, ["SET sql_log_bin = 0", open, "DELETE FROM ledger.entries", close]).await;
    let then = broken.mend.last().unwrap().strip_prefix("when that is mended: ").unwrap();
    mend(&bench, 3, then).await;
    warned(&bench, "db1", &[]).await;
    bench.write(1, "after the mend").await.unwrap();
    bench.assert_same_rows().await;
    let reports = swap(&bench, "db3").await;
    assert_eq!(bench.pair.primary_index().await.unwrap(), 2);
    assert!(reports.iter().all(|report| report.standing == Standing::Follows), "{reports:?}");
}

async fn f3_f41_what_comes_from_elsewhere_is_left_alone_and_a_chain_stays(flavor: Flavor) {
    let bench = four(flavor).await;
    let other = Pair::start(flavor, &PairOptions::default()).await.unwrap();
    other.run(0, vec!["SET GLOBAL server_id = 77".to_owned()]).await.unwrap();
    if flavor == Flavor::MySql {
        other.run(0, vec!["RESET BINARY LOGS AND GTIDS".to_owned()]).await.unwrap();
    }
    let [stop, start] = stop_start(&bench);
    let change =
        bench.either("CHANGE MASTER TO MASTER_PORT", "CHANGE REPLICATION SOURCE TO SOURCE_PORT");
    let elsewhere = other.server(0).address().port().to_string();
    bench.sql(2, [stop, &format!("{change}={elsewhere}"), start]).await;
    bench.sql(3, [stop, &format!("{change}={}", port(&bench, 1)), start]).await;
    let warnings = warned(&bench, "db2", &[Code::WrongSource]).await;
    assert!(warnings[0].sentence.contains("left alone"), "{}", warnings[0]);
    let reports = swap(&bench, "db2").await;
    let (foreign, chained) = (find(&reports, "db3"), find(&reports, "db4"));
    assert_eq!(foreign.standing, Standing::Failed, "{foreign:?}");
    assert!(foreign.said.contains("not of this cluster"), "{foreign:?}");
    assert_eq!(source_of(&bench, 2).await, elsewhere, "it was touched");
    assert_eq!(chained.standing, Standing::Follows, "{chained:?}");
    assert_eq!(source_of(&bench, 3).await, port(&bench, 1));
}

async fn f31_a_sibling_that_needs_purged_logs_is_left_alone(flavor: Flavor) {
    let bench = four(flavor).await;
    let [stop, start] = stop_start(&bench);
    bench.sql(2, [stop]).await;
    bench.write(0, "missed").await.unwrap();
    bench.pair.wait_caught_up(0, 1).await.unwrap();
    bench.sql(1, ["FLUSH BINARY LOGS"]).await;
    let newest = bench.either("SHOW MASTER STATUS", "SHOW BINARY LOG STATUS");
    let newest = bench.ask(1, newest).await;
    // MariaDB keeps a log a moment longer, for its own recovery.
    let deadline = Instant::now() + PATIENCE;
    while bench.ask(1, "SHOW BINARY LOGS").await != newest {
        assert!(Instant::now() < deadline, "it does not purge");
        bench.sql(1, [format!("PURGE BINARY LOGS TO '{newest}'")]).await;
        sleep(Duration::from_millis(20)).await;
    }
    let warnings = warned(&bench, "db2", &[Code::BinlogsPurged]).await;
    assert!(warnings[0].mend.contains("db2"), "{}", warnings[0]);
    let reports = swap(&bench, "db2").await;
    let left = find(&reports, "db3");
    assert_eq!(left.standing, Standing::Failed, "{left:?}");
    assert!(left.said.contains("in no binary log any more"), "{left:?}");
    assert_eq!(source_of(&bench, 2).await, port(&bench, 0), "it can still get it from the old one");
    assert_eq!(find(&reports, "db4").standing, Standing::Follows);
    bench.sql(2, [start]).await;
    bench.pair.wait_caught_up(0, 2).await.unwrap();
    assert!(bench.has_row(2, "missed").await);
}

async fn f31_one_that_hangs_keeps_nobody_waiting(flavor: Flavor) {
    let bench = four(flavor).await;
    let began = Instant::now();
    bench.freeze(2).await;
    let reports = swap(&bench, "db2").await;
    bench.pair.server(2).resume().unwrap();
    let hung = find(&reports, "db3");
    assert_eq!(hung.standing, Standing::Failed, "{hung:?}");
    assert_eq!(find(&reports, "db4").standing, Standing::Follows, "{reports:?}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    // From the fence to the release nobody asks a sibling anything.
    let journal = bench.journal();
    let outcome = |step| outcome_of(&journal, step).is_some();
    assert!(outcome(Step::Release) && outcome(Step::Prove));
    mend(&bench, 2, &hung.mend[0]).await;
    warned(&bench, "db1", &[]).await;
    bench.assert_same_rows().await;
}

async fn f38_errant_transactions_and_a_lost_login_are_listed(flavor: Flavor) {
    let bench = four(flavor).await;
    let [open, close] = bench.switches();
    bench.sql(2, [open, &insert("errant"), close]).await;
    // A login of its own, which is not on the new primary when it is led there.
    let [stop, start] = stop_start(&bench);
    let login = bench.either(
        "CHANGE MASTER TO MASTER_USER='loner', MASTER_PASSWORD='a-secret'",
        "CHANGE REPLICATION SOURCE TO SOURCE_USER='loner', SOURCE_PASSWORD='a-secret'",
    );
    for sql in [
        "CREATE USER loner@'%' IDENTIFIED BY 'a-secret'",
        "GRANT REPLICATION SLAVE ON *.* TO loner@'%'",
    ] {
        bench.sql(0, ["SET sql_log_bin = 0", sql]).await;
    }
    bench.sql(3, [stop, login, start]).await;
    let wanted = [Code::ErrantTransactions, Code::SiblingLogin];
    let warnings = warned(&bench, "db2", &wanted).await;
    assert!(warnings[1].sentence.contains("loner"), "{}", warnings[1]);
    let reports = swap(&bench, "db2").await;
    let (errant, lost) = (find(&reports, "db3"), find(&reports, "db4"));
    assert_eq!(errant.standing, Standing::Failed, "{errant:?}");
    assert!(errant.said.contains("left alone"), "{errant:?}");
    assert_eq!(source_of(&bench, 2).await, port(&bench, 0));
    assert_eq!(lost.standing, Standing::Failed, "{lost:?}");
    assert!(lost.said.contains("loner"), "{lost:?}");
    assert!(!format!("{reports:?}").contains("a-secret"));
    // The login it had is the login it has.
    for sql in [
        "CREATE USER loner@'%' IDENTIFIED BY 'a-secret'",
        "GRANT REPLICATION SLAVE ON *.* TO loner@'%'",
    ] {
        bench.sql(1, ["SET sql_log_bin = 0", sql]).await;
    }
    bench.sql(3, [stop, start]).await;
    bench.write(1, "arrives").await.unwrap();
    let arrived = "SELECT COUNT(*) FROM ledger.entries WHERE token = 'arrives'";
    bench.wait_for(3, arrived, "1").await;
}
