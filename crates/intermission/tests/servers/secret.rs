//! A password never shows: not in a refusal, an error, a journal, a log or a debug print.

use std::{
    io::Write,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use intermission::{
    config::secret::Secret,
    mysql::{Access, MySqlServer},
    swap::{
        condition::ChannelTls,
        plan::plan,
        position::Position,
        record::Ending,
        run::{self, Report},
        server::Server,
        step::Step,
    },
};
use lab::{
    cluster::{APP, OPERATOR, REPLICATION},
    server::Flavor,
};
use mysql_async::prelude::Queryable;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    bench::Bench,
    moment::{Moment, at},
};

lab::on_both!(
    a_password_shows_in_no_refusal_and_no_swap,
    a_statement_with_a_password_is_never_quoted,
);

/// Long enough for a server to refuse it, with a quote and a line break in it.
const AWKWARD: &str =
    "awkward-Xk2'\n\\9Pf7-awkward-Xk2'\n\\9Pf7-awkward-Xk2'\n\\9Pf7-awkward-Xk2'9Pf7";

/// What must not show, and parts of it that a server might cut out.
const FORBIDDEN: [&str; 6] =
    [OPERATOR.password, REPLICATION.password, APP.password, "vq7wX2kd", "Zr4mP9tn", "9Pf7"];

fn assert_clean(what: &str, text: &str) {
    for password in FORBIDDEN {
        assert!(!text.contains(password), "{what} shows {password}: {text}");
    }
}

/// Everything this process logs, at the most talkative level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    log
});

fn assert_log_clean() {
    let log = String::from_utf8_lossy(&LOG.0.lock().unwrap()).into_owned();
    assert_clean("the log", &log);
}

fn assert_journals_clean(bench: &Bench) {
    let mut count = 0;
    for file in std::fs::read_dir(bench.journals()).unwrap() {
        let path = file.unwrap().path();
        assert_clean(&path.display().to_string(), &std::fs::read_to_string(&path).unwrap());
        count += 1;
    }
    assert!(count > 0);
}

async fn a_password_shows_in_no_refusal_and_no_swap(flavor: Flavor) {
    LazyLock::force(&LOG);
    let bench = Bench::new(flavor).await;
    // Accounts that cannot log in, and one that cannot do what it has to.
    let mut broken = [bench.access(0), bench.access(1)];
    broken[0].replication.password = Secret::new(OPERATOR.password);
    broken[1].account.password = Secret::new(REPLICATION.password);
    let parties = bench.parties_of(broken);
    assert_clean("debug", &format!("{parties:?} {:?}", bench.access(0)));
    let observation = run::observe(&parties).await;
    assert_clean("an observation", &format!("{observation:?}"));
    let refusals = plan(&observation, &Bench::request()).unwrap_err();
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    assert_clean("a refusal", &format!("{refusals:?}"));

    // A statement that holds one blocks the fence: it is named, its literals are not.
    let mut app = bench.app(0).await;
    app.query_drop("CREATE TABLE ledger.secrets (t TEXT)").await.unwrap();
    let id = app.id();
    let sql =
        format!("INSERT INTO ledger.secrets SELECT CONCAT('{}', SLEEP(60))", OPERATOR.password);
    tokio::spawn(async move { app.query_drop(sql).await });
    bench.wait_for(0, &crate::fence::asleep(id), "1").await;
    let refusals = bench.expect_codes(&[intermission::swap::refusal::Code::Blocked]).await;
    assert!(refusals[0].sentence.contains("ledger.secrets"), "{}", refusals[0]);
    assert_clean("a blocker", &format!("{refusals:?}"));
    let report = bench.swap().await;
    let Report::Ended { ending: Ending::RolledBack, .. } = report else { panic!("{report:?}") };
    assert_clean("a report", &format!("{report:?}"));
    assert_journals_clean(&bench);
    bench.sql(0, [format!("KILL {id}")]).await;
    bench.expect_codes(&[]).await;

    // The replication account breaks behind the commit point: the swap ends with an operator.
    let mut root = bench.root(1).await;
    let listener = at(Moment::After(Step::Detach), async move {
        let sql = format!("ALTER USER repl@'%' IDENTIFIED BY '{}'", APP.password);
        root.query_drop(sql).await.unwrap();
    });
    let mut request = Bench::request();
    request.bounds.prove = Duration::from_secs(1);
    let report = bench.swap_with(&request, listener).await;
    let Report::Ended { ending: Ending::NeedsOperator, .. } = &report else { panic!("{report:?}") };
    assert_clean("a report", &format!("{report:?}"));
    assert_clean("a journal", &format!("{:?}", bench.journal()));
    assert_journals_clean(&bench);

    // And is mended: the recovery makes the old primary a replica.
    let sql = format!("ALTER USER repl@'%' IDENTIFIED BY '{}'", REPLICATION.password);
    bench.sql(1, [sql]).await;
    let cancel = CancellationToken::new();
    let listener = Arc::new(|_: &_| {});
    let recovered =
        run::recover(&bench.parties(), bench.journals(), |_| (), cancel, listener).await.unwrap();
    bench.assert_swapped(&recovered.unwrap()).await;
    bench.expect_codes(&[]).await;
    assert_journals_clean(&bench);
    assert_log_clean();
}

async fn a_statement_with_a_password_is_never_quoted(flavor: Flavor) {
    LazyLock::force(&LOG);
    let bench = Bench::new(flavor).await;
    // A password the server does not take is no password it may quote.
    let mut access = bench.access(0);
    access.replication.password = Secret::new(AWKWARD);
    let server = MySqlServer::new(Access { ..access });
    let source = bench.access(1).address;
    match server.follow(&source, &ChannelTls::default(), &Position::Gtid).await {
        Ok(()) => {
            let channels = server.channels().await.unwrap();
            assert_clean("a channel", &format!("{channels:?}"));
        }
        Err(error) => assert_clean("an error", &format!("{error} {error:?}")),
    }
    drop(server.detach().await);

    // An applier quotes the statement it fails on; one that makes an account holds the password.
    let [open, close] = bench.switches();
    let create = format!("CREATE USER twice@'%' IDENTIFIED BY '{}'", APP.password);
    bench.sql(1, ["SET sql_log_bin = 0", open, &create, close]).await;
    bench.sql(0, [&create]).await;
    let wanted = [
        intermission::swap::refusal::Code::SqlThread,
        intermission::swap::refusal::Code::LagUnknown,
    ];
    let refusals = bench.expect_codes(&wanted).await;
    assert_clean("a refusal", &format!("{refusals:?}"));
    assert_log_clean();
}
