//! A replica whose one channel has a name.

use intermission::swap::{record::Ending, run::Report};
use lab::{
    cluster::{Account, REPLICATION},
    server::Flavor,
};
use mysql_async::prelude::Queryable;

use crate::bench::Bench;

lab::on_both!(f30_a_channel_with_a_name_is_detached_too);

/// And back, from the unnamed one that a swap makes.
async fn f30_a_channel_with_a_name_is_detached_too(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let port = bench.pair.server(0).address().port();
    let Account { user, password } = REPLICATION;
    let named = bench.either(
        [
            "STOP SLAVE".to_owned(),
            "RESET SLAVE ALL".to_owned(),
            format!(
                "CHANGE MASTER 'shop' TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='{user}', \
                 MASTER_PASSWORD='{password}', MASTER_USE_GTID=slave_pos"
            ),
            "START SLAVE 'shop'".to_owned(),
        ],
        [
            "STOP REPLICA".to_owned(),
            "RESET REPLICA ALL".to_owned(),
            format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, SOURCE_USER='{user}', \
                 SOURCE_PASSWORD='{password}', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1 FOR CHANNEL 'shop'"
            ),
            "START REPLICA FOR CHANNEL 'shop'".to_owned(),
        ],
    );
    bench.sql(1, named).await;
    let sees = async |index: usize| {
        let mut conn = bench.root(index).await;
        let sql = bench.either("SHOW ALL SLAVES STATUS", "SHOW REPLICA STATUS");
        conn.query::<mysql_async::Row, _>(sql).await.unwrap().len()
    };
    assert_eq!((sees(0).await, sees(1).await), (0, 1));
    bench.write(0, "before").await.unwrap();
    bench.pair.wait_caught_up(0, 1).await.unwrap();
    for primary in [1, 0] {
        let report = bench.swap().await;
        assert!(matches!(report, Report::Ended { ending: Ending::Swapped, .. }), "{report:?}");
        assert_eq!(bench.pair.primary_index().await.unwrap(), primary, "{flavor}");
        assert_eq!((sees(primary).await, sees(1 - primary).await), (0, 1), "{flavor}: a ring");
    }
    bench.write(0, "after").await.unwrap();
    bench.assert_same_rows().await;
}
