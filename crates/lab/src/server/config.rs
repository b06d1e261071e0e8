//! The option file of one throwaway server.

use std::fmt::Write;
use std::path::Path;

use super::{Flavor, Series, ServerOptions};

/// What the option file says besides the caller's own options.
#[derive(Debug)]
pub(super) struct Config<'a> {
    pub(super) series: Series,
    /// The lab folder.
    pub(super) lab: &'a Path,
    /// The server's own folder.
    pub(super) folder: &'a Path,
    pub(super) port: u16,
    pub(super) options: &'a ServerOptions,
}

impl Config<'_> {
    /// The whole file. Later lines win, so the caller's options come last.
    pub(super) fn render(&self) -> String {
        let mut text = String::from("[mysqld]\n");
        let mut add = |key: &str, value: &str| {
            writeln!(text, "{key}={value}").expect("writing to a string cannot fail");
        };
        let inside = |name: &str| self.folder.join(name).display().to_string();
        let port = self.port.to_string();
        add("datadir", &inside("data"));
        // MariaDB clears the folder of temporary tables when it starts, other servers' too (measured).
        add("tmpdir", &inside(super::TEMPORARY));
        add("socket", &inside(super::SOCKET));
        add("pid-file", &inside("server.pid"));
        add("log-error", &inside(super::ERROR_LOG));
        // In a network of its own it also answers at the floating address, which comes and goes.
        let placed = self.options.place.as_ref().map(|place| place.ip.to_string());
        let host = placed.as_deref().unwrap_or("127.0.0.1");
        add("bind-address", if placed.is_some() { "*" } else { host });
        add("port", &port);
        add("report-host", host);
        add("report-port", &port);
        add("server-id", &self.options.server_id.to_string());
        // On a host of its own it is root there, whoever it is here.
        if rustix::process::geteuid().is_root() || placed.is_some() {
            add("user", "root");
        }
        for (key, value) in COMMON {
            add(key, value);
        }
        let own = match self.series.flavor() {
            Flavor::MariaDb => MARIADB,
            Flavor::MySql => MYSQL,
        };
        for (key, value) in own {
            add(key, value);
        }
        for (key, value) in tree_options(self.series, self.lab) {
            add(key, &value);
        }
        for option in &self.options.extra {
            text.push_str(option);
            text.push('\n');
        }
        text
    }
}

/// Durable, row based, and small enough for several servers on one small machine.
const COMMON: &[(&str, &str)] = &[
    ("sync-binlog", "1"),
    ("innodb-flush-log-at-trx-commit", "1"),
    ("log-bin", "binlog"),
    ("binlog-format", "ROW"),
    ("innodb-buffer-pool-size", "64M"),
    ("max-connections", "500"),
    ("skip-name-resolve", "ON"),
];

const MARIADB: &[(&str, &str)] = &[
    ("log-slave-updates", "ON"),
    ("gtid-strict-mode", "ON"),
    ("innodb-log-file-size", "32M"),
    ("performance-schema", "OFF"),
];

const MYSQL: &[(&str, &str)] = &[
    ("log-replica-updates", "ON"),
    ("gtid-mode", "ON"),
    ("enforce-gtid-consistency", "ON"),
    ("innodb-redo-log-capacity", "32M"),
    ("mysqlx", "OFF"),
    // Tables that nobody here reads, filled when it starts: more than a quarter of its memory (measured: 522 and 384 MB).
    ("performance-schema-digests-size", "0"),
    ("performance-schema-error-size", "0"),
    ("performance-schema-events-stages-history-long-size", "0"),
    ("performance-schema-events-statements-history-long-size", "0"),
    ("performance-schema-events-transactions-history-long-size", "0"),
    ("performance-schema-events-waits-history-long-size", "0"),
];

/// An unpacked server looks for its files where a package would have put them: these say where they are.
pub(super) fn tree_options(series: Series, lab: &Path) -> Vec<(&'static str, String)> {
    let Some(tree) = series.tree(lab) else { return Vec::new() };
    let below = |name: &str| tree.join(name).display().to_string();
    let messages = match series.flavor() {
        Flavor::MariaDb => "usr/share/mariadb",
        Flavor::MySql => "usr/share/mysql",
    };
    let mut options = vec![
        ("basedir", below("usr")),
        ("lc-messages-dir", below(messages)),
        ("character-sets-dir", below(&format!("{messages}/charsets"))),
        ("plugin-dir", below("usr/lib/mysql/plugin")),
    ];
    if series.flavor() == Flavor::MySql {
        // Without it the server looks for a folder of the package that is not there, and aborts.
        options.push(("secure-file-priv", "NULL".to_owned()));
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_options_come_last_and_so_win() {
        let options = ServerOptions::new(7).with("sync-binlog=0");
        let (lab, folder) = (Path::new("/lab"), Path::new("/lab/run/a"));
        let config = Config { series: Series::MySql, lab, folder, port: 1234, options: &options };
        let text = config.render();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.first(), Some(&"[mysqld]"));
        assert_eq!(lines.last(), Some(&"sync-binlog=0"));
        for line in
            ["server-id=7", "port=1234", "datadir=/lab/run/a/data", "basedir=/lab/mysql/usr"]
        {
            assert!(lines.contains(&line), "{line} is missing in\n{text}");
        }
    }
}
