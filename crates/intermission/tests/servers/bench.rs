//! A pair, what a swap of it needs, and the ways a test looks at and hurts it.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use intermission::{
    config::secret::{Account, Secret},
    mysql::{Access, MySqlServer, Tls},
    swap::{
        endpoint::Endpoint,
        executor::Listener,
        gates::Gates,
        hook::CommandHooks,
        journal,
        observation::Address,
        plan::{Planned, Request, plan},
        record::{Action, Ending, Entry, Outcome, Record},
        refusal::{Code, Refusal},
        run::{self, Parties, Report},
        server::Server,
        settings::Bounds,
        step::Step,
    },
};
use jiff::Timestamp;
use lab::{
    cluster::{APP, OPERATOR, Pair, PairOptions, REPLICATION},
    server::{Flavor, Series},
};
use mysql_async::{Conn, OptsBuilder, prelude::Queryable};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{asked::Asked, moment};

/// How long a test waits for a state of a server.
const PATIENCE: Duration = Duration::from_secs(20);
/// The servers' list of open transactions is stale to whoever asks more often (MYSQL.md §3).
const POLL: Duration = intermission::swap::server::TRANSACTIONS_FRESH_AFTER;

pub(crate) fn account(account: lab::cluster::Account) -> Account {
    Account { user: account.user.to_owned(), password: Secret::new(account.password) }
}

/// Server 0 of a new bench is the primary and is called db1; server 1 is its replica db2.
pub(crate) struct Bench {
    pub(crate) pair: Pair,
    pub(crate) asked: Arc<Asked>,
    journals: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn new(series: impl Into<Series>) -> Self {
        Self::with(series, &PairOptions::default()).await
    }

    pub(crate) async fn with(series: impl Into<Series>, options: &PairOptions) -> Self {
        let pair = Pair::start(series, options).await.expect("a pair");
        let journals = tempfile::tempdir().unwrap();
        Self { pair, asked: Arc::new(Asked::default()), journals }
    }

    pub(crate) fn flavor(&self) -> Flavor {
        self.pair.flavor()
    }

    /// The words of the server at hand.
    pub(crate) fn either<T>(&self, mariadb: T, mysql: T) -> T {
        match self.flavor() {
            Flavor::MariaDb => mariadb,
            Flavor::MySql => mysql,
        }
    }

    pub(crate) fn journals(&self) -> &Path {
        self.journals.path()
    }

    pub(crate) fn access(&self, index: usize) -> Access {
        let address = self.pair.server(index).address();
        Access {
            name: format!("db{}", index + 1),
            address: Address { host: address.ip().to_string(), port: address.port() },
            account: account(OPERATOR),
            tls: Tls::default(),
            clients_host: None,
            replication: account(REPLICATION),
            source_replication: account(REPLICATION),
            database: None,
            exec: None,
            marker_schema: "intermission".to_owned(),
            connect: Bounds::CONNECT,
            statement: Bounds::STATEMENT,
        }
    }

    /// With sessions of its own: servers look at a session's privileges when it logs in.
    pub(crate) fn server(&self, index: usize) -> MySqlServer {
        MySqlServer::new(self.access(index))
    }

    pub(crate) fn parties(&self) -> Parties {
        self.parties_of((0..self.pair.servers.len()).map(|index| self.access(index)))
    }

    pub(crate) fn parties_of(&self, accesses: impl IntoIterator<Item = Access>) -> Parties {
        let gates: Arc<dyn Gates> = Arc::<Asked>::clone(&self.asked);
        let endpoint: Arc<dyn Endpoint> = Arc::<Asked>::clone(&self.asked);
        let server = |access| -> Arc<dyn Server> { Arc::new(MySqlServer::new(access)) };
        let servers = accesses.into_iter().map(server).collect();
        let hooks = Arc::new(CommandHooks::default());
        Parties { servers, gates, endpoint, hooks, fencing: None, client_address: None }
    }

    pub(crate) fn request() -> Request {
        Request {
            id: run::new_id(Path::new(""), Timestamp::now()),
            program: "intermission".to_owned(),
            to: None,
            replication_user: REPLICATION.user.to_owned(),
            apps: vec!["shop".to_owned()],
            // Generous where a busy machine is slow; what a test wants to overrun, it overruns by far.
            bounds: Bounds {
                quiet: Duration::from_secs(20),
                settle: Duration::from_secs(1),
                fence: Duration::from_secs(1),
                catch_up: Duration::from_secs(3),
                catch_up_sample: Duration::from_millis(500),
                lag: Duration::from_secs(30),
                ..Bounds::default()
            },
            endpoint: Duration::from_secs(5),
            withdrawal: None,
            canary: false,
            before_release: None,
            allowed: intermission::swap::plan::Allowed::default(),
        }
    }

    pub(crate) async fn swap(&self) -> Report {
        self.swap_by(&self.parties(), &Self::request()).await
    }

    /// By other accounts or by another way to the servers than the bench's own.
    pub(crate) async fn swap_by(&self, parties: &Parties, request: &Request) -> Report {
        self.run(parties, request, Arc::new(|_: &_| {})).await
    }

    pub(crate) async fn swap_with(&self, request: &Request, listener: Listener) -> Report {
        self.run(&self.parties(), request, listener).await
    }

    pub(crate) async fn run(
        &self,
        parties: &Parties,
        request: &Request,
        listener: Listener,
    ) -> Report {
        let cancel = CancellationToken::new();
        let dir = self.journals();
        run::swap(parties, dir, request, |_| true, None, cancel, listener).await.unwrap()
    }

    /// The newest journal.
    pub(crate) fn journal(&self) -> Vec<Entry> {
        let id = journal::list(self.journals()).unwrap().pop().expect("a journal");
        journal::read(self.journals(), &id).unwrap()
    }

    /// Everything that speaks against a swap now, on new sessions.
    pub(crate) async fn refusals(&self) -> Vec<Refusal> {
        self.refusals_of(&self.parties()).await
    }

    pub(crate) async fn refusals_of(&self, parties: &Parties) -> Vec<Refusal> {
        match plan(&run::observe(parties).await, &Self::request()) {
            Ok(Planned::Swap(_)) => Vec::new(),
            Ok(Planned::AlreadyPrimary(name)) => panic!("{name} is the primary already"),
            Err(refusals) => refusals,
        }
    }

    /// What an operator is warned of where nothing is refused.
    pub(crate) async fn warnings_of(&self, parties: &Parties, request: &Request) -> Vec<Refusal> {
        match plan(&run::observe(parties).await, request) {
            Ok(Planned::Swap(plan)) => plan.warnings,
            Ok(Planned::AlreadyPrimary(name)) => panic!("{name} is the primary already"),
            Err(refusals) => panic!("{}: refused: {refusals:#?}", self.pair.series()),
        }
    }

    /// Waits until exactly `wanted` is warned of and nothing is refused: a write may take a second on a busy disk, and is
    /// refused as long as it does.
    pub(crate) async fn expect_warnings(&self, wanted: &[Code]) -> Vec<Refusal> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let planned = plan(&run::observe(&self.parties()).await, &Self::request());
            match planned {
                Ok(Planned::Swap(plan)) if codes(&plan.warnings) == wanted => return plan.warnings,
                planned => assert!(
                    Instant::now() < deadline,
                    "{}: not {wanted:?} but {planned:#?}",
                    self.pair.series()
                ),
            }
            sleep(POLL).await;
        }
    }

    /// Waits until exactly `wanted` is refused: a server notices some faults only after a moment.
    pub(crate) async fn expect_codes(&self, wanted: &[Code]) -> Vec<Refusal> {
        self.expect_codes_of(&|| self.parties(), wanted).await
    }

    /// The same of other parties.
    pub(crate) async fn expect_codes_of(
        &self,
        parties: &dyn Fn() -> Parties,
        wanted: &[Code],
    ) -> Vec<Refusal> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let refusals = self.refusals_of(&parties()).await;
            if codes(&refusals) == wanted {
                return refusals;
            }
            assert!(
                Instant::now() < deadline,
                "{}: not {wanted:?} but {refusals:#?}",
                self.pair.series()
            );
            sleep(POLL).await;
        }
    }

    // === Hurting it ===

    pub(crate) async fn root(&self, index: usize) -> Conn {
        let socket = self.pair.server(index).socket().display().to_string();
        let options = OptsBuilder::default().socket(Some(socket)).user(Some("root"));
        moment::connect(options).await.unwrap()
    }

    /// Stops a server where it stands: it keeps its connections and answers nothing.
    pub(crate) async fn freeze(&self, index: usize) {
        let server = self.pair.server(index);
        server.suspend().unwrap();
        let tasks = format!("/proc/{}/task", server.pid());
        let deadline = Instant::now() + PATIENCE;
        // The signal reaches its threads one after another.
        while std::fs::read_dir(&tasks).unwrap().any(|task| {
            let status = task.unwrap().path().join("status");
            std::fs::read_to_string(status).is_ok_and(|text| !text.contains("State:\tT"))
        }) {
            assert!(Instant::now() < deadline, "the server goes on");
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Statements as root on one session.
    pub(crate) async fn sql<S: AsRef<str>>(&self, index: usize, statements: impl AsRef<[S]>) {
        let statements = statements.as_ref().iter().map(|sql| sql.as_ref().to_owned()).collect();
        self.pair.run(index, statements).await.unwrap();
    }

    pub(crate) async fn ask(&self, index: usize, sql: &str) -> String {
        self.pair.ask(index, sql).await.unwrap().unwrap_or_default()
    }

    pub(crate) async fn app(&self, index: usize) -> Conn {
        moment::connect(app_options(self.pair.server(index).address())).await.unwrap()
    }

    /// The statements that make a server writable and read-only.
    pub(crate) fn switches(&self) -> [&'static str; 2] {
        let close = self.either("SET GLOBAL read_only = 1", "SET GLOBAL super_read_only = 1");
        ["SET GLOBAL read_only = 0", close]
    }

    /// A transaction with locks on every row of the ledger of a replica, as long as the session lives: its applier
    /// waits. MySQL takes no such lock while it is read-only.
    pub(crate) async fn lock_rows(&self, index: usize) -> Conn {
        let [open, close] = self.switches();
        let mut conn = self.root(index).await;
        self.sql(index, [open]).await;
        for sql in ["BEGIN", "SELECT * FROM ledger.entries FOR UPDATE"] {
            conn.query_drop(sql).await.unwrap();
        }
        self.sql(index, [close]).await;
        conn
    }

    /// One row of the ledger by the application, on a session of its own.
    pub(crate) async fn write(&self, index: usize, token: &str) -> Result<(), mysql_async::Error> {
        let mut app = self.app(index).await;
        let done = app.query_drop(insert(token)).await;
        drop(app.disconnect().await);
        done
    }

    pub(crate) async fn has_row(&self, index: usize, token: &str) -> bool {
        let sql = format!("SELECT COUNT(*) FROM ledger.entries WHERE token='{token}'");
        self.ask(index, &sql).await == "1"
    }

    /// Waits until `sql` answers `wanted`.
    pub(crate) async fn wait_for(&self, index: usize, sql: &str, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(index, sql).await;
            if answer == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{sql}: {answer:?} and not {wanted:?}");
            sleep(POLL).await;
        }
    }

    // === What must hold ===

    /// F1: whatever went wrong, the site is as it was: users released, the old primary writable, the replica not.
    pub(crate) async fn assert_rolled_back(&self, report: &Report) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let Report::Ended { ending: Ending::RolledBack, cause, .. } = report else {
            panic!("{}: {report:?}", self.pair.series());
        };
        let asked = self.asked.all();
        let count = |what: &str| asked.iter().filter(|asked| *asked == what).count();
        assert_eq!(count("release") >= 1, count("hold") >= 1, "users are still held: {asked:?}");
        assert_eq!(self.pair.primary_index().await.unwrap(), 0);
        let token = format!("after an unwind {}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.write(0, &token).await.expect("a write after an unwind");
        cause.clone().expect("a cause")
    }

    pub(crate) async fn assert_swapped(&self, report: &Report) {
        let Report::Ended { ending: Ending::Swapped, .. } = report else {
            panic!("{}: {report:?}\n{:#?}", self.pair.series(), self.journal());
        };
        assert_eq!(self.pair.primary_index().await.unwrap(), 1);
    }

    /// Every row of the one is on all others.
    pub(crate) async fn assert_same_rows(&self) {
        self.pair.wait_replicated().await.unwrap();
        let sql = "SELECT CONCAT(COUNT(*), ' ', COALESCE(SUM(CRC32(CONCAT(id, token, seq))), 0)) FROM ledger.entries";
        let wanted = self.ask(0, sql).await;
        for index in 1..self.pair.servers.len() {
            assert_eq!(self.ask(index, sql).await, wanted, "{} {index}", self.pair.series());
        }
    }
}

/// How a swap ended, and why.
pub(crate) fn ending_of(report: &Report) -> (Ending, Option<&str>) {
    match report {
        Report::Ended { ending, cause, .. } => (*ending, cause.as_deref()),
        other @ (Report::Refused(_) | Report::NothingToDo(_)) => panic!("{other:?}"),
    }
}

pub(crate) fn app_options(address: SocketAddr) -> OptsBuilder {
    OptsBuilder::default()
        .ip_or_hostname(address.ip().to_string())
        .tcp_port(address.port())
        .prefer_socket(false)
        .user(Some(APP.user))
        .pass(Some(APP.password))
}

pub(crate) fn insert(token: &str) -> String {
    format!("INSERT INTO ledger.entries (client, seq, token) VALUES (1, 1, '{token}')")
}

pub(crate) fn codes(refusals: &[Refusal]) -> Vec<Code> {
    refusals.iter().map(|refusal| refusal.code).collect()
}

/// The steps that were done, or the one asked for, in a journal.
pub(crate) fn outcome_of(journal: &[Entry], wanted: Step) -> Option<&Outcome> {
    journal.iter().rev().find_map(|entry| {
        let Record::Outcome { action: Action::Perform, step, outcome, .. } = &entry.record else {
            return None;
        };
        (*step == wanted).then_some(outcome)
    })
}
