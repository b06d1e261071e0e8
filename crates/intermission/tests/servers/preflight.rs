//! What a preflight reads beside roles and positions, each in a situation that a server can be brought into.

use intermission::{
    mysql::Access,
    swap::{
        plan::{Allowed, Request},
        refusal::{Code, Refusal},
    },
};
use lab::{
    cluster::{PairOptions, REPLICATION},
    server::{Flavor, Server, ServerOptions},
};
use mysql_async::{Conn, prelude::Queryable};

use crate::bench::{Bench, codes};

lab::on_both!(
    settings_that_break_writes_are_refused,
    settings_that_are_felt_are_warned_of,
    filters_are_refused_by_name,
    f36_a_stranger_that_reads_the_binary_log_is_named,
    f14_programs_that_move_primaries_are_named,
    f37_a_cold_buffer_pool_is_warned_of,
    a_small_disk_is_refused_where_its_host_may_be_asked,
);

/// What the mend tells to type, on the server it names.
async fn mend(bench: &Bench, refusal: &Refusal) {
    let (statement, _) = refusal.mend.split_once(" on db2").expect("a statement for db2");
    set(bench, statement).await;
}

/// MySQL changes some settings only while it applies nothing.
async fn set(bench: &Bench, statement: &str) {
    let [stop, start] = bench.either(
        ["STOP SLAVE SQL_THREAD", "START SLAVE SQL_THREAD"],
        ["STOP REPLICA SQL_THREAD", "START REPLICA SQL_THREAD"],
    );
    if statement.contains("binlog_format") {
        bench.sql(1, [stop, statement, start]).await;
    } else {
        bench.sql(1, [statement]).await;
    }
}

async fn settings_that_break_writes_are_refused(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    bench.expect_warnings(&[]).await;
    let both = [
        ("max_allowed_packet", "1048576"),
        ("sql_mode", "''"),
        ("innodb_flush_log_at_trx_commit", "2"),
        ("sync_binlog", "0"),
        ("binlog_format", "STATEMENT"),
        ("time_zone", "'+05:00'"),
    ];
    for (name, value) in both {
        set(&bench, &format!("SET GLOBAL {name} = {value}")).await;
        let refusals = bench.expect_codes(&[Code::IncompatibleSetting]).await;
        let said = &refusals[0].sentence;
        assert!(said.starts_with(&format!("{name} is ")) && said.contains("db2 ("), "{said}");
        let differences = vec![name.to_owned()];
        let allowed = Allowed { differences, upgrade: false };
        let request = Request { allowed, ..Bench::request() };
        assert_eq!(bench.warnings_of(&bench.parties(), &request).await, [], "{name} is allowed");
        if name == "time_zone" {
            bench.sql(1, ["SET GLOBAL time_zone = 'SYSTEM'"]).await;
        } else {
            mend(&bench, &refusals[0]).await;
        }
        bench.expect_codes(&[]).await;
    }
    if flavor == Flavor::MySql {
        bench.sql(1, ["SET GLOBAL offline_mode = ON"]).await;
        let wanted = [Code::ReplicationLogin, Code::IncompatibleSetting];
        mend(&bench, &bench.expect_codes(&wanted).await[1]).await;
        bench.expect_codes(&[]).await;
    } else {
        // MySQL wants it the same as when its data was made.
        let options = PairOptions::default().with_replica("lower-case-table-names=1");
        let bench = Bench::with(flavor, &options).await;
        let refusals = bench.expect_codes(&[Code::IncompatibleSetting]).await;
        assert!(refusals[0].mend.starts_with("set lower_case_table_names = 0"), "{}", refusals[0]);
    }
}

async fn settings_that_are_felt_are_warned_of(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let charset = bench.ask(1, "SELECT @@global.character_set_server").await;
    let collation = format!("{charset}_bin");
    let isolation = bench.either("tx_isolation", "transaction_isolation");
    for (name, value) in [
        ("wait_timeout", "60"),
        (isolation, "'READ-COMMITTED'"),
        ("collation_server", collation.as_str()),
        ("group_concat_max_len", "1000"),
    ]
    .into_iter()
    // MySQL makes none smaller than one chunk.
    .chain(bench.either(Some(("innodb_buffer_pool_size", "33554432")), None))
    {
        let was = bench.ask(1, &format!("SELECT @@global.{name}")).await;
        bench.sql(1, [format!("SET GLOBAL {name} = {value}")]).await;
        let warnings = bench.expect_warnings(&[Code::DifferentSetting]).await;
        assert!(warnings[0].sentence.contains("db2 ("), "{}", warnings[0]);
        let is_number = was.chars().all(|c| c.is_ascii_digit());
        let was = if is_number { was } else { format!("'{was}'") };
        bench.sql(1, [format!("SET GLOBAL {name} = {was}")]).await;
        bench.expect_warnings(&[]).await;
    }
    // The smallest there can be; as many are connected as it takes.
    let fewest = bench.either(10, 2);
    bench.sql(1, [format!("SET GLOBAL max_connections = {fewest}")]).await;
    let warnings = bench.expect_warnings(&[Code::DifferentSetting]).await;
    assert!(warnings[0].sentence.starts_with("max_connections is 500 ("), "{}", warnings[0]);
    let mut crowd: Vec<Conn> = Vec::new();
    for _ in 0..fewest {
        crowd.push(bench.app(0).await);
    }
    let refusals = bench.expect_codes(&[Code::IncompatibleSetting]).await;
    assert!(refusals[0].sentence.contains(" in use, "), "{}", refusals[0]);
    mend(&bench, &refusals[0]).await;
    bench.expect_warnings(&[]).await;

    bench.sql(1, ["SET GLOBAL binlog_expire_logs_seconds = 600"]).await;
    let warnings = bench.expect_warnings(&[Code::BinlogRetention]).await;
    mend(&bench, &warnings[0]).await;
    bench.expect_warnings(&[]).await;
}

async fn filters_are_refused_by_name(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let [stop, start] = bench.either(
        ["STOP SLAVE", "START SLAVE"],
        ["STOP REPLICA SQL_THREAD", "START REPLICA SQL_THREAD"],
    );
    let [filter, no_filter] = bench.either(
        ["SET GLOBAL replicate_ignore_db = 'logs'", "SET GLOBAL replicate_ignore_db = ''"],
        [
            "CHANGE REPLICATION FILTER REPLICATE_IGNORE_DB = (logs) FOR CHANNEL ''",
            "CHANGE REPLICATION FILTER REPLICATE_IGNORE_DB = () FOR CHANNEL ''",
        ],
    );
    bench.sql(1, [stop, filter, start]).await;
    let refusals = bench.expect_codes(&[Code::ReplicationFilter]).await;
    let said = &refusals[0].sentence;
    assert!(said.starts_with("db2 (") && said.ends_with("Replicate_Ignore_DB = logs"), "{said}");
    bench.sql(1, [stop, no_filter, start]).await;
    bench.expect_codes(&[]).await;

    let [filter, no_filter] = bench.either(
        ["SET GLOBAL replicate_do_db = 'shop'", "SET GLOBAL replicate_do_db = ''"],
        [
            "CHANGE REPLICATION FILTER REPLICATE_DO_DB = (shop)",
            "CHANGE REPLICATION FILTER REPLICATE_DO_DB = ()",
        ],
    );
    bench.sql(0, [filter]).await;
    let refusals = bench.expect_codes(&[Code::ReplicationFilter]).await;
    let said = refusals[0].sentence.to_lowercase();
    assert!(said.starts_with("db1 (") && said.contains("replicate_do_db = "), "{said}");
    bench.sql(0, [no_filter]).await;
    bench.expect_codes(&[]).await;

    let options = PairOptions::default().with_both("binlog-ignore-db=logs");
    let bench = Bench::with(flavor, &options).await;
    let refusals = bench.expect_codes(&[Code::BinlogFilter, Code::BinlogFilter]).await;
    assert!(refusals[0].sentence.ends_with("Binlog_Ignore_DB = logs"), "{}", refusals[0]);
}

async fn f36_a_stranger_that_reads_the_binary_log_is_named(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    bench.expect_warnings(&[]).await;
    let third = Server::start(flavor, &ServerOptions::new(3)).await.unwrap();
    let (port, user, password) =
        (bench.pair.server(0).address().port(), REPLICATION.user, REPLICATION.password);
    let [change, start] = bench.either(
        [
            format!(
                "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='{user}', \
                 MASTER_PASSWORD='{password}', MASTER_USE_GTID=slave_pos"
            ),
            "START SLAVE".to_owned(),
        ],
        [
            format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, SOURCE_USER='{user}', \
                 SOURCE_PASSWORD='{password}', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1"
            ),
            "START REPLICA".to_owned(),
        ],
    );
    let mut conn = third.connect_root().await.unwrap();
    for sql in [change, start] {
        conn.query_drop(sql).await.unwrap();
    }
    let warnings = bench.expect_warnings(&[Code::BinlogReaders]).await;
    let Refusal { sentence, mend, .. } = &warnings[0];
    assert!(
        sentence.contains("repl@127.0.0.1 (session ") && !sentence.contains("), repl"),
        "{sentence}"
    );
    let file = bench.ask(1, bench.either("SHOW MASTER STATUS", "SHOW BINARY LOG STATUS")).await;
    assert!(mend.contains(&format!("db2 at {file}:")), "{mend}");
    third.kill().await.unwrap();
    // A server notices that a reader is gone when it has something for it.
    for token in ["first", "second"] {
        bench.write(0, token).await.unwrap();
        bench.pair.wait_replicated().await.unwrap();
    }
    bench.expect_warnings(&[]).await;
}

async fn f14_programs_that_move_primaries_are_named(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    bench
        .sql(
            0,
            [
                "CREATE USER orchestrator@'%' IDENTIFIED BY 'orchestrator-1Qw'",
                "CREATE DATABASE replication_manager_schema",
                "GRANT SELECT ON replication_manager_schema.* TO operator@'%'",
            ],
        )
        .await;
    let warnings = bench.expect_warnings(&[Code::Automation]).await;
    assert!(warnings[0].sentence.starts_with("replication-manager seems"), "{}", warnings[0]);
    bench.sql(0, ["DROP DATABASE replication_manager_schema"]).await;
    bench.expect_warnings(&[]).await;

    let server = bench.pair.server(1);
    let conn = server.connect("orchestrator", "orchestrator-1Qw").await.unwrap();
    let warnings = bench.expect_warnings(&[Code::Automation]).await;
    assert!(warnings[0].sentence.contains("orchestrator@127.0.0.1 on db2"), "{}", warnings[0]);
    conn.disconnect().await.unwrap();
    bench.expect_warnings(&[]).await;

    let mut monitor = bench.app(0).await;
    monitor.query_drop("SELECT GET_LOCK('maxscale_mariadbmonitor', 0)").await.unwrap();
    let warnings = bench.expect_warnings(&[Code::Automation]).await;
    let said = &warnings[0].sentence;
    assert!(
        said.contains(&format!("its monitor's lock, session {} on db1", monitor.id())),
        "{said}"
    );
}

/// 64 MiB that the primary has in memory and the restarted replica has not.
async fn f37_a_cold_buffer_pool_is_warned_of(flavor: Flavor) {
    let options = PairOptions::default()
        .with_both("innodb-buffer-pool-size=256M")
        .with_both("innodb-buffer-pool-dump-at-shutdown=OFF");
    let mut bench = Bench::with(flavor, &options).await;
    let mut statements = vec![
        "CREATE TABLE ledger.pages (id INT AUTO_INCREMENT PRIMARY KEY, page LONGBLOB)".to_owned(),
        "INSERT INTO ledger.pages (page) VALUES (REPEAT('x', 1048576))".to_owned(),
    ];
    for _ in 0..6 {
        statements.push("INSERT INTO ledger.pages (page) SELECT page FROM ledger.pages".to_owned());
    }
    bench.pair.run(0, statements).await.unwrap();
    bench.pair.wait_replicated().await.unwrap();
    bench.expect_warnings(&[]).await;
    let replica = &mut bench.pair.servers[1];
    replica.restart().await.unwrap();
    let close = bench.switches()[1];
    bench.sql(1, [close]).await;
    bench.expect_codes(&[]).await;
    let warnings = bench.expect_warnings(&[Code::ColdBufferPool]).await;
    let said = &warnings[0].sentence;
    assert!(
        said.contains("MiB of data in memory") && said.contains("reads will be slow"),
        "{said}"
    );
    bench.sql(1, ["SELECT SUM(CRC32(page)) FROM ledger.pages"]).await;
    bench.expect_warnings(&[]).await;
}

/// The host is a mount namespace in which the data's place is a file system of 64 MiB.
async fn a_small_disk_is_refused_where_its_host_may_be_asked(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let data = bench.pair.server(1).folder().join("data").display().to_string();
    let mount = r#"mount -t tmpfs -o size=64m none "$0" && exec "$@""#;
    let by = |exec: &[&str]| {
        let exec: Vec<String> = exec.iter().map(|word| (*word).to_owned()).collect();
        let replica = Access { exec: Some(exec), ..bench.access(1) };
        // A primary's disk is as it is: it is not asked.
        let primary = Access { exec: Some(vec!["false".to_owned()]), ..bench.access(0) };
        bench.parties_of([primary, replica])
    };
    let small = by(&["unshare", "-Urm", "sh", "-c", mount, &data]);
    let refusals = bench.refusals_of(&small).await;
    assert_eq!(codes(&refusals), [Code::DiskFull], "{refusals:#?}");
    let said = &refusals[0].sentence;
    assert!(said.contains(&format!("the 64.0 MiB that hold {data}")), "{said}");

    let request = Bench::request();
    let warnings = bench.warnings_of(&by(&["false"]), &request).await;
    assert_eq!(codes(&warnings), [Code::DiskUnknown]);
    let warnings = bench.warnings_of(&by(&[]), &request).await;
    assert!(!codes(&warnings).contains(&Code::DiskUnknown), "{warnings:#?}");
}

/// MariaDB says whatever version its option file says.
#[tokio::test]
async fn a_swap_to_another_series_is_refused_by_its_direction() {
    let with = async |version: &str| {
        let option = format!("version={version}");
        Bench::with(Flavor::MariaDb, &PairOptions::default().with_replica(&option)).await
    };
    let bench = with("10.6.18-MariaDB-log").await;
    let refusals = bench.expect_codes(&[Code::OlderCandidate]).await;
    assert!(refusals[0].sentence.contains("10.6.18-MariaDB-log"), "{}", refusals[0]);

    let bench = with("10.5.27-MariaDB").await;
    let refusals = bench.expect_codes(&[Code::UnsupportedVersion]).await;
    assert!(refusals[0].sentence.starts_with("db2 ("), "{}", refusals[0]);

    let bench = with("11.8.6-MariaDB-0+deb13u1").await;
    let refusals = bench.expect_codes(&[Code::NewerCandidate]).await;
    assert!(refusals[0].mend.contains("swap.allow_upgrade"), "{}", refusals[0]);
    let allowed = Allowed { upgrade: true, ..Allowed::default() };
    let request = Request { allowed, ..Bench::request() };
    let warnings = bench.warnings_of(&bench.parties(), &request).await;
    assert_eq!(codes(&warnings), [Code::NewerCandidate]);
    let report = bench.swap_by(&bench.parties(), &request).await;
    bench.assert_swapped(&report).await;
    bench.expect_codes(&[Code::OlderCandidate]).await;
}

/// A privilege that only this needs: nothing is refused for want of it, and nothing claimed.
#[tokio::test]
async fn what_a_server_does_not_tell_is_said_and_hides_nothing_else() {
    let bench = Bench::new(Flavor::MariaDb).await;
    bench.sql(0, ["REVOKE BINLOG MONITOR ON *.* FROM operator@'%'"]).await;
    bench.pair.wait_replicated().await.unwrap();
    let warnings = bench.expect_warnings(&[Code::NotSeen, Code::NotSeen]).await;
    let said = &warnings[0].sentence;
    assert!(
        said.contains("its binary log's position") && said.contains("BINLOG MONITOR"),
        "{said}"
    );
    bench.sql(1, ["SET GLOBAL wait_timeout = 60"]).await;
    bench.expect_warnings(&[Code::DifferentSetting, Code::NotSeen, Code::NotSeen]).await;
}

/// A group of one is a group.
#[tokio::test]
async fn a_member_of_a_group_is_refused() {
    let bench = Bench::new(Flavor::MySql).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    bench
        .sql(
            0,
            [
                "INSTALL PLUGIN group_replication SONAME 'group_replication.so'".to_owned(),
                "SET GLOBAL group_replication_group_name = 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee'"
                    .to_owned(),
                format!("SET GLOBAL group_replication_local_address = '127.0.0.1:{port}'"),
                "SET GLOBAL group_replication_bootstrap_group = ON".to_owned(),
                "START GROUP_REPLICATION".to_owned(),
            ],
        )
        .await;
    let refusals = bench.refusals().await;
    let refusal = refusals.iter().find(|one| one.code == Code::ClusteredServer).expect("refused");
    assert!(refusal.sentence.starts_with("db1 ("), "{refusal}");
    bench.sql(0, ["STOP GROUP_REPLICATION"]).await;
}
