//! Our own connections to servers with TLS and without, with certificates of a test's own and of the servers' making.

use std::{fs::OpenOptions, io::Write as _, path::Path};

use intermission::{
    config::cluster::TlsMode,
    mysql::{Access, MySqlClientAddress, MySqlServer, Tls},
    swap::{
        client_address::ClientAddress as _,
        record::Ending,
        refusal::Code,
        run::{Parties, Report},
        server::{Detail, Server as _},
    },
};
use lab::{
    cluster::PairOptions,
    server::{Flavor, Series, ServerOptions},
};

use crate::{bench::Bench, certificate::Authority, encryption::set_channel};

lab::on_both!(
    preferred_is_what_the_server_offers,
    certificates_are_looked_into,
    accounts_that_require_tls_are_swapped_whole,
    the_replication_account_is_tried_as_its_channel_logs_in,
);

/// Users wait for the canary's login.
#[tokio::test]
async fn the_canary_resumes_what_its_server_knows() {
    let bench = Bench::new(Flavor::MySql).await;
    let hits = "SELECT variable_value FROM performance_schema.global_status \
                WHERE variable_name = 'Ssl_session_cache_hits'";
    let servers = [bench.server(0), bench.server(1)];
    for server in &servers {
        server.observe(Detail::Roles).await.unwrap();
    }
    let before: u32 = bench.ask(0, hits).await.parse().unwrap();
    let client_address = MySqlClientAddress::new(bench.access(0), &servers);
    let [here, elsewhere] = [0, 1].map(|index| bench.access(index).address);
    client_address.write_marker("canary", &here).await.unwrap();
    let after: u32 = bench.ask(0, hits).await.parse().unwrap();
    assert_eq!(after, before + 1, "it was not resumed");
    // Whoever answers instead does not know the session, and nothing comes of that.
    client_address.write_marker("canary", &elsewhere).await.unwrap();
}
lab::on_mariadb_11_8!(
    preferred_is_what_the_server_offers,
    certificates_are_looked_into,
    accounts_that_require_tls_are_swapped_whole,
    the_replication_account_is_tried_as_its_channel_logs_in,
);

/// What the server says of our sessions.
const WAYS: &str = "SELECT GROUP_CONCAT(DISTINCT connection_type) FROM performance_schema.threads \
                    WHERE processlist_user = 'operator'";
const ENCRYPTED: &str = "SSL/TLS";
const CLEAR_TEXT: &str = "TCP/IP";

/// Of version 1, as `openssl x509 -req` makes it without extensions, and its key; good for nothing else.
const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBFzCBvwIUZ86gGc1uJ21wrNADAbKSJKe9XK0wCgYIKoZIzj0EAwIwDjEMMAoG
A1UEAwwDZGIxMCAXDTI2MTEyODE0NTYzOVoYDzIxMjYxMTA0MTQ1NjM5WjAOMQww
CgYDVQQDDANkYjEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARlVX1mMiv8Y4rk
15Zq5WjunJO4/BWOjOy/4EaQ+GfBU3h5PpawFTVhwY/NK6VA5Sv6YVn7ehrBb/qa
tZUmHHlLMAoGCCqGSM49BAMCA0cAMEQCIFwKtCHtYp97+LEH6sIUTWemGpBC/B9Y
im4awiIR4JfpAiBgVdogIRQBLsCoQbjAScD297+gsZ8DYLlm17Q/ll2/fg==
-----END CERTIFICATE-----
";
const VERSION_1_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgkjNm9U0RCM7S9mj+
UDg+jPQ2YULGBRYg/Hh54h+zgcihRANCAARlVX1mMiv8Y4rk15Zq5WjunJO4/BWO
jOy/4EaQ+GfBU3h5PpawFTVhwY/NK6VA5Sv6YVn7ehrBb/qatZUmHHlL
-----END PRIVATE KEY-----
";

/// The lines of an option file that give a server the certificate called `name`.
fn certificate_of(authority: &Authority, name: &str) -> Vec<String> {
    let file = |suffix: &str| authority.path(&format!("{name}.{suffix}")).display().to_string();
    vec![format!("ssl-cert={}", file("pem")), format!("ssl-key={}", file("key"))]
}

fn equip(options: ServerOptions, authority: &Authority, name: &str) -> ServerOptions {
    certificate_of(authority, name).iter().fold(options, |options, line| options.with(line))
}

fn tls(mode: TlsMode, ca_file: Option<&Path>) -> Tls {
    Tls::new(mode, "cluster.tls_ca_file", ca_file).unwrap()
}

/// A server with a session of ours on it, or why there is none.
async fn log_in(bench: &Bench, index: usize, tls: Tls) -> Result<MySqlServer, String> {
    let server = MySqlServer::new(Access { tls, ..bench.access(index) });
    match server.observe(Detail::Roles).await {
        Ok(_) => Ok(server),
        Err(error) => Err(error.reason),
    }
}

fn parties(bench: &Bench, tls: &Tls) -> Parties {
    bench.parties_of([0, 1].map(|index| Access { tls: tls.clone(), ..bench.access(index) }))
}

/// Of a pair whose performance schema is on: the lab's usual MariaDB has it off.
fn usual() -> PairOptions {
    PairOptions::default().with_both("performance-schema=ON")
}

async fn preferred_is_what_the_server_offers(series: impl Into<Series>) {
    let series = series.into();
    let mut bench = Bench::with(series, &usual()).await;
    let offers = series != Series::MariaDb;
    for (mode, wanted) in [
        (TlsMode::Disabled, CLEAR_TEXT),
        (TlsMode::Preferred, if offers { ENCRYPTED } else { CLEAR_TEXT }),
        (TlsMode::Required, ENCRYPTED),
    ] {
        match log_in(&bench, 0, tls(mode, None)).await {
            Ok(_server) => {
                assert!(offers || mode != TlsMode::Required);
                // The session of the round before may be there for a moment.
                bench.wait_for(0, WAYS, wanted).await;
            }
            Err(reason) => {
                assert!(!offers && mode == TlsMode::Required, "{series} {mode:?}: {reason}");
                let words =
                    "it offers no TLS, and tls = \"required\" asks for it: give it ssl_cert";
                assert!(reason.contains(words), "{reason}");
            }
        }
    }
    if offers {
        return;
    }
    what_is_not_offered_is_asked_for_once(&bench).await;
    a_server_that_is_given_tls_meanwhile_is_asked_again(&mut bench).await;
}

/// Each attempt that comes to nothing is a line in the server's log.
async fn what_is_not_offered_is_asked_for_once(bench: &Bench) {
    const ABORTED: &str = "SELECT variable_value FROM information_schema.global_status \
                           WHERE variable_name = 'ABORTED_CONNECTS'";
    let before: u32 = bench.ask(0, ABORTED).await.parse().unwrap();
    let server = bench.server(0);
    // Three logins: for reading, as the replication account, and for acting.
    let view = server.observe(Detail::Preflight).await.unwrap();
    assert!(view.condition.clear_text);
    server.lock(false).await.unwrap();
    bench.wait_for(0, ABORTED, &(before + 1).to_string()).await;
    server.unlock().await.unwrap();
    assert_eq!(bench.ask(0, ABORTED).await, (before + 1).to_string());
}

async fn a_server_that_is_given_tls_meanwhile_is_asked_again(bench: &mut Bench) {
    let authority = Authority::new();
    authority.issue("db1", "127.0.0.1", false);
    let server = log_in(bench, 0, Tls::default()).await.unwrap();
    let option_file = bench.pair.server(0).folder().join("my.cnf");
    let mut option_file = OpenOptions::new().append(true).open(option_file).unwrap();
    writeln!(option_file, "{}", certificate_of(&authority, "db1").join("\n")).unwrap();
    bench.pair.servers[0].restart().await.unwrap();
    // Its session went with the restart.
    server.observe(Detail::Roles).await.unwrap_err();
    bench.sql(0, ["ALTER USER operator@'%' REQUIRE SSL"]).await;
    let view = server.observe(Detail::Preflight).await.unwrap();
    assert!(!view.condition.clear_text);
    bench.wait_for(0, WAYS, ENCRYPTED).await;
}

/// Server 0 shows a certificate for its address, server 1 one for another name, server 2 one that is out of date.
async fn certificates_are_looked_into(series: impl Into<Series>) {
    let series = series.into();
    let (authority, other) = (Authority::new(), Authority::new());
    authority.issue("here", "127.0.0.1", false);
    authority.issue("elsewhere", "elsewhere.internal", false);
    authority.issue("old", "127.0.0.1", true);
    let [primary, replica] = usual().servers;
    let options = PairOptions {
        servers: [equip(primary, &authority, "here"), equip(replica, &authority, "elsewhere")],
        siblings: vec![equip(ServerOptions::new(3), &authority, "old")],
        ..PairOptions::default()
    };
    let bench = Bench::with(series, &options).await;
    let (ca, wrong) = (authority.ca_file(), other.ca_file());
    let both = authority.path("both.pem");
    let texts = [&wrong, &ca].map(|file| std::fs::read_to_string(file).unwrap());
    crate::certificate::write(&both, &texts.concat());

    let ca = Some(ca.as_path());
    for (index, mode, file) in [
        (0, TlsMode::VerifyCa, ca),
        (0, TlsMode::VerifyCa, Some(both.as_path())),
        (0, TlsMode::VerifyIdentity, ca),
        (1, TlsMode::VerifyCa, ca),
        (1, TlsMode::Required, None),
        (2, TlsMode::Required, None),
    ] {
        let server = log_in(&bench, index, tls(mode, file)).await;
        assert!(server.is_ok(), "{series} {index} {mode:?}: {server:?}");
        if index < 2 {
            bench.wait_for(index, WAYS, ENCRYPTED).await;
        }
    }
    for (index, mode, file, words) in [
        (0, TlsMode::VerifyCa, Some(wrong.as_path()), vec!["is not signed by any of", "ca.pem"]),
        (0, TlsMode::VerifyIdentity, Some(wrong.as_path()), vec!["is not signed by any of"]),
        (1, TlsMode::VerifyIdentity, ca, vec!["\"127.0.0.1\"", "elsewhere.internal", "verify-id"]),
        (2, TlsMode::VerifyCa, ca, vec!["certificate expired", "verify-ca"]),
        (2, TlsMode::VerifyIdentity, ca, vec!["certificate expired"]),
    ] {
        let reason = log_in(&bench, index, tls(mode, file)).await.expect_err("refused");
        for word in words {
            assert!(reason.contains(word), "{series} {index} {mode:?}: {reason}");
        }
    }

    // Known before the commit point: at the clients' address the canary would be turned away after it.
    for (host, is_believed) in [("127.0.0.1", true), ("db.internal", false)] {
        let strict = Access { tls: tls(TlsMode::VerifyIdentity, ca), ..bench.access(0) };
        let server = MySqlServer::new(Access { clients_host: Some(host.to_owned()), ..strict });
        let view = server.observe(Detail::Preflight).await.unwrap();
        let said = view.condition.disbelief.unwrap_or_default();
        assert_eq!(said.contains(&format!("{host:?}")), !is_believed, "{said}");
    }
}

/// Its certificate has no subjectAltName. The lab's servers have one authority, as they are copies of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_mysql_makes_for_itself_is_verified_by_its_own_authority() {
    let bench = Bench::new(Flavor::MySql).await;
    let ca_file = bench.pair.server(0).folder().join("data/ca.pem");
    let reason = log_in(&bench, 0, tls(TlsMode::VerifyIdentity, Some(&ca_file))).await.unwrap_err();
    assert!(reason.contains("not valid for any names"), "{reason}");
    let other = Authority::new();
    let others = tls(TlsMode::VerifyCa, Some(&other.ca_file()));
    let reason = log_in(&bench, 0, others).await.unwrap_err();
    assert!(reason.contains("is not signed by any of"), "{reason}");
    let parties = parties(&bench, &tls(TlsMode::VerifyCa, Some(&ca_file)));
    let report = bench.swap_by(&parties, &Bench::request()).await;
    bench.assert_swapped(&report).await;
    bench.wait_for(1, WAYS, ENCRYPTED).await;
}

/// What MariaDB from 11.4 makes for itself is signed by nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_mariadb_makes_for_itself_is_verified_by_nobody() {
    let bench = Bench::new(Series::MariaDb118).await;
    let authority = Authority::new();
    for mode in [TlsMode::VerifyCa, TlsMode::VerifyIdentity] {
        let reason = log_in(&bench, 0, tls(mode, Some(&authority.ca_file()))).await.unwrap_err();
        assert!(reason.contains(mode.word()), "{reason}");
    }
}

/// Servers take such a certificate, and nothing here can read it: never a reason to go on in clear text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_version_1_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut primary = ServerOptions::new(1);
    for (option, file, text) in
        [("ssl-cert", "one.pem", VERSION_1), ("ssl-key", "one.key", VERSION_1_KEY)]
    {
        let file = folder.path().join(file);
        crate::certificate::write(&file, text);
        primary = primary.with(&format!("{option}={}", file.display()));
    }
    let servers = [primary, ServerOptions::new(2)];
    let options = PairOptions { servers, ..PairOptions::default() };
    let bench = Bench::with(Flavor::MariaDb, &options).await;
    let refusals = bench.expect_codes(&[Code::Unreachable]).await;
    for words in ["X.509 certificate of version 1", "tls = \"disabled\" does without TLS"] {
        assert!(refusals[0].sentence.contains(words), "{}", refusals[0]);
    }
    log_in(&bench, 0, tls(TlsMode::Disabled, None)).await.unwrap();
}

/// There and back in every way that is encrypted, and in clear text not at all.
async fn accounts_that_require_tls_are_swapped_whole(series: impl Into<Series>) {
    let series = series.into();
    let authority = Authority::new();
    authority.issue("here", "127.0.0.1", false);
    let servers = usual().servers.map(|options| equip(options, &authority, "here"));
    let bench = Bench::with(series, &PairOptions { servers, ..PairOptions::default() }).await;
    set_channel(&bench, "SSL=1, SSL_VERIFY_SERVER_CERT=0").await;
    let secure_transport = async |switch| {
        for index in [0, 1] {
            bench.sql(index, [format!("SET GLOBAL require_secure_transport={switch}")]).await;
        }
    };
    let clear_text = || parties(&bench, &tls(TlsMode::Disabled, None));
    let unreachable = [Code::Unreachable, Code::Unreachable];
    secure_transport("ON").await;
    let refusals = bench.expect_codes_of(&clear_text, &unreachable).await;
    let words = match series {
        Series::MariaDb => "who requires TLS refuses like this",
        Series::MariaDb118 | Series::MySql => "--require_secure_transport=ON",
    };
    assert!(refusals[1].sentence.contains(words), "{}", refusals[1]);
    secure_transport("OFF").await;
    let require = ["operator", "repl"].map(|user| format!("ALTER USER {user}@'%' REQUIRE SSL"));
    bench.sql(0, require).await;
    bench.pair.wait_replicated().await.unwrap();
    let refusals = bench.expect_codes_of(&clear_text, &unreachable).await;
    let words = "in clear text, for tls = \"disabled\": who requires TLS refuses";
    assert!(refusals[0].sentence.contains(words), "{}", refusals[0]);

    secure_transport("ON").await;
    let ca_file = authority.ca_file();
    let mut primary = 0;
    for mode in [TlsMode::Required, TlsMode::Preferred, TlsMode::VerifyCa, TlsMode::VerifyIdentity]
    {
        let parties = parties(&bench, &tls(mode, Some(&ca_file)));
        bench.expect_codes_of(&|| parties.clone(), &[]).await;
        bench.wait_for(primary, WAYS, ENCRYPTED).await;
        let report = bench.swap_by(&parties, &Bench::request()).await;
        assert!(matches!(report, Report::Ended { ending: Ending::Swapped, .. }), "{report:?}");
        primary = 1 - primary;
        assert_eq!(bench.pair.primary_index().await.unwrap(), primary);
    }
}

/// An account that REQUIREs TLS is of no use to a channel in clear text, and of use to one that is encrypted however we log
/// in ourselves. A channel that runs already goes on.
async fn the_replication_account_is_tried_as_its_channel_logs_in(series: impl Into<Series>) {
    let authority = Authority::new();
    authority.issue("here", "127.0.0.1", false);
    let servers = usual().servers.map(|options| equip(options, &authority, "here"));
    let bench = Bench::with(series, &PairOptions { servers, ..PairOptions::default() }).await;
    set_channel(&bench, "SSL=1, SSL_VERIFY_SERVER_CERT=0").await;
    bench.sql(0, ["ALTER USER repl@'%' REQUIRE SSL"]).await;
    bench.pair.wait_replicated().await.unwrap();
    for mode in [TlsMode::Disabled, TlsMode::Preferred] {
        bench.expect_codes_of(&|| parties(&bench, &tls(mode, None)), &[]).await;
    }
    bench.sql(0, ["ALTER USER repl@'%' REQUIRE NONE"]).await;
    set_channel(&bench, "SSL=0").await;
    bench.expect_codes(&[]).await;
    bench.sql(0, ["ALTER USER repl@'%' REQUIRE SSL"]).await;
    bench.pair.wait_replicated().await.unwrap();
    let refusals = bench.expect_codes(&[Code::ReplicationLogin]).await;
    assert!(refusals[0].sentence.starts_with("db2 ("), "{}", refusals[0]);
    assert!(refusals[0].sentence.contains("1045"), "{}", refusals[0]);
}
