//! A replica that does not catch up before anybody waits.

use std::{sync::Arc, time::Duration};

use intermission::swap::step::Step;
use lab::{cluster::PairOptions, server::Flavor};
use mysql_async::prelude::Queryable;

use crate::{
    bench::{Bench, insert},
    moment::{Moment, at},
};

lab::on_both!(f1_what_keeps_a_replica_before_the_hold_is_told);

async fn f1_what_keeps_a_replica_before_the_hold_is_told(flavor: Flavor) {
    for options in [PairOptions::default(), PairOptions::default().by_coordinates(flavor)] {
        let bench = Bench::with(flavor, &options).await;
        bench.write(0, "row").await.unwrap();
        bench.pair.wait_replicated().await.unwrap();
        let request = || {
            let mut request = Bench::request();
            request.bounds.quiet = Duration::from_millis(700);
            request
        };
        let holder = bench.lock_rows(1).await;
        bench.sql(0, ["UPDATE ledger.entries SET seq = 42"]).await;
        let report = bench.swap_with(&request(), Arc::new(|_: &_| {})).await;
        let cause = bench.assert_rolled_back(&report).await;
        assert!(cause.contains("700ms: db2 has not caught up after "), "{cause}");
        assert!(cause.contains("more than 500ms: receiver Yes, applier Yes"), "{cause}");
        drop(holder.disconnect().await);

        let stop = bench.either("STOP SLAVE SQL_THREAD", "STOP REPLICA SQL_THREAD");
        let (mut replica, mut primary) = (bench.root(1).await, bench.app(0).await);
        let listener = at(Moment::Before(Step::Quiet), async move {
            replica.query_drop(stop).await.unwrap();
            primary.query_drop(insert("not applied")).await.unwrap();
        });
        let report = bench.swap_with(&request(), listener).await;
        let cause = bench.assert_rolled_back(&report).await;
        assert!(cause.contains("receiver Yes, applier No"), "{cause}");
        assert_eq!(bench.asked.all(), Vec::<String>::new(), "nobody was held");
        bench.sql(1, [bench.either("START SLAVE", "START REPLICA")]).await;
        bench.assert_same_rows().await;
    }
}
