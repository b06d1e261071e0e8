//! The swap on real pairs of both servers, with gates and a hook that only remember what they were asked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use intermission::{
    config::secret::{Account, Secret},
    mysql::{Access, MySqlServer},
    swap::{
        endpoint::{Endpoint, EndpointError},
        gates::{GateError, Gates, Users},
        observation::Address,
        plan::Request,
        record::Ending,
        refusal::{Code, Refusal},
        run::{self, Parties, Report},
        server::Server,
        settings::Bounds,
    },
};
use jiff::Timestamp;
use lab::{
    cluster::{OPERATOR, Pair, PairOptions, REPLICATION},
    server::Flavor,
};
use tokio_util::sync::CancellationToken;

const FLAVORS: [Flavor; 2] = [Flavor::MariaDb, Flavor::MySql];

#[derive(Debug, Default)]
struct Asked(Mutex<Vec<String>>);

impl Asked {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }
}

#[async_trait]
impl Gates for Asked {
    async fn preflight(&self) -> Vec<Refusal> {
        Vec::new()
    }
    async fn hold(&self, _: &str, _: Duration, _: Duration) -> Result<(), GateError> {
        self.note("hold");
        Ok(())
    }
    async fn renew(&self, _: &str, _: Duration) -> Result<(), GateError> {
        Ok(())
    }
    async fn is_held(&self, _: &str) -> Result<bool, GateError> {
        Ok(true)
    }
    async fn release(&self, _: &str) -> Result<(), GateError> {
        self.note("release");
        Ok(())
    }
    async fn users(&self, _: &str) -> Result<Users, GateError> {
        Ok(Users::default())
    }
}

#[async_trait]
impl Endpoint for Asked {
    async fn preflight(&self) -> Option<Refusal> {
        None
    }
    async fn point(&self, new: &Address, _: &Address) -> Result<String, EndpointError> {
        self.note(format!("point {new}"));
        Ok(String::new())
    }
    fn command(&self, new: &Address, _: &Address) -> String {
        format!("point {new}")
    }
}

fn account(account: lab::cluster::Account) -> Account {
    Account { user: account.user.to_owned(), password: Secret::new(account.password) }
}

struct Bench {
    pair: Pair,
    parties: Parties,
    asked: Arc<Asked>,
    journals: tempfile::TempDir,
}

impl Bench {
    async fn new(flavor: Flavor, options: &PairOptions) -> Self {
        let pair = Pair::start(flavor, options).await.expect("a pair");
        let server = |index: usize| -> Arc<dyn Server> {
            let address = pair.server(index).address();
            Arc::new(MySqlServer::new(Access {
                name: format!("db{}", index + 1),
                address: Address { host: address.ip().to_string(), port: address.port() },
                account: account(OPERATOR),
                replication: account(REPLICATION),
                marker_schema: "intermission".to_owned(),
                connect: Bounds::CONNECT,
                statement: Bounds::STATEMENT,
            }))
        };
        let asked = Arc::new(Asked::default());
        let gates: Arc<dyn Gates> = asked.clone();
        let endpoint: Arc<dyn Endpoint> = asked.clone();
        let parties = Parties { servers: [server(0), server(1)], gates, endpoint };
        Self { pair, parties, asked, journals: tempfile::tempdir().unwrap() }
    }

    fn request() -> Request {
        Request {
            id: run::new_id(Timestamp::now()),
            to: None,
            apps: vec!["shop".to_owned()],
            bounds: Bounds { quiet: Duration::from_secs(2), ..Bounds::default() },
            endpoint: Duration::from_secs(5),
        }
    }

    async fn swap(&self) -> Report {
        let listener = Arc::new(|_: &_| {});
        let cancel = CancellationToken::new();
        let dir = self.journals.path();
        run::swap(&self.parties, dir, &Self::request(), |_| true, cancel, listener).await.unwrap()
    }

    async fn codes(&self) -> Vec<Code> {
        let observation = run::observe(&self.parties).await;
        match intermission::swap::plan::plan(&observation, &Self::request()) {
            Ok(_) => Vec::new(),
            Err(refusals) => {
                for refusal in &refusals {
                    eprintln!("{refusal}");
                }
                refusals.iter().map(|refusal| refusal.code).collect()
            }
        }
    }
}

#[tokio::test]
async fn a_pair_is_swapped_there_and_back() {
    for flavor in FLAVORS {
        let bench = Bench::new(flavor, &PairOptions::default()).await;
        assert_eq!(bench.codes().await, [], "{flavor}");
        for expected in [1, 0, 1] {
            let report = bench.swap().await;
            let Report::Ended { ending: Ending::Swapped, .. } = report else {
                panic!("{flavor}: {report:?}");
            };
            assert_eq!(bench.pair.primary_index().await.unwrap(), expected, "{flavor}");
            bench.pair.wait_replicated().await.unwrap();
        }
        let asked = bench.asked.0.lock().unwrap().clone();
        assert_eq!(asked.len(), 9, "{asked:?}");
        assert_eq!((asked[0].as_str(), asked[2].as_str()), ("hold", "release"));
    }
}
