//! Each privilege of the operator's account taken away, one at a time.

use intermission::{
    config::secret::{Account, Secret},
    mysql::grants::{Accounts, PASSWORD, script},
    swap::{record::Ending, refusal::Code, run::Report},
};
use lab::server::{Flavor, Series};

use crate::bench::Bench;

lab::on_both!(each_missing_privilege_is_named, the_printed_grants_are_enough_for_a_swap);
lab::on_mariadb_11_8!(
    each_missing_privilege_is_named,
    the_printed_grants_are_enough_for_a_swap,
    f8_who_writes_whatever_read_only_says_is_named_where_that_may_be_seen
);

/// What is revoked, and how often the check says so: on a read-only server the marker is not tried.
const MARIADB: [(&str, usize); 10] = [
    ("READ_ONLY ADMIN ON *.*", 2),
    ("CONNECTION ADMIN ON *.*", 2),
    ("REPLICATION SLAVE ADMIN ON *.*", 2),
    ("SLAVE MONITOR ON *.*", 2),
    ("PROCESS ON *.*", 2),
    ("RELOAD ON *.*", 2),
    ("INSERT ON intermission.*", 1),
    ("UPDATE ON intermission.*", 1),
    ("CREATE ON intermission.*", 1),
    ("SELECT ON intermission.*", 1),
];
const MYSQL: [(&str, usize); 12] = [
    ("SYSTEM_VARIABLES_ADMIN ON *.*", 2),
    ("CONNECTION_ADMIN ON *.*", 2),
    ("REPLICATION_SLAVE_ADMIN ON *.*", 2),
    ("REPLICATION CLIENT ON *.*", 2),
    ("PROCESS ON *.*", 2),
    ("RELOAD ON *.*", 2),
    ("XA_RECOVER_ADMIN ON *.*", 2),
    ("SELECT ON performance_schema.*", 2),
    ("INSERT ON intermission.*", 1),
    ("UPDATE ON intermission.*", 1),
    ("CREATE ON intermission.*", 1),
    ("SELECT ON intermission.*", 1),
];

async fn each_missing_privilege_is_named(series: impl Into<Series>) {
    let bench = Bench::new(series).await;
    let privileges: &[(&str, usize)] = bench.either(&MARIADB, &MYSQL);
    bench.expect_codes(&[]).await;
    for with_marker in [false, true] {
        if with_marker {
            // The tables of a first swap are there: the privileges on them are tried in another way.
            bench.sql(0, MARKER).await;
            bench.pair.wait_replicated().await.unwrap();
        }
        for (privilege, count) in privileges {
            if with_marker && *count == 2 {
                continue;
            }
            bench.sql(0, [format!("REVOKE {privilege} FROM operator@'%'")]).await;
            bench.pair.wait_replicated().await.unwrap();
            let refusals = bench.expect_codes(&vec![Code::MissingPrivilege; *count]).await;
            let (name, scope) = privilege.split_once(" ON ").unwrap();
            for refusal in &refusals {
                assert!(refusal.sentence.contains(name), "{privilege}: {refusal}");
                assert!(refusal.mend.contains(name), "{privilege}: {refusal}");
                assert!(refusal.mend.contains(scope), "{privilege}: {refusal}");
            }
            assert!(refusals[0].sentence.contains("db1 (127.0.0.1:"), "{}", refusals[0]);
            // The mend, as it is told.
            let mend = refusals[0].mend.replace("our account on db1", "operator@'%'");
            bench.sql(0, [mend]).await;
            bench.pair.wait_replicated().await.unwrap();
            bench.expect_codes(&[]).await;
        }
    }
}

#[tokio::test]
async fn f8_who_writes_whatever_read_only_says_is_named_on_mariadb_10_11() {
    f8_who_writes_whatever_read_only_says_is_named_where_that_may_be_seen(Flavor::MariaDb).await;
}

async fn f8_who_writes_whatever_read_only_says_is_named_where_that_may_be_seen(
    series: impl Into<Series>,
) {
    let bench = Bench::new(series).await;
    let grants = [
        "CREATE USER boss@'%' IDENTIFIED BY 'secret-enough'",
        "GRANT READ_ONLY ADMIN ON *.* TO boss@'%'",
        "CREATE USER clerk@'%' IDENTIFIED BY 'secret-enough'",
        "GRANT SUPER ON *.* TO clerk@'%'",
    ];
    bench.sql(0, grants).await;
    bench.pair.wait_replicated().await.unwrap();
    // With the least of privileges nobody else's are listed: nothing is said, and nothing false.
    bench.expect_warnings(&[]).await;
    bench.sql(0, ["GRANT SELECT ON mysql.* TO operator@'%'"]).await;
    bench.pair.wait_replicated().await.unwrap();
    let warnings = bench.expect_warnings(&[Code::ReadOnlyAdmins]).await;
    let said = &warnings[0].sentence;
    assert!(said.contains("'boss'@'%'") && said.contains("'root'@'localhost'"), "{said}");
    // From 10.11 on SUPER does not include it.
    assert!(!said.contains("clerk") && !said.contains("operator"), "{said}");
    bench.sql(0, ["REVOKE READ_ONLY ADMIN ON *.* FROM boss@'%'"]).await;
    bench.pair.wait_replicated().await.unwrap();
    let warnings = bench.expect_warnings(&[Code::ReadOnlyAdmins]).await;
    assert!(!warnings[0].sentence.contains("boss"), "{}", warnings[0]);
}

const MARKER: [&str; 3] = [
    "CREATE DATABASE intermission",
    "CREATE TABLE intermission.marker (id TINYINT PRIMARY KEY, swap VARCHAR(64) NOT NULL, \
     written TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP)",
    "INSERT INTO intermission.marker (id, swap) VALUES (1, 'earlier')",
];

/// Other accounts than the bench's own, with nothing but what the script gives them.
async fn the_printed_grants_are_enough_for_a_swap(series: impl Into<Series>) {
    let bench = Bench::new(series).await;
    let accounts = Accounts {
        operator: "swapper",
        replication: "follower",
        marker_schema: "marks",
        shows_databases: true,
    };
    let of = match bench.flavor() {
        Flavor::MariaDb => intermission::swap::observation::Flavor::MariaDb,
        Flavor::MySql => intermission::swap::observation::Flavor::MySql,
    };
    let script = script(of, accounts).replace(PASSWORD, "secret-enough");
    let statements: Vec<&str> = script.lines().map(|line| line.trim_end_matches(';')).collect();
    bench.sql(0, statements).await;
    bench.pair.wait_replicated().await.unwrap();
    let account =
        |user: &str| Account { user: user.to_owned(), password: Secret::new("secret-enough") };
    for _ in 0..2 {
        let parties = bench.parties_of([0, 1].map(|index| intermission::mysql::Access {
            account: account("swapper"),
            replication: account("follower"),
            source_replication: account("follower"),
            marker_schema: "marks".to_owned(),
            database: Some("ledger".to_owned()),
            ..bench.access(index)
        }));
        assert_eq!(bench.warnings_of(&parties, &Bench::request()).await, [], "all is seen");
        let report = bench.swap_by(&parties, &Bench::request()).await;
        let Report::Ended { ending, cause, .. } = report else { panic!("{report:?}") };
        assert_eq!((ending, cause), (Ending::Swapped, None));
    }
}
