//! The least that the two accounts need, as a script. `intermission check` tries each of them.

use super::dialect::identifier;
use crate::swap::observation::Flavor;

/// Where a person writes the password: it is never printed.
pub const PASSWORD: &str = "PASSWORD";

/// MariaDB needs no privilege to list prepared XA transactions, nor for the processlist's transactions beyond PROCESS.
const MARIADB: &str = "READ_ONLY ADMIN, CONNECTION ADMIN, REPLICATION SLAVE ADMIN, REPLICATION MASTER ADMIN, SLAVE MONITOR, \
                       BINLOG MONITOR, PROCESS, RELOAD, EVENT";
const MYSQL: &str = "SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN, REPLICATION_SLAVE_ADMIN, XA_RECOVER_ADMIN, \
                     REPLICATION CLIENT, PROCESS, RELOAD, EVENT";

/// What the script is for.
#[derive(Debug, Clone, Copy)]
pub struct Accounts<'a> {
    /// The account that swaps.
    pub operator: &'a str,
    /// What replicas log in with.
    pub replication: &'a str,
    pub marker_schema: &'a str,
    /// Whether an application's database is looked for.
    pub shows_databases: bool,
}

/// The least on a server that is only ever led to another source.
const MARIADB_SIBLING: &str = "REPLICATION SLAVE ADMIN, SLAVE MONITOR";
const MYSQL_SIBLING: &str = "REPLICATION_SLAVE_ADMIN, REPLICATION CLIENT";

/// The script for an account that is used on siblings only.
#[must_use]
pub fn sibling_script(flavor: Flavor, accounts: Accounts<'_>) -> String {
    let operator = identifier(accounts.operator);
    let global = match flavor {
        Flavor::MariaDb => MARIADB_SIBLING,
        Flavor::MySql => MYSQL_SIBLING,
    };
    let mut lines = vec![
        format!("CREATE USER {operator}@'%' IDENTIFIED BY '{PASSWORD}';"),
        format!("GRANT {global} ON *.* TO {operator}@'%';"),
        format!("GRANT SELECT ON {}.* TO {operator}@'%';", accounts.marker_schema),
    ];
    if flavor == Flavor::MySql {
        lines.push(format!("GRANT SELECT ON performance_schema.* TO {operator}@'%';"));
    }
    lines.join("\n")
}

/// The script for the primary; replication takes it to the replicas.
#[must_use]
pub fn script(flavor: Flavor, accounts: Accounts<'_>) -> String {
    let Accounts { operator, replication, marker_schema, shows_databases } = accounts;
    let (operator, replication) = (identifier(operator), identifier(replication));
    let mut global = match flavor {
        Flavor::MariaDb => MARIADB,
        Flavor::MySql => MYSQL,
    }
    .to_owned();
    if shows_databases {
        global.push_str(", SHOW DATABASES");
    }
    let mut lines = vec![
        format!("CREATE USER {operator}@'%' IDENTIFIED BY '{PASSWORD}';"),
        format!("GRANT {global} ON *.* TO {operator}@'%';"),
        format!("GRANT SELECT, INSERT, UPDATE, CREATE ON {marker_schema}.* TO {operator}@'%';"),
    ];
    if flavor == Flavor::MySql {
        lines.push(format!("GRANT SELECT ON performance_schema.* TO {operator}@'%';"));
    }
    lines.push(format!("CREATE USER {replication}@'%' IDENTIFIED BY '{PASSWORD}';"));
    lines.push(format!("GRANT REPLICATION SLAVE ON *.* TO {replication}@'%';"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_the_scripts() {
        let manual = include_str!("../../../../docs/PRIVILEGES.md");
        let accounts = Accounts {
            operator: "intermission",
            replication: "repl",
            marker_schema: "intermission",
            shows_databases: false,
        };
        for flavor in [Flavor::MariaDb, Flavor::MySql] {
            for script in [script(flavor, accounts), sibling_script(flavor, accounts)] {
                assert!(manual.contains(&script), "docs/PRIVILEGES.md lacks:\n{script}");
            }
        }
        let odd = Accounts { operator: "o`p", shows_databases: true, ..accounts };
        let script = script(Flavor::MySql, odd);
        assert!(script.contains("`o``p`@'%'") && script.contains("SHOW DATABASES"), "{script}");
    }
}
