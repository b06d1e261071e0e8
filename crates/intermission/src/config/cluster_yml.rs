//! The `cluster.yml` of the role-swap script of 2012, read as it is.
//!
//! It says less than our own file: what is missing is as the script had it (user `slave`, device `bond0`, the hold file
//! `/tmp/hold`, commands by ssh and sudo). Keys of the script's database library are passed over.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, de};

use super::{
    Config, ConfigError, Fault,
    cluster::{self, ClientAddressSettings, Cluster, FloatingIpSettings, Server, Swap, TlsMode},
    failover::Failover,
    gate::Gate,
    secret::{AccountSource, Password},
};
use crate::swap::{endpoint::IpPrefix, settings::Bounds};

/// Where the script looked for a cluster that is given by name: `NAME/config/cluster.yml` below it.
pub const BASE: &str = "/u/mysql";
/// Another folder for that.
pub const BASE_VARIABLE: &str = "INTERMISSION_CLUSTERS";

const REPLICATION_USER: &str = "slave";
const DEVICE: &str = "bond0";
const HOLD_FILE: &str = "/tmp/hold";
const DEFAULT_PORT: u16 = 3306;

/// The file of a cluster that is given by name.
#[must_use]
pub fn path_of(name: &str) -> PathBuf {
    let base = std::env::var_os(BASE_VARIABLE).map_or_else(|| PathBuf::from(BASE), PathBuf::from);
    base.join(name.to_lowercase()).join("config/cluster.yml")
}

/// Whether a file is one of these, by its name.
#[must_use]
pub fn is_meant(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml")
}

#[derive(Debug, Deserialize)]
struct ClusterYml {
    floating_ip: String,
    floating_ip_cidr: String,
    #[serde(default)]
    master_ipmi_address: Option<String>,
    #[serde(default)]
    ssh_username: Option<String>,
    #[serde(default)]
    ssh_key_file: Option<String>,
    database_one: Database,
    database_two: Database,
    /// Beyond the script: where else the file that holds requests is, and the journals.
    #[serde(default)]
    hold_file: Option<PathBuf>,
    #[serde(default)]
    journal_dir: Option<PathBuf>,
    /// Beyond the script: as `swap.floating_ip.probe`.
    #[serde(default)]
    probe: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Database {
    host: String,
    #[serde(default)]
    port: Option<u16>,
    username: String,
    #[serde(default, deserialize_with = "text")]
    password: Option<Password>,
    #[serde(default)]
    primary_database: Option<String>,
    #[serde(default, deserialize_with = "text")]
    slave_password: Option<Password>,
    #[serde(default)]
    floating_dev: Option<String>,
    /// Beyond the script: what is put before a command instead of ssh and sudo.
    #[serde(default)]
    exec: Option<Vec<String>>,
}

/// A password that looks like a number is one all the same. An error must not quote it.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Password>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Scalar {
        Text(String),
        Whole(i64),
        Other(de::IgnoredAny),
    }
    match Scalar::deserialize(deserializer)? {
        Scalar::Text(text) => Ok(Some(Password(text))),
        Scalar::Whole(number) => Ok(Some(Password(number.to_string()))),
        Scalar::Other(_) => Err(de::Error::custom("a password has to be text: put it in quotes")),
    }
}

/// Parses `text`; `path` is only named in errors.
pub(super) fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let parsed: ClusterYml = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(1, |at| usize::try_from(at.line()).unwrap_or(1));
        // The library quotes values, and the lines around a mistake: they may hold a password.
        let key = text.lines().nth(line.saturating_sub(1)).and_then(key_of);
        let said = error.without_snippet().to_string();
        let said = said.lines().next().unwrap_or_default();
        let message = said.split('"').next().unwrap_or_default().trim().to_owned();
        ConfigError::Parse { path: path.to_path_buf(), line, key, message }
    })?;
    parsed.into_config().map_err(|fault| ConfigError::Invalid { path: path.to_path_buf(), fault })
}

/// The key a line begins with.
fn key_of(line: &str) -> Option<String> {
    let (key, _) = line.trim().split_once(':')?;
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (plain && !key.is_empty()).then(|| key.to_owned())
}

impl ClusterYml {
    fn into_config(self) -> Result<Config, Fault> {
        // "/32" by the script; "32" is meant the same.
        let bits = self.floating_ip_cidr.trim_start_matches('/');
        let address: IpPrefix = format!("{}/{bits}", self.floating_ip).parse().map_err(|_| {
            let problem = format!(
                "{}{} is no address with its prefix",
                self.floating_ip, self.floating_ip_cidr
            );
            Fault::new("floating_ip, floating_ip_cidr", problem, "write 10.0.0.10 and /32")
        })?;
        let ports =
            [&self.database_one, &self.database_two].map(|d| d.port.unwrap_or(DEFAULT_PORT));
        let login = |d: &Database| (d.username.clone(), d.password.clone());
        // One way and one login for clients, whichever server is the primary.
        let one = ports[0] == ports[1] && login(&self.database_one) == login(&self.database_two);
        let client_address =
            one.then(|| ClientAddressSettings { host: address.ip.to_string(), port: ports[0] });
        let servers = [("database_one", &self.database_one), ("database_two", &self.database_two)];
        let servers: Vec<Server> = servers
            .into_iter()
            .map(|(key, database)| self.server(key, database))
            .collect::<Result<_, _>>()?;
        let first = &self.database_one;
        let hold_file = self.hold_file.clone().unwrap_or_else(|| PathBuf::from(HOLD_FILE));
        Ok(Config {
            gate: Gate::default(),
            apps: Vec::new(),
            named: None,
            source: None,
            failover: Failover { fence: None, ipmi: self.master_ipmi_address.clone() },
            cluster: Some(Cluster {
                servers,
                replication: AccountSource::plain(REPLICATION_USER, first.slave_password.clone()),
                marker_schema: cluster::DEFAULT_MARKER_SCHEMA.to_owned(),
                user: first.username.clone(),
                password: first.password.clone(),
                password_env: None,
                password_file: None,
                tls: TlsMode::default(),
                tls_ca_file: None,
            }),
            swap: Some(Swap {
                apps: Vec::new(),
                gates: Vec::new(),
                hold_file: Some(hold_file),
                journal_dir: self.journal_dir.clone(),
                floating_ip: Some(FloatingIpSettings {
                    address,
                    timeout: cluster::DEFAULT_FLOATING_IP_TIMEOUT,
                    probe: self.probe.clone(),
                }),
                haproxy: None,
                endpoint: None,
                client_address,
                before_release: Vec::new(),
                allow_differences: Vec::new(),
                allow_upgrade: false,
                attempts: cluster::DEFAULT_ATTEMPTS,
                backoff: cluster::DEFAULT_BACKOFF,
                guardian_after: cluster::DEFAULT_GUARDIAN_AFTER,
                sentinel_for: cluster::DEFAULT_SENTINEL_FOR,
                bounds: Bounds::default(),
            }),
        })
    }

    fn server(&self, key: &str, database: &Database) -> Result<Server, Fault> {
        let Some(slave_password) = database.slave_password.clone() else {
            let problem = "is missing: the new replica logs in with it";
            return Err(Fault::new(
                format!("{key}.slave_password"),
                problem,
                "write the password of the user slave",
            ));
        };
        // A user without a password was written by leaving it out.
        let password = database.password.clone().unwrap_or_else(|| Password(String::new()));
        Ok(Server {
            name: key.to_owned(),
            host: database.host.clone(),
            port: database.port.unwrap_or(DEFAULT_PORT),
            device: Some(database.floating_dev.clone().unwrap_or_else(|| DEVICE.to_owned())),
            exec: database.exec.clone().unwrap_or_else(|| self.exec(&database.host)),
            database: database.primary_database.clone(),
            account: Some(AccountSource::plain(&database.username, Some(password))),
            replication: Some(AccountSource::plain(REPLICATION_USER, Some(slave_password))),
            tls: None,
            tls_ca_file: None,
        })
    }

    /// How the script ran a command on a host; never asking anybody, because nobody would see it.
    fn exec(&self, host: &str) -> Vec<String> {
        let mut words: Vec<String> = ["ssh", "-o", "BatchMode=yes"].map(str::to_owned).into();
        if let Some(user) = &self.ssh_username {
            words.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(file) = &self.ssh_key_file {
            words.extend(["-i".to_owned(), at_home(file)]);
        }
        words.extend([host.to_owned(), "sudo".to_owned(), "-n".to_owned()]);
        words
    }
}

/// The script's shell knew `~`.
fn at_home(path: &str) -> String {
    match (path.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(rest), Ok(home)) => format!("{home}/{rest}"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in the script's own manual, with other words for passwords.
    const FILE: &str = "\
floating_ip: 10.10.10.37
floating_ip_cidr: /32
master_ipmi_address: 10.10.99.137

database_one:
  adapter: mysql
  username: failover_user
  password: first-secret
  primary_database: 37_production
  host: 10.10.9.137
  port: 3306
  slave_password: second-secret

database_two:
  adapter: mysql
  username: failover_user
  password: 1234567
  primary_database: 37_production
  host: 10.10.9.138
  port: 3306
  slave_password: third-secret
";

    fn read(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("cluster.yml"), text).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn the_file_is_read_as_it_is() {
        let config = read(FILE).expect("parses");
        let (cluster, swap) = (config.cluster.expect("a cluster"), config.swap.expect("a swap"));
        let [one, two] = cluster.servers.as_slice() else { panic!("two servers") };
        assert_eq!(
            (one.host.as_str(), one.port, one.device.as_deref()),
            ("10.10.9.137", 3306, Some("bond0"))
        );
        assert_eq!(one.database.as_deref(), Some("37_production"));
        assert_eq!(one.exec.join(" "), "ssh -o BatchMode=yes 10.10.9.137 sudo -n");
        let account = |source: &Option<AccountSource>| {
            source.as_ref().expect("an account").resolve("x").expect("there")
        };
        assert_eq!(account(&two.account).password.reveal(), "1234567");
        let slave = account(&two.replication);
        assert_eq!((slave.user.as_str(), slave.password.reveal()), ("slave", "third-secret"));
        assert_eq!(swap.floating_ip.expect("one").address.to_string(), "10.10.10.37/32");
        assert_eq!(swap.client_address, None, "each server has a login of its own");
        assert_eq!(swap.hold_file.as_deref(), Some(Path::new("/tmp/hold")));
    }

    #[test]
    fn clients_are_tried_where_one_login_does() {
        let one = FILE.replace("password: 1234567", "password: first-secret");
        let client = |text: &str| read(text).expect("parses").swap.expect("a swap").client_address;
        let found = client(&one).expect("one port, one login");
        assert_eq!((found.host.as_str(), found.port), ("10.10.10.37", 3306));
        assert_eq!(client(&one.replacen("port: 3306", "port: 3307", 1)), None);
    }

    #[test]
    fn ssh_is_told_who_and_by_what_key() {
        let text = format!("ssh_username: ops\nssh_key_file: /keys/ops\n{FILE}");
        let config = read(&text).expect("parses");
        let servers = config.cluster.expect("a cluster").servers;
        assert_eq!(
            servers[1].exec.join(" "),
            "ssh -o BatchMode=yes -l ops -i /keys/ops 10.10.9.138 sudo -n"
        );
    }

    #[test]
    fn what_is_wrong_is_named_and_no_password_shows() {
        for (from, to, said) in [
            ("floating_ip: 10.10.10.37", "floating_ip: somewhere", "floating_ip"),
            ("floating_ip_cidr: /32", "floating_ip_cidr: /64", "floating_ip_cidr"),
            ("  host: 10.10.9.138\n", "", "host"),
            ("  slave_password: third-secret\n", "", "database_two.slave_password"),
            ("password: first-secret", "password: [first-secret]", "quotes"),
            ("port: 3306\n  slave_password: second-secret", "port: first-secret", "port"),
            ("database_two:", "database_too:", "database_two"),
            ("10.10.9.138", "10.10.9.137", "twice"),
            ("floating_ip: 10", "floating_ip: {10", "cluster.yml"),
        ] {
            let error = read(&FILE.replacen(from, to, 1)).expect_err(said);
            assert!(error.contains(said) && error.contains("cluster.yml"), "{said}: {error}");
            for secret in ["first-secret", "second-secret", "third-secret", "1234567"] {
                assert!(!error.contains(secret), "{error}");
            }
        }
    }

    #[test]
    fn a_cluster_by_name_is_where_the_script_had_it() {
        assert_eq!(path_of("Shop"), Path::new("/u/mysql/shop/config/cluster.yml"));
    }
}
