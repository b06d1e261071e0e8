//! What cases do to the servers, in the words of each.

use std::time::Duration;

use anyhow::{Context, bail};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use tokio::time::Instant;

use super::bench::Bench;
use crate::cluster::APP;
use crate::server::{Flavor, ServerOptions};

/// How long replication may take until it runs, on a busy machine.
pub(super) const HEALTHY_DEADLINE: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(10);
const THIRD_SERVER_ID: u32 = 3;
/// What an applier says then: ER_DUP_ENTRY; or, of MySQL's several workers, one that was stopped for another's error and told it first (seen).
const DUPLICATE_KEY: [&str; 2] = ["1062", "3030"];

/// One that has to apply everything there was before it is of use: it may do so without waiting for its disk.
pub(super) fn third_server() -> ServerOptions {
    ServerOptions::new(THIRD_SERVER_ID)
        .with("sync-binlog=0")
        .with("innodb-flush-log-at-trx-commit=0")
}

/// Tables no request touches. One has no transactions: a long write to it is not seen as one.
const BYSTANDERS: [&str; 3] = [
    "CREATE TABLE ledger.bystander (id INT PRIMARY KEY, v INT) ENGINE=InnoDB",
    "INSERT INTO ledger.bystander VALUES (1, 1), (2, 1), (3, 1)",
    "CREATE TABLE ledger.plain (v INT) ENGINE=MyISAM",
];

/// The words for replication.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    pub(super) status: &'static str,
    io: &'static str,
    sql: &'static str,
    pub(super) port: &'static str,
    error: &'static str,
    /// `SLAVE` or `REPLICA`.
    noun: &'static str,
}

impl Words {
    pub(super) const fn of(flavor: Flavor) -> Self {
        match flavor {
            Flavor::MariaDb => Self {
                status: "SHOW SLAVE STATUS",
                io: "Slave_IO_Running",
                sql: "Slave_SQL_Running",
                port: "Master_Port",
                error: "Last_SQL_Errno",
                noun: "SLAVE",
            },
            Flavor::MySql => Self {
                status: "SHOW REPLICA STATUS",
                io: "Replica_IO_Running",
                sql: "Replica_SQL_Running",
                port: "Source_Port",
                error: "Last_SQL_Errno",
                noun: "REPLICA",
            },
        }
    }

    pub(super) fn start(self) -> String {
        format!("START {}", self.noun)
    }

    pub(super) fn stop(self) -> String {
        format!("STOP {}", self.noun)
    }

    pub(super) fn stop_applier(self) -> String {
        format!("STOP {} SQL_THREAD", self.noun)
    }
}

/// A replica's state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Replication {
    pub(super) receives: bool,
    pub(super) applies: bool,
    pub(super) port: String,
    pub(super) error: String,
}

/// An event of an administrator, and what moving it needs.
const EVENT: &str =
    "CREATE EVENT IF NOT EXISTS ledger.tick ON SCHEDULE EVERY 1 HOUR DO DELETE FROM ledger.plain";

/// Semi-sync in both directions, as a pair has it that waits for nobody when nobody is there.
const fn semi_sync(flavor: Flavor) -> &'static [&'static str] {
    match flavor {
        Flavor::MariaDb => &[
            "SET GLOBAL rpl_semi_sync_master_wait_no_slave=0",
            "SET GLOBAL rpl_semi_sync_slave_enabled=1, GLOBAL rpl_semi_sync_master_enabled=1",
        ],
        Flavor::MySql => &[
            "SET GLOBAL rpl_semi_sync_source_wait_no_replica=0",
            "SET GLOBAL rpl_semi_sync_replica_enabled=1, GLOBAL rpl_semi_sync_source_enabled=1",
        ],
    }
}

const fn no_semi_sync(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::MariaDb => {
            "SET GLOBAL rpl_semi_sync_slave_enabled=0, GLOBAL rpl_semi_sync_master_enabled=0"
        }
        Flavor::MySql => {
            "SET GLOBAL rpl_semi_sync_replica_enabled=0, GLOBAL rpl_semi_sync_source_enabled=0"
        }
    }
}

/// MySQL has semi-sync in plugins.
const PLUGINS: [&str; 3] = [
    "SET SESSION sql_log_bin=0",
    "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
    "INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'",
];

impl Bench {
    /// Semi-sync and an event: both go with the roles.
    pub(super) async fn give_roles_settings(&self) -> anyhow::Result<()> {
        let (flavor, pair) = (self.flavor(), &self.stage.pair);
        let primary = pair.primary_index().await?;
        let Words { noun, .. } = Words::of(flavor);
        let owned = |sql: &[&str]| sql.iter().map(|sql| (*sql).to_owned()).collect::<Vec<_>>();
        let (read_only, grant) = match flavor {
            Flavor::MariaDb => ("read_only", "GRANT SUPER, SET USER ON *.* TO operator@'%'"),
            Flavor::MySql => {
                ("super_read_only", "GRANT SET_ANY_DEFINER, SYSTEM_USER ON *.* TO operator@'%'")
            }
        };
        let has_plugins = match flavor {
            Flavor::MariaDb => true,
            Flavor::MySql => {
                let sql = "SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name LIKE 'rpl_semi_sync%'";
                pair.ask(0, sql).await?.is_some_and(|count| count != "0")
            }
        };
        let mut set_up = owned(if has_plugins { &[] } else { &PLUGINS });
        set_up.extend(owned(semi_sync(flavor)));
        let mut replica = owned(&["SET GLOBAL read_only=0"]);
        replica.extend(set_up.clone());
        replica.extend([
            format!("SET GLOBAL {read_only}=1"),
            format!("STOP {noun}"),
            format!("START {noun}"),
        ]);
        pair.run(1 - primary, replica).await?;
        pair.run(primary, set_up).await?;
        pair.run(primary, owned(&[grant, EVENT, "SET GLOBAL event_scheduler=ON"])).await?;
        pair.run(1 - primary, owned(&["SET GLOBAL event_scheduler=ON"])).await?;
        self.wait_healthy().await
    }

    /// What a server that has started again would have in its option file.
    pub(super) async fn give_back_roles_settings(&self, index: usize) -> anyhow::Result<()> {
        self.say(index, semi_sync(self.flavor())).await?;
        self.say(index, &["SET GLOBAL event_scheduler=ON"]).await
    }

    /// Takes it all back: the next case has the same servers.
    pub(super) async fn take_roles_settings(&self) -> anyhow::Result<()> {
        // MySQL's receiver stops for good (error 13117) if its semi-sync is turned off between its start and its login.
        self.wait_healthy().await?;
        let pair = &self.stage.pair;
        let primary = pair.primary_index().await?;
        for index in [primary, 1 - primary] {
            let sql = no_semi_sync(self.flavor()).to_owned();
            pair.run(index, vec![sql, "SET GLOBAL event_scheduler=DEFAULT".to_owned()]).await?;
        }
        pair.run(primary, vec!["DROP EVENT ledger.tick".to_owned()]).await?;
        self.wait_healthy().await
    }

    pub(super) fn words(&self) -> Words {
        Words::of(self.flavor())
    }

    pub(super) async fn make_bystanders(&self) -> anyhow::Result<()> {
        self.say(0, &BYSTANDERS).await?;
        Ok(self.stage.pair.wait_replicated().await?)
    }

    /// Statements as root.
    pub(super) async fn say(&self, index: usize, statements: &[&str]) -> anyhow::Result<()> {
        let statements = statements.iter().map(|sql| (*sql).to_owned()).collect();
        Ok(self.stage.pair.run(index, statements).await?)
    }

    /// A session of the application on a server, not by the floating address.
    pub(super) async fn app_session(&self, index: usize) -> anyhow::Result<Conn> {
        let connected = self.stage.pair.server(index).connect(APP.user, APP.password).await;
        connected.context("the application cannot log in")
    }

    pub(super) async fn replication(&self, index: usize) -> anyhow::Result<Replication> {
        let words = self.words();
        let mut conn = self.stage.pair.connect(index).await?;
        let row: Option<Row> = conn.query_first(words.status).await?;
        drop(conn.disconnect().await);
        let Some(row) = row else { return Ok(Replication::default()) };
        let text = |name: &str| row.get::<Option<String>, _>(name).flatten().unwrap_or_default();
        Ok(Replication {
            receives: text(words.io) == "Yes",
            applies: text(words.sql) == "Yes",
            port: text(words.port),
            error: text(words.error),
        })
    }

    /// Waits until the other server is a healthy replica of the primary and has what was written so far: what users had to wait
    /// with comes all at once, and a slow disk takes its time for it.
    pub(super) async fn wait_healthy(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + HEALTHY_DEADLINE;
        loop {
            let primary = self.stage.pair.primary_index().await?;
            let seen = self.replication(1 - primary).await?;
            let port = self.stage.pair.server(primary).address().port().to_string();
            if seen.receives && seen.applies && seen.port == port {
                if let Err(error) = self.stage.pair.wait_caught_up(primary, 1 - primary).await {
                    bail!("{error}\n{}", self.witness().await);
                }
                return Ok(());
            }
            if Instant::now() > deadline {
                let witness = self.witness().await;
                bail!(
                    "the replica of the server on port {port} is not healthy: {seen:?}\n{witness}"
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the replica's applier has stopped at a key that was there already.
    pub(super) async fn wait_duplicate_key(&self, index: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + HEALTHY_DEADLINE;
        while !DUPLICATE_KEY.contains(&self.replication(index).await?.error.as_str()) {
            if Instant::now() > deadline {
                bail!("the applier never stopped at a key\n{}", self.witness().await);
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// What both servers do, for an error that does not explain itself: their sessions, and replication as each tells it.
    pub(super) async fn witness(&self) -> String {
        let mut told = Vec::new();
        for index in [0, 1] {
            for sql in ["SHOW FULL PROCESSLIST", self.words().status] {
                let rows = self.columns(index, sql).await;
                told.push(format!(
                    "db{}: {sql}: {}",
                    index + 1,
                    rows.unwrap_or_else(|error| error.to_string())
                ));
            }
        }
        told.join("\n")
    }

    async fn columns(&self, index: usize, sql: &str) -> anyhow::Result<String> {
        let mut conn = self.stage.pair.connect(index).await?;
        let rows: Vec<Row> = conn.query(sql).await?;
        drop(conn.disconnect().await);
        let line = |row: Row| {
            let names: Vec<String> =
                row.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
            let values = names.iter().zip(row.unwrap()).filter(|(_, value)| *value != Value::NULL);
            values
                .map(|(name, value)| format!("{name}={}", value.as_sql(true)))
                .collect::<Vec<_>>()
                .join(" ")
        };
        Ok(rows.into_iter().map(line).collect::<Vec<_>>().join("\n  "))
    }

    /// Runs a statement on a replica that its binary log never sees.
    pub(super) async fn say_unlogged(&self, index: usize, sql: &str) -> anyhow::Result<()> {
        let statements = match self.flavor() {
            Flavor::MariaDb => vec!["SET SESSION sql_log_bin=0", sql],
            // Root writes through read_only, but through super_read_only nobody does.
            Flavor::MySql => vec![
                "SET GLOBAL super_read_only=0",
                "SET SESSION sql_log_bin=0",
                sql,
                "SET GLOBAL super_read_only=1",
            ],
        };
        self.say(index, &statements).await
    }

    /// Makes a server read-only, as a replica is.
    pub(super) async fn fence(&self, index: usize) -> anyhow::Result<()> {
        let sql = match self.flavor() {
            Flavor::MariaDb => "SET GLOBAL read_only=1",
            Flavor::MySql => "SET GLOBAL super_read_only=1",
        };
        self.say(index, &[sql]).await
    }

    /// A session that holds up whatever the replica would apply to the ledger, until it is dropped.
    pub(super) async fn stall_applier(&self, index: usize) -> anyhow::Result<Conn> {
        let mut conn = self.stage.pair.connect(index).await?;
        conn.query_drop("LOCK TABLES ledger.entries READ").await?;
        Ok(conn)
    }

    /// No statement of ours may be left behind (F7).
    pub(super) async fn expect_no_pending_fence(&self, index: usize) -> anyhow::Result<()> {
        let sql =
            "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SET GLOBAL%'";
        let pending = self.stage.pair.ask(index, sql).await?;
        anyhow::ensure!(
            pending.as_deref() == Some("0"),
            "{pending:?} statements are still pending"
        );
        Ok(())
    }
}
