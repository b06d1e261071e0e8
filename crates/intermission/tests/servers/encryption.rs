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
    server::{Flavor, Series, Server, ServerOptions},
};

use crate::bench::Bench;

lab::on_both!(replication_stays_encrypted_over_a_swap,);
lab::on_mariadb_11_8!(
    replication_stays_encrypted_over_a_swap,
    a_verified_channel_is_not_reversed_to_who_cannot_be
);

/// Certificates that are good for any of the servers: MySQL makes some for itself.
struct Mint(Server);

impl Mint {
    async fn new() -> Self {
        Self(Server::start(Flavor::MySql, &ServerOptions::new(9)).await.unwrap())
    }

    fn file(&self, name: &str) -> String {
        self.0.folder().join("data").join(name).display().to_string()
    }

    fn equip(&self, options: ServerOptions) -> ServerOptions {
        options
            .with(&format!("ssl-ca={}", self.file("ca.pem")))
            .with(&format!("ssl-cert={}", self.file("server-cert.pem")))
            .with(&format!("ssl-key={}", self.file("server-key.pem")))
    }

    fn pair(&self) -> PairOptions {
        let servers = PairOptions::default().servers.map(|options| self.equip(options));
        PairOptions { servers, ..PairOptions::default() }
    }
}

/// Sets the replica's channel anew: `SSL=1, SSL_CA='…'`.
pub(crate) async fn set_channel(bench: &Bench, tls: &str) {
    let [stop, change, start] = bench.either(
        ["STOP SLAVE", "CHANGE MASTER TO MASTER_", "START SLAVE"],
        ["STOP REPLICA", "CHANGE REPLICATION SOURCE TO SOURCE_", "START REPLICA"],
    );
    let side = bench.either(", MASTER_", ", SOURCE_");
    let change = format!("{change}{}", tls.replace(", ", side));
    bench.sql(1, [stop, &change, start]).await;
}

/// There and back, by the settings of the channel that was found; and in clear text where it was so.
async fn replication_stays_encrypted_over_a_swap(series: impl Into<Series>) {
    let series = series.into();
    let mint = Mint::new().await;
    let ca = mint.file("ca.pem");
    let options = [("CA".to_owned(), ca.clone())].into();
    for (tls, wanted) in [
        ("SSL=0".to_owned(), ChannelTls::default()),
        (
            format!("SSL=1, SSL_VERIFY_SERVER_CERT=0, SSL_CA='{ca}'"),
            ChannelTls { on: true, verify: false, options },
        ),
    ] {
        let bench = Bench::with(series, &mint.pair()).await;
        set_channel(&bench, &tls).await;
        bench.expect_codes(&[]).await;
        // The old primary itself uses these files.
        bench.expect_warnings(&[]).await;
        if bench.flavor() == Flavor::MariaDb {
            // What the primary was once told as a replica is kept there over RESET SLAVE ALL.
            let once = "CHANGE MASTER TO MASTER_HOST='gone', MASTER_SSL_CAPATH='/gone', MASTER_SSL_KEY='/gone.pem'";
            bench.sql(0, [once, "RESET SLAVE ALL"]).await;
        }
        for replica in [0, 1] {
            let report = bench.swap().await;
            assert!(matches!(report, Report::Ended { ending: Ending::Swapped, .. }), "{report:?}");
            let view = bench.server(replica).observe(Detail::Roles).await.unwrap();
            assert_eq!(view.condition.channel_tls(), wanted, "{series} {replica}");
            assert!(view.channels[0].is_running(), "{:?}", view.channels);
        }
    }

    // Files that the old primary may lack: the same authority by another name.
    let copy = mint.file("copy.pem");
    std::fs::copy(&ca, &copy).unwrap();
    let bench = Bench::with(series, &mint.pair()).await;
    set_channel(&bench, &format!("SSL=1, SSL_CA='{copy}'")).await;
    bench.expect_codes(&[]).await;
    let warnings = bench.expect_warnings(&[Code::ChannelTlsFiles]).await;
    assert!(warnings[0].sentence.contains("copy.pem"), "{}", warnings[0]);
    // Whoever takes no encrypted connections cannot be followed by one.
    let [primary, replica] = PairOptions::default().servers;
    let replica = match series {
        // It has no certificate unless it is given one.
        Series::MariaDb => replica,
        Series::MariaDb118 => replica.with("skip-ssl"),
        Series::MySql => replica.with("tls-version="),
    };
    let pair = PairOptions { servers: [mint.equip(primary), replica], ..PairOptions::default() };
    let bench = Bench::with(series, &pair).await;
    set_channel(&bench, "SSL=1").await;
    let refusals = bench.expect_codes(&[Code::IncompatibleSetting, Code::ChannelTls]).await;
    assert!(refusals[0].sentence.starts_with("tls is offered on db1"), "{}", refusals[0]);
    let wanted = "db1 could only follow it in clear text";
    assert!(refusals[1].sentence.contains(wanted), "{}", refusals[1]);
}

/// A server that was given no certificate makes one: who wants an authority's signature would not follow it.
async fn a_verified_channel_is_not_reversed_to_who_cannot_be(series: impl Into<Series>) {
    let series = series.into();
    let bench = Bench::new(series).await;
    let tls = bench.server(1).observe(Detail::Roles).await.unwrap().condition.channel_tls();
    assert_eq!(tls, ChannelTls { on: true, verify: true, ..ChannelTls::default() }, "by default");
    let report = bench.swap().await;
    assert!(matches!(report, Report::Ended { ending: Ending::Swapped, .. }), "{report:?}");
    let view = bench.server(0).observe(Detail::Roles).await.unwrap();
    assert_eq!(view.condition.channel_tls(), tls);
    drop(bench);

    let mint = Mint::new().await;
    let [primary, replica] = PairOptions::default().servers;
    let pair = PairOptions { servers: [mint.equip(primary), replica], ..PairOptions::default() };
    let bench = Bench::with(series, &pair).await;
    set_channel(&bench, &format!("SSL=1, SSL_CA='{}'", mint.file("ca.pem"))).await;
    let refusals = bench.expect_codes(&[Code::ChannelTls]).await;
    assert!(refusals[0].sentence.contains("the channel wants one signed by"), "{}", refusals[0]);
}
