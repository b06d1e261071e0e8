//! A real HAProxy in TCP mode before the pair, moved by its runtime API.

use std::{
    fs::File,
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use intermission::{
    mysql::{Access, MySqlClientAddress},
    swap::{
        endpoint::{Endpoint, HaProxy},
        observation::Address,
        plan::{Planned, Request, plan},
        record::Ending,
        refusal::Code,
        run::{self, Parties, Report},
        step::Step,
    },
};
use lab::server::{Flavor, lab_dir};
use mysql_async::prelude::Queryable;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::{
    bench::{Bench, app_options},
    moment::{self, Moment},
};

const PATIENCE: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(5);

struct Proxy {
    _process: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Proxy {
    /// A port that was free a moment ago may be somebody else's by now: then another is tried.
    async fn start(bench: &Bench, level: &str) -> Self {
        loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            if let Some(proxy) = Self::try_start(bench, level, address).await {
                return proxy;
            }
        }
    }

    async fn try_start(bench: &Bench, level: &str, address: SocketAddr) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let configuration = folder.path().join("haproxy.cfg");
        let [one, two] = [0, 1].map(|index| bench.pair.server(index).address());
        let text = format!(
            "global\n  stats socket {} level {level}\ndefaults\n  mode tcp\n  timeout connect 2s\n  timeout client 1m\n  \
             timeout server 1m\nfrontend in\n  bind {address}\n  default_backend mysql\nbackend mysql\n  \
             server db1 {one}\n  server db2 {two} disabled\n",
            folder.path().join("admin.sock").display()
        );
        File::create(&configuration).unwrap().write_all(text.as_bytes()).unwrap();
        let program = lab_dir().join("haproxy/usr/sbin/haproxy");
        let mut process = Command::new(program)
            .args(["-db", "-f"])
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("run scripts/servers");
        let deadline = Instant::now() + PATIENCE;
        // Somebody else may have got the port meanwhile: the runtime API is nobody else's.
        let admin = folder.path().join("admin.sock");
        while tokio::net::UnixStream::connect(&admin).await.is_err()
            || tokio::net::TcpStream::connect(address).await.is_err()
        {
            if process.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(Instant::now() < deadline, "HAProxy does not listen");
            sleep(Duration::from_millis(5)).await;
        }
        Some(Self { _process: process, folder, address })
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    fn endpoint(&self, bench: &Bench, backend: &str) -> HaProxy {
        let at = |index: usize| {
            let address = bench.pair.server(index).address();
            Address { host: address.ip().to_string(), port: address.port() }
        };
        let servers = vec![(at(0), "db1".to_owned()), (at(1), "db2".to_owned())];
        let sockets = vec![self.socket().display().to_string()];
        HaProxy::new(sockets, backend.to_owned(), servers, TIMEOUT)
    }

    fn parties(&self, bench: &Bench) -> Parties {
        let (host, port) = (self.address.ip().to_string(), self.address.port());
        let client_address = Access { address: Address { host, port }, ..bench.access(0) };
        Parties {
            endpoint: Arc::new(self.endpoint(bench, "mysql")),
            client_address: Some(Arc::new(MySqlClientAddress::new(client_address, []))),
            ..bench.parties()
        }
    }

    async fn client(&self) -> mysql_async::Conn {
        moment::connect(app_options(self.address)).await.unwrap()
    }
}

fn request() -> Request {
    Request { withdrawal: Some(Duration::from_secs(1)), canary: true, ..Bench::request() }
}

async fn server_id(conn: &mut mysql_async::Conn) -> u32 {
    conn.query_first("SELECT @@server_id").await.unwrap().unwrap()
}

async fn swap(bench: &Bench, parties: &Parties) -> (Ending, Option<String>) {
    match bench.swap_by(parties, &request()).await {
        Report::Ended { ending, cause, .. } => (ending, cause),
        other @ (Report::Refused(_) | Report::NothingToDo(_)) => panic!("{other:?}"),
    }
}

async fn f22_f25_haproxy_leads_clients_there_and_back(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let proxy = Proxy::start(&bench, "admin").await;
    let parties = proxy.parties(&bench);
    for (old, new) in [(1, 2), (2, 1)] {
        let mut before = proxy.client().await;
        assert_eq!(server_id(&mut before).await, old);
        assert_eq!(swap(&bench, &parties).await, (Ending::Swapped, None));
        // Its connection was closed, and not left to write to a replica for ever.
        assert!(before.query_drop("SELECT 1").await.is_err());
        assert_eq!(server_id(&mut proxy.client().await).await, new);
    }
}

/// Somebody's lock is in the way of the fence: clients find the old primary as before, by the same connections.
async fn f5_f39_an_unwound_swap_gives_the_backend_back(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let proxy = Proxy::start(&bench, "admin").await;
    let mut before = proxy.client().await;
    let address = bench.pair.server(0).address();
    let mut locker = moment::connect(app_options(address)).await.unwrap();
    let (done, locked) = tokio::sync::oneshot::channel();
    let listener = moment::at(Moment::After(Step::Withdraw), async move {
        locker.query_drop("LOCK TABLES ledger.entries WRITE").await.unwrap();
        drop(done.send(locker));
    });
    let report = bench.run(&proxy.parties(&bench), &request(), listener).await;
    let Report::Ended { ending, stumbled_at, .. } = report else { panic!("{report:?}") };
    assert_eq!((ending, stumbled_at), (Ending::RolledBack, Some(Step::Fence)));
    assert_eq!(server_id(&mut before).await, 1, "a connection there was goes on");
    assert_eq!(server_id(&mut proxy.client().await).await, 1);
    drop(locked.await);
}

async fn what_haproxy_would_not_do_is_refused_before(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let proxy = Proxy::start(&bench, "operator").await;
    for (backend, words) in [("mysql", "not admin"), ("nowhere", "has no server db1, db2")] {
        let endpoint: Arc<dyn Endpoint> = Arc::new(proxy.endpoint(&bench, backend));
        let parties = Parties { endpoint, ..proxy.parties(&bench) };
        let planned = plan(&run::observe(&parties).await, &request());
        let Err(refusals) = planned else { panic!("{planned:?}") };
        let [refusal] = refusals.as_slice() else { panic!("{refusals:?}") };
        assert_eq!(refusal.code, Code::EndpointMissing);
        assert!(refusal.sentence.contains(words), "{refusal}");
    }
    let parties = proxy.parties(&bench);
    drop(proxy);
    let planned = plan(&run::observe(&parties).await, &request());
    assert!(matches!(&planned, Err(refusals) if refusals.len() == 2), "{planned:?}");
    assert!(!matches!(planned, Ok(Planned::Swap(_))));
}

lab::on_both!(
    f22_f25_haproxy_leads_clients_there_and_back,
    f5_f39_an_unwound_swap_gives_the_backend_back,
    what_haproxy_would_not_do_is_refused_before,
);
