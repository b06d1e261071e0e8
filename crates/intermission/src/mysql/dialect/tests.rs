use super::{Dialect, flavor_of, literal};
use crate::swap::{
    condition::ChannelTls,
    observation::{Access, Address, Flavor},
    position::Position,
};

#[test]
fn versions_are_told_apart() {
    assert_eq!(flavor_of("10.11.19-MariaDB-0+deb12u1"), Flavor::MariaDb);
    assert_eq!(flavor_of("9.7.4"), Flavor::MySql);
}

#[test]
fn a_literal_cannot_be_left() {
    assert_eq!(literal(r"a'b\c"), r"'a\'b\\c'");
    assert_eq!(literal("\\' OR 1 -- "), "'\\\\\\' OR 1 -- '");
}

#[test]
fn an_undo_restores_both_switches() {
    let recorded = Access { read_only: true, super_read_only: false };
    assert_eq!(
        Dialect(Flavor::MySql).restore(recorded),
        "SET GLOBAL super_read_only=0, GLOBAL read_only=1"
    );
    assert_eq!(Dialect(Flavor::MariaDb).restore(Access::WRITABLE), "SET GLOBAL read_only=0");
}

#[test]
fn mariadb_takes_its_position_from_its_own_binary_log_first() {
    let source = Address { host: "db2".to_owned(), port: 3306 };
    let statements = Dialect(Flavor::MariaDb).follow(
        &source,
        "repl",
        "p'w",
        &ChannelTls::default(),
        &Position::Gtid,
    );
    assert!(statements[0].contains("gtid_slave_pos=@@global.gtid_binlog_pos"));
    assert!(statements[1].contains(r"MASTER_PASSWORD='p\'w'"));
    let statements = Dialect(Flavor::MySql).follow(
        &source,
        "repl",
        "pw",
        &ChannelTls::default(),
        &Position::Gtid,
    );
    assert!(statements[0].contains("SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1"));
}

#[test]
fn a_channel_is_encrypted_as_the_one_before_it() {
    let source = Address { host: "db2".to_owned(), port: 3306 };
    let options = [("CA", "/etc/ssl/o'ne.pem"), ("CIPHER", "X"), ("TLS_VERSION", "TLSv1.3")];
    let options = options.map(|(option, value)| (option.to_owned(), value.to_owned())).into();
    let tls = ChannelTls { on: true, verify: true, options };
    let said = |flavor, tls: &ChannelTls| {
        let mut statements = Dialect(flavor).follow(&source, "repl", "pw", tls, &Position::Gtid);
        statements.retain(|sql| sql.starts_with("CHANGE"));
        statements.pop().expect("a statement")
    };
    assert!(said(Flavor::MySql, &tls).ends_with(
        r", SOURCE_SSL=1, SOURCE_SSL_VERIFY_SERVER_CERT=1, SOURCE_SSL_CA='/etc/ssl/o\'ne.pem', SOURCE_SSL_CIPHER='X', SOURCE_TLS_VERSION='TLSv1.3'"
    ));
    // What a channel before it had is not left to it: MariaDB keeps that over RESET SLAVE ALL.
    let said_of_mariadb = said(Flavor::MariaDb, &tls);
    assert!(said_of_mariadb.contains(
        r", MASTER_SSL=1, MASTER_SSL_VERIFY_SERVER_CERT=1, MASTER_SSL_CA='/etc/ssl/o\'ne.pem', MASTER_SSL_CAPATH='', MASTER_SSL_CERT='', "
    ));
    let clear = ChannelTls::default();
    for (flavor, wanted) in [
        (
            Flavor::MariaDb,
            ", MASTER_SSL=0, MASTER_SSL_VERIFY_SERVER_CERT=0, MASTER_SSL_CA='', MASTER_SSL_CAPATH='', MASTER_SSL_CERT='', \
             MASTER_SSL_CIPHER='', MASTER_SSL_KEY='', MASTER_SSL_CRL='', MASTER_SSL_CRLPATH=''",
        ),
        (Flavor::MySql, ", SOURCE_SSL=0, SOURCE_SSL_VERIFY_SERVER_CERT=0"),
    ] {
        assert!(said(flavor, &clear).ends_with(wanted), "{}", said(flavor, &clear));
    }
}

#[test]
fn each_server_has_its_word_for_the_binary_log() {
    for (flavor, version, words) in [
        (Flavor::MySql, "8.0.40-31-log", "SHOW MASTER STATUS"),
        (Flavor::MySql, "8.1.0", "SHOW MASTER STATUS"),
        (Flavor::MySql, "8.2.0", "SHOW BINARY LOG STATUS"),
        (Flavor::MySql, "8.4.5", "SHOW BINARY LOG STATUS"),
        (Flavor::MySql, "9.7.4", "SHOW BINARY LOG STATUS"),
        (Flavor::MySql, "garbage", "SHOW BINARY LOG STATUS"),
        (Flavor::MariaDb, "10.6.18-MariaDB-log", "SHOW MASTER STATUS"),
        (Flavor::MariaDb, "10.11.19-MariaDB", "SHOW MASTER STATUS"),
        (Flavor::MariaDb, "11.8.6-MariaDB", "SHOW MASTER STATUS"),
    ] {
        assert_eq!(Dialect(flavor).binlog_status(version), words, "{version}");
    }
}

/// MySQL 8.0.26 has every other word (its manual: SHOW REPLICA STATUS and SHOW REPLICAS 8.0.22, CHANGE REPLICATION
/// SOURCE TO 8.0.23, log_replica_updates 8.0.26), and 8.4 took their old forms away.
#[test]
fn mysql_is_asked_in_the_words_of_8_0_26_that_8_4_kept() {
    let mysql = Dialect(Flavor::MySql);
    let source = Address { host: "db2".to_owned(), port: 3306 };
    let mut said: Vec<String> = [
        mysql.channels(),
        mysql.stop(),
        &mysql.detach("")[1],
        mysql.fence(),
        mysql.identity(),
        mysql.try_replicating(),
        mysql.show_status(),
    ]
    .map(str::to_owned)
    .into();
    said.extend(mysql.follow(&source, "repl", "pw", &ChannelTls::default(), &Position::Gtid));
    said.extend(mysql.probes().into_iter().map(|probe| probe.sql));
    for sql in said {
        let words = sql.to_ascii_uppercase();
        let is_old = ["SLAVE", "MASTER"].iter().any(|word| words.contains(word));
        assert!(!is_old, "{sql}");
    }
    assert_eq!(mysql.detach("")[1], "RESET REPLICA ALL");
    assert_eq!(Dialect(Flavor::MariaDb).detach("a'b")[1], r"RESET SLAVE 'a\'b' ALL");
    assert_eq!(mysql.fence(), "SET GLOBAL super_read_only=1");
}

#[test]
fn no_probe_changes_anything() {
    for flavor in [Flavor::MariaDb, Flavor::MySql] {
        for probe in Dialect(flavor).probes() {
            let harmless = probe.sql.contains("intermission_probe")
                || probe.sql.starts_with("SELECT")
                || probe.sql.starts_with("SHOW")
                || probe.sql == "XA RECOVER"
                || probe.sql.contains("=@@global.");
            assert!(harmless, "{}", probe.sql);
        }
    }
}
