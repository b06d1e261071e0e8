//! The other replicas of a cluster: they follow, keep what they have, and never stop a swap.

mod sick;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use intermission::{
    config::secret::{Account, Secret},
    mysql::{
        Access,
        grants::{Accounts, PASSWORD, sibling_script},
    },
    swap::{
        plan::{Planned, Request, plan},
        record::Outcome,
        refusal::{Code, Refusal},
        run::{self, Report as Ended},
        sibling::{Report, Standing},
        step::Step,
    },
};
use lab::{
    cluster::PairOptions,
    server::{Flavor, Series},
};
use mysql_async::prelude::Queryable;
use tokio::time::{Instant, sleep};

use crate::{
    bench::{Bench, app_options, codes, insert, outcome_of},
    moment::connect,
};

lab::on_both!(
    f30_f42_three_replicas_swap_there_and_back_under_load,
    f31_a_delayed_sibling_keeps_its_delay_and_a_stopped_one_stays_stopped,
    f32_duplicate_ids_and_writable_siblings_are_refused,
    the_printed_grants_are_enough_for_a_sibling,
);
lab::on_mariadb_11_8!(f30_f42_three_replicas_swap_there_and_back_under_load);

const PATIENCE: Duration = Duration::from_secs(20);

/// db1 is the primary, db2 to db4 its replicas.
async fn four(series: impl Into<Series>) -> Bench {
    Bench::with(series, &PairOptions::default().with_siblings(2)).await
}

pub(crate) fn to(name: &str) -> Request {
    let mut request = Bench::request();
    // What does not arrive soon does not at all.
    request.bounds.prove = Duration::from_secs(4);
    Request { to: Some(name.to_owned()), ..request }
}

pub(crate) async fn swap(bench: &Bench, name: &str) -> Vec<Report> {
    let report = bench.swap_with(&to(name), Arc::new(|_: &_| {})).await;
    let Ended::Ended { ending, .. } = &report else { panic!("{}: {report:#?}", bench.flavor()) };
    assert_eq!(*ending, intermission::swap::record::Ending::Swapped, "{report:?}");
    let journal = bench.journal();
    let Some(Outcome::Done { facts }) = outcome_of(&journal, Step::Follow) else {
        panic!("{journal:#?}")
    };
    facts.siblings.clone()
}

/// Waits until a swap to `name` would be planned with exactly these warnings.
pub(crate) async fn warned(bench: &Bench, name: &str, wanted: &[Code]) -> Vec<Refusal> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let planned = plan(&run::observe(&bench.parties()).await, &to(name));
        if let Ok(Planned::Swap(plan)) = &planned
            && codes(&plan.warnings) == wanted
        {
            return plan.warnings.clone();
        }
        assert!(Instant::now() < deadline, "{}: not {wanted:?}: {planned:#?}", bench.flavor());
        sleep(Duration::from_millis(150)).await;
    }
}

async fn refused(bench: &Bench, name: &str) -> Vec<Code> {
    let report = bench.swap_with(&to(name), Arc::new(|_: &_| {})).await;
    let Ended::Refused(refusals) = report else { panic!("{report:?}") };
    codes(&refusals)
}

/// The SQL that a mend is told as, typed by root.
async fn mend(bench: &Bench, index: usize, told: &str) {
    let sql =
        told.split_once("-e \"").and_then(|(_, rest)| rest.rsplit_once('"')).expect("a command").0;
    bench.sql(index, sql.split("; ").collect::<Vec<_>>()).await;
}

/// Columns of the replication status, in the words of the server at hand.
pub(crate) async fn status(bench: &Bench, index: usize, columns: [&str; 2]) -> String {
    let mut root = bench.root(index).await;
    let sql = bench.either("SHOW ALL SLAVES STATUS", "SHOW REPLICA STATUS");
    let row: mysql_async::Row = root.query_first(sql).await.unwrap().expect("a replica");
    let column = bench.either(columns[0], columns[1]);
    let value = row.get::<Option<String>, _>(column).unwrap_or_else(|| panic!("no {column}"));
    value.unwrap_or_default()
}

pub(crate) async fn source_of(bench: &Bench, index: usize) -> String {
    status(bench, index, ["Master_Port", "Source_Port"]).await
}

pub(crate) fn port(bench: &Bench, index: usize) -> String {
    bench.pair.server(index).address().port().to_string()
}

pub(crate) fn find<'a>(reports: &'a [Report], name: &str) -> &'a Report {
    reports.iter().find(|report| report.name == name).expect(name)
}

pub(crate) fn stop_start(bench: &Bench) -> [&'static str; 2] {
    bench.either(["STOP SLAVE", "START SLAVE"], ["STOP REPLICA", "START REPLICA"])
}

/// Everything about a sibling that is none of a swap's business.
async fn kept(bench: &Bench, index: usize) -> Vec<String> {
    let mut all = Vec::new();
    for columns in [
        ["Master_User", "Source_User"],
        ["Connect_Retry", "Connect_Retry"],
        ["Replicate_Ignore_DB", "Replicate_Ignore_DB"],
        ["SQL_Delay", "SQL_Delay"],
        ["Using_Gtid", "Auto_Position"],
        ["Master_SSL_Allowed", "Source_SSL_Allowed"],
        ["Slave_heartbeat_period", "Get_Source_public_key"],
    ] {
        all.push(status(bench, index, columns).await);
    }
    if bench.flavor() == Flavor::MySql {
        let sql = "SELECT HEARTBEAT_INTERVAL FROM performance_schema.replication_connection_configuration";
        all.push(bench.ask(index, sql).await);
    }
    all.push(bench.ask(index, "SELECT @@read_only").await);
    all
}

async fn f30_f42_three_replicas_swap_there_and_back_under_load(series: impl Into<Series>) {
    let bench = four(series).await;
    let [stop, start] = stop_start(&bench);
    let odd: &[&str] = bench.either(
        &[
            "SET GLOBAL replicate_ignore_db = 'scratch'",
            "CHANGE MASTER TO MASTER_HEARTBEAT_PERIOD=7, MASTER_CONNECT_RETRY=3",
        ],
        &[
            "CHANGE REPLICATION FILTER REPLICATE_IGNORE_DB = (scratch)",
            "CHANGE REPLICATION SOURCE TO SOURCE_HEARTBEAT_PERIOD=7, SOURCE_CONNECT_RETRY=3",
        ],
    );
    bench.sql(2, [&[stop], odd, &[start]].concat()).await;
    warned(&bench, "db2", &[]).await;
    let before = kept(&bench, 2).await;
    assert_eq!(refused(&bench, "db9").await, [Code::UnknownTarget]);
    let unsaid = bench.swap().await;
    let Ended::Refused(refusals) = unsaid else { panic!("{unsaid:?}") };
    assert_eq!(codes(&refusals), [Code::TargetNeeded]);

    // A reader on a sibling notices nothing (F26).
    let mut readers = [bench.root(3).await, bench.root(2).await];
    let stopped = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write_until(
        [0, 1].map(|index| bench.pair.server(index).address()),
        Arc::clone(&bench.asked.gate),
        Arc::clone(&stopped),
    ));
    for (name, index) in [("db2", 1), ("db1", 0)] {
        let reports = swap(&bench, name).await;
        assert_eq!(bench.pair.primary_index().await.unwrap(), index);
        for report in &reports {
            // On a busy machine it may still be seconds behind: then it catches up by itself.
            let late =
                report.standing == Standing::Unwatched && report.said.ends_with("catches up");
            assert!(late || report.standing == Standing::Follows, "{reports:?}");
        }
        for replica in [2, 3, 1 - index] {
            assert_eq!(source_of(&bench, replica).await, port(&bench, index), "{replica}");
        }
        assert_eq!(kept(&bench, 2).await, before);
        // Nothing of ours stays on a sibling.
        assert_eq!(bench.ask(2, "SELECT IS_FREE_LOCK('intermission')").await, "1");
    }
    stopped.store(true, Ordering::SeqCst);
    let acknowledged = writer.await.unwrap();
    assert!(acknowledged > 50, "{acknowledged}");
    bench.assert_same_rows().await;
    for reader in &mut readers {
        assert_eq!(reader.query_first::<u8, _>("SELECT 1").await.unwrap(), Some(1));
    }
}

/// Writes on whichever of the two accepts it, passing the gate; returns how many were acknowledged.
pub(crate) async fn write_until(
    addresses: [std::net::SocketAddr; 2],
    gate: Arc<tokio::sync::RwLock<()>>,
    stopped: Arc<AtomicBool>,
) -> u32 {
    let (mut acknowledged, mut at) = (0, 0);
    while !stopped.load(Ordering::SeqCst) {
        let Ok(mut conn) = connect(app_options(addresses[at])).await else { continue };
        while !stopped.load(Ordering::SeqCst) {
            let _pass = gate.read().await;
            if conn.query_drop(insert(&format!("load {acknowledged}"))).await.is_err() {
                at = 1 - at;
                break;
            }
            acknowledged += 1;
        }
    }
    acknowledged
}

async fn f31_a_delayed_sibling_keeps_its_delay_and_a_stopped_one_stays_stopped(flavor: Flavor) {
    let bench = four(flavor).await;
    let [stop, start] = stop_start(&bench);
    let delay = bench
        .either("CHANGE MASTER TO MASTER_DELAY=60", "CHANGE REPLICATION SOURCE TO SOURCE_DELAY=60");
    bench.sql(2, [stop, delay, start]).await;
    bench.sql(3, [stop]).await;
    let wanted = [Code::DelayedReplica, Code::IoThread];
    let warnings = warned(&bench, "db2", &wanted).await;
    assert!(warnings[1].sentence.contains("stays stopped"), "{}", warnings[1]);
    let began = Instant::now();
    let reports = swap(&bench, "db2").await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    for (name, index, words) in [("db3", 2, "60 s behind"), ("db4", 3, "stays stopped")] {
        let report = find(&reports, name);
        assert_eq!(report.standing, Standing::Unwatched, "{report:?}");
        assert!(report.said.contains(words), "{report:?}");
        assert_eq!(source_of(&bench, index).await, port(&bench, 1));
    }
    assert_eq!(status(&bench, 2, ["SQL_Delay"; 2]).await, "60");
    let running = ["Slave_SQL_Running", "Replica_SQL_Running"];
    assert_eq!(status(&bench, 3, running).await, "No");
    assert_eq!(status(&bench, 2, running).await, "Yes");
    bench.sql(3, [start]).await;
    bench.sql(2, [stop, &delay.replace("60", "0"), start]).await;
    bench.assert_same_rows().await;
}

async fn f32_duplicate_ids_and_writable_siblings_are_refused(flavor: Flavor) {
    let bench = four(flavor).await;
    bench.sql(3, ["SET GLOBAL server_id = 3"]).await;
    assert_eq!(refused(&bench, "db2").await, [Code::SameServerId]);
    bench.sql(3, ["SET GLOBAL server_id = 4"]).await;
    let [open, close] = bench.switches();
    bench.sql(2, [open]).await;
    assert_eq!(refused(&bench, "db2").await, [Code::ReplicaNotFenced]);
    bench.sql(2, [close]).await;
    warned(&bench, "db2", &[]).await;
}

async fn the_printed_grants_are_enough_for_a_sibling(flavor: Flavor) {
    let bench = Bench::with(flavor, &PairOptions::default().with_siblings(1)).await;
    let accounts = Accounts {
        operator: "leader",
        replication: "repl",
        marker_schema: "intermission",
        shows_databases: false,
    };
    let of = match flavor {
        Flavor::MariaDb => intermission::swap::observation::Flavor::MariaDb,
        Flavor::MySql => intermission::swap::observation::Flavor::MySql,
    };
    let script = sibling_script(of, accounts).replace(PASSWORD, "secret-enough");
    let statements: Vec<&str> = script.lines().map(|line| line.trim_end_matches(';')).collect();
    bench.sql(0, statements).await;
    bench.pair.wait_replicated().await.unwrap();
    let leader = Account { user: "leader".to_owned(), password: Secret::new("secret-enough") };
    for name in ["db2", "db1"] {
        let least = Access { account: leader.clone(), ..bench.access(2) };
        let parties = bench.parties_of([bench.access(0), bench.access(1), least]);
        let planned = plan(&run::observe(&parties).await, &to(name));
        let Ok(Planned::Swap(planned)) = planned else { panic!("{planned:#?}") };
        assert_eq!(planned.warnings, []);
        let report = bench.swap_by(&parties, &to(name)).await;
        assert!(matches!(report, Ended::Ended { .. }), "{report:?}");
        let journal = bench.journal();
        let Some(Outcome::Done { facts }) = outcome_of(&journal, Step::Follow) else {
            panic!("{journal:#?}")
        };
        assert_eq!(facts.siblings[0].standing, Standing::Follows, "{facts:?}");
    }
    // One privilege less is a warning, and no reason not to swap.
    let privilege = bench.either("REPLICATION SLAVE ADMIN", "REPLICATION_SLAVE_ADMIN");
    bench.sql(0, [format!("REVOKE {privilege} ON *.* FROM leader@'%'")]).await;
    bench.pair.wait_replicated().await.unwrap();
    let least = Access { account: leader, ..bench.access(2) };
    let parties = bench.parties_of([bench.access(0), bench.access(1), least]);
    let Ok(Planned::Swap(planned)) = plan(&run::observe(&parties).await, &to("db2")) else {
        panic!("refused")
    };
    assert_eq!(codes(&planned.warnings), [Code::MissingPrivilege]);
    let report = bench.swap_by(&parties, &to("db2")).await;
    assert!(matches!(report, Ended::Ended { .. }), "{report:?}");
    let journal = bench.journal();
    let Some(Outcome::Done { facts }) = outcome_of(&journal, Step::Follow) else {
        panic!("{journal:#?}")
    };
    assert_eq!(facts.siblings[0].standing, Standing::Failed, "{facts:?}");
}
