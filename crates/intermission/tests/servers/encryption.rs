//! The reversed channel is encrypted as the one that was found.

use intermission::swap::{
    condition::ChannelTls,
    record::Ending,
    refusal::Code,
    run::Report,
    server::{Detail, Server as _},
};
use lab::{
    cluster::PairOptions,
    server::{Flavor, Server, ServerOptions},
};

use crate::bench::Bench;

lab::on_both!(replication_stays_encrypted_over_a_swap,);

/// There and back, by the settings of the channel that was found; and in clear text where it was so.
async fn replication_stays_encrypted_over_a_swap(flavor: Flavor) {
    // MySQL makes certificates for itself: they are good for any of the servers.
    let mint = Server::start(Flavor::MySql, &ServerOptions::new(9)).await.unwrap();
    let file = |name: &str| mint.folder().join("data").join(name).display().to_string();
    let ca = file("ca.pem");
    let with_tls = |options: ServerOptions| {
        options
            .with(&format!("ssl-ca={ca}"))
            .with(&format!("ssl-cert={}", file("server-cert.pem")))
            .with(&format!("ssl-key={}", file("server-key.pem")))
    };
    let channel = async |bench: &Bench, tls: &str| {
        let [stop, change, start] = bench.either(
            ["STOP SLAVE", "CHANGE MASTER TO MASTER_", "START SLAVE"],
            ["STOP REPLICA", "CHANGE REPLICATION SOURCE TO SOURCE_", "START REPLICA"],
        );
        let side = bench.either(", MASTER_", ", SOURCE_");
        let change = format!("{change}{}", tls.replace(", ", side));
        bench.sql(1, [stop, &change, start]).await;
        bench.expect_codes(&[]).await;
    };
    let pair = PairOptions {
        servers: PairOptions::default().servers.map(with_tls),
        gtid: true,
        ..PairOptions::default()
    };
    for (tls, wanted) in [
        ("SSL=0", ChannelTls::default()),
        (format!("SSL=1, SSL_CA='{ca}'").as_str(), {
            let options = [("CA".to_owned(), ca.clone())].into();
            ChannelTls { on: true, verify: false, options }
        }),
    ] {
        let bench = Bench::with(flavor, &pair).await;
        channel(&bench, tls).await;
        assert_eq!(bench.warnings().await, [], "the old primary itself uses these files");
        for replica in [0, 1] {
            let report = bench.swap().await;
            assert!(matches!(report, Report::Ended { ending: Ending::Swapped, .. }), "{report:?}");
            let view = bench.server(replica).observe(Detail::Roles).await.unwrap();
            assert_eq!(view.condition.channel_tls(), wanted, "{flavor} {replica}");
            assert!(view.channels[0].is_running(), "{:?}", view.channels);
        }
    }

    // Files that the old primary may lack: the same authority by another name.
    let copy = mint.folder().join("copy.pem");
    std::fs::copy(&ca, &copy).unwrap();
    let bench = Bench::with(flavor, &pair).await;
    channel(&bench, &format!("SSL=1, SSL_CA='{}'", copy.display())).await;
    let warnings = bench.expect_warnings(&[Code::ChannelTlsFiles]).await;
    assert!(warnings[0].sentence.contains("copy.pem"), "{}", warnings[0]);
    // Whoever takes no encrypted connections cannot be followed by one.
    let [primary, replica] = PairOptions::default().servers;
    // MariaDB of this version has no certificate unless it is given one.
    let replica = if flavor == Flavor::MySql { replica.with("tls-version=") } else { replica };
    let pair =
        PairOptions { servers: [with_tls(primary), replica], gtid: true, ..PairOptions::default() };
    let bench = Bench::with(flavor, &pair).await;
    let [stop, change, start] = bench.either(
        ["STOP SLAVE", "CHANGE MASTER TO MASTER_SSL=1", "START SLAVE"],
        ["STOP REPLICA", "CHANGE REPLICATION SOURCE TO SOURCE_SSL=1", "START REPLICA"],
    );
    bench.sql(1, [stop, change, start]).await;
    let refusals = bench.expect_codes(&[Code::IncompatibleSetting, Code::ChannelTls]).await;
    assert!(refusals[0].sentence.starts_with("tls is offered on db1"), "{}", refusals[0]);
    assert!(
        refusals[1].sentence.contains("db1 could only follow it in clear text"),
        "{}",
        refusals[1]
    );
}
