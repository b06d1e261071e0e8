//! The accounts and the ledger of a pair. The operator gets the least a swap was measured to need.

use crate::server::Flavor;

/// A user and its password, for throwaway servers on the loopback only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub user: &'static str,
    pub password: &'static str,
}

/// Swaps the roles. The passwords are odd words, so that a test can look for them where they must not be.
pub const OPERATOR: Account = Account { user: "operator", password: "operator-vq7wX2kd" };
/// The replica's login at the primary.
pub const REPLICATION: Account = Account { user: "repl", password: "repl-Zr4mP9tn" };
/// The ledger application.
pub const APP: Account = Account { user: "app", password: "app-Hs3yB6cf" };

/// The table of acknowledged writes.
pub const LEDGER_TABLE: &str = "ledger.entries";

/// What a swap needs on every database. What moving events of administrators needs besides is left out.
const MARIADB_OPERATOR: &str = "READ_ONLY ADMIN, CONNECTION ADMIN, REPLICATION SLAVE ADMIN, \
                                REPLICATION MASTER ADMIN, SLAVE MONITOR, BINLOG MONITOR, PROCESS, RELOAD, EVENT";
/// On `MySQL`, `XA RECOVER` needs a privilege of its own, and answers 1401 rather than a denial without it.
const MYSQL_OPERATOR: &str = "SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN, REPLICATION_SLAVE_ADMIN, \
                              REPLICATION CLIENT, PROCESS, RELOAD, XA_RECOVER_ADMIN, EVENT";

/// Run on the primary before there is a replica, which then gets it all by replication.
pub(super) fn set_up(flavor: Flavor) -> Vec<String> {
    let mut statements: Vec<String> = [OPERATOR, REPLICATION, APP]
        .map(|Account { user, password }| {
            format!("CREATE USER {user}@'%' IDENTIFIED BY '{password}'")
        })
        .into();
    let operator = match flavor {
        Flavor::MariaDb => MARIADB_OPERATOR,
        Flavor::MySql => MYSQL_OPERATOR,
    };
    let grants = [
        format!("GRANT {operator} ON *.* TO operator@'%'"),
        "GRANT CREATE, INSERT, UPDATE, DELETE, SELECT ON intermission.* TO operator@'%'".to_owned(),
        "GRANT REPLICATION SLAVE ON *.* TO repl@'%'".to_owned(),
        "GRANT ALL ON ledger.* TO app@'%'".to_owned(),
        "CREATE DATABASE ledger".to_owned(),
        CREATE_LEDGER.to_owned(),
    ];
    statements.extend(grants);
    if flavor == Flavor::MySql {
        statements.push("GRANT SELECT ON performance_schema.* TO operator@'%'".to_owned());
    }
    statements
}

/// The counter of `id` is safe over a swap: rows replicate as rows and applying one moves the replica's own
/// counter past it, so the new primary goes on above everything it has applied.
const CREATE_LEDGER: &str = "CREATE TABLE ledger.entries (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    client INT NOT NULL,
    seq BIGINT NOT NULL,
    token VARCHAR(64) NOT NULL UNIQUE,
    created TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    KEY client_seq (client, seq)
) ENGINE=InnoDB";
