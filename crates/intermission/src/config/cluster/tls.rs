//! How our own connections to the servers are encrypted: `tls` and `tls_ca_file`, of the cluster or of one server.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Cluster, Server};
use crate::config::Fault;

/// In MySQL's own words (its manual, `--ssl-mode`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Clear text.
    Disabled,
    /// Encrypted where the server offers it, and clear text where it does not; whoever answers is believed.
    #[default]
    Preferred,
    /// Encrypted, or not at all; whoever answers is believed.
    Required,
    /// The certificate has to be signed by one of `tls_ca_file`, whatever name it is made out to.
    VerifyCa,
    /// It has to be made out to the host we connect to, too.
    VerifyIdentity,
}

impl TlsMode {
    /// As the configuration says it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Preferred => "preferred",
            Self::Required => "required",
            Self::VerifyCa => "verify-ca",
            Self::VerifyIdentity => "verify-identity",
        }
    }

    /// Whether it is looked at who answers.
    #[must_use]
    pub const fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyIdentity)
    }
}

/// What holds for one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls<'a> {
    pub mode: TlsMode,
    /// There where the mode verifies.
    pub ca_file: Option<&'a Path>,
    /// The key of `ca_file`.
    pub ca_key: String,
}

impl Cluster {
    /// A server's own words, and the cluster's where it has none.
    #[must_use]
    pub fn tls_of<'a>(&'a self, server: &'a Server) -> ServerTls<'a> {
        let own = server.tls_ca_file.as_deref();
        let of_server = own.is_some() || (self.tls_ca_file.is_none() && server.tls.is_some());
        ServerTls {
            mode: server.tls.unwrap_or(self.tls),
            ca_file: own.or(self.tls_ca_file.as_deref()),
            ca_key: if of_server { ca_key_of(server) } else { CA_KEY.to_owned() },
        }
    }

    /// Whether the same holds for all servers.
    #[must_use]
    pub fn has_one_tls(&self) -> bool {
        let mut all = self.servers.iter().map(|server| {
            let ServerTls { mode, ca_file, ca_key: _ } = self.tls_of(server);
            (mode, ca_file.filter(|_| mode.verifies()))
        });
        let first = all.next();
        all.all(|tls| Some(tls) == first)
    }

    pub(super) fn check_tls(&self) -> Result<(), Fault> {
        for server in &self.servers {
            let ServerTls { mode, ca_file, ca_key } = self.tls_of(server);
            if mode.verifies() && ca_file.is_none() {
                let problem = format!("is not given, and tls = {:?} looks into it", mode.word());
                let mend = "name a PEM file with what the servers' certificates are signed by";
                return Err(Fault::new(ca_key, problem, mend));
            }
            if !mode.verifies() && server.tls_ca_file.is_some() {
                return Err(idle(ca_key, mode));
            }
        }
        let needs_it =
            |server: &Server| server.tls_ca_file.is_none() && self.tls_of(server).mode.verifies();
        if self.tls_ca_file.is_some() && !self.servers.iter().any(needs_it) {
            return Err(idle(CA_KEY.to_owned(), self.tls));
        }
        Ok(())
    }
}

const CA_KEY: &str = "cluster.tls_ca_file";

fn ca_key_of(server: &Server) -> String {
    format!("cluster.servers ({}).tls_ca_file", server.name)
}

/// Whoever names an authority means that it is asked.
fn idle(key: String, mode: TlsMode) -> Fault {
    let problem = format!("is given, and tls = {:?} does not look into it", mode.word());
    Fault::new(key, problem, "write tls = \"verify-ca\" or \"verify-identity\", or leave it out")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{ServerTls, TlsMode};
    use crate::config::Config;

    const EXAMPLE: &str = include_str!("../../../../../examples/intermission.toml");

    /// The example with these lines in `[cluster]` and this in db1's entry.
    fn with(cluster: &str, server: &str) -> Result<Config, String> {
        let text = EXAMPLE.replacen("\ntls = \"preferred\"", &format!("\n{cluster}"), 1);
        let text = text.replacen("name = \"db1\", ", &format!("name = \"db1\", {server}"), 1);
        Config::parse(Path::new("x.toml"), &text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_servers_own_words_come_before_the_clusters() {
        let of = |config: &Config| {
            let cluster = config.cluster.as_ref().expect("a cluster");
            let all = cluster.servers.iter().map(|server| {
                let ServerTls { mode, ca_file, ca_key } = cluster.tls_of(server);
                (mode.word(), ca_file.map(|path| path.display().to_string()), ca_key)
            });
            all.collect::<Vec<_>>()
        };
        let config = with("", "").expect("parses");
        assert_eq!(config.cluster.as_ref().expect("a cluster").tls, TlsMode::default());
        assert_eq!(of(&config)[0].0, "preferred");
        let no_client = |config: &str, server: &str| {
            let text = EXAMPLE.replacen("\nclient_address", "\n# client_address", 1);
            let text = text.replacen("\ntls = \"preferred\"", &format!("\n{config}"), 1);
            let text = text.replacen("name = \"db1\", ", &format!("name = \"db1\", {server}"), 1);
            Config::parse(Path::new("x.toml"), &text).expect("parses")
        };
        let config = no_client(
            "tls = 'verify-ca'\ntls_ca_file = '/both.pem'",
            "tls = 'verify-identity', tls_ca_file = '/one.pem', ",
        );
        let key = |key: &str| key.to_owned();
        assert_eq!(
            of(&config),
            [
                (
                    "verify-identity",
                    Some(key("/one.pem")),
                    key("cluster.servers (db1).tls_ca_file")
                ),
                ("verify-ca", Some(key("/both.pem")), key("cluster.tls_ca_file")),
            ]
        );
        let own = "account = { user = 'a', password_env = 'B' }, tls = 'disabled', ";
        let config = no_client("tls = 'required'", own);
        let printed = config.print().expect("prints");
        assert_eq!(Config::parse(Path::new("x.toml"), &printed).expect("parses"), config);
        assert_eq!(of(&config)[0].0, "disabled");
        assert_eq!(of(&config)[1].0, "required");
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        for (cluster, server, said) in [
            ("tls = 'verify_ca'", "", "unknown variant `verify_ca`"),
            (
                "tls = 'verify-ca'",
                "",
                "`cluster.tls_ca_file`: is not given, and tls = \"verify-ca\"",
            ),
            (
                "",
                "tls = 'verify-identity', ",
                "`cluster.servers (db1).tls_ca_file`: is not given, and tls = \"verify-identity\"",
            ),
            (
                "tls_ca_file = '/ca.pem'",
                "",
                "`cluster.tls_ca_file`: is given, and tls = \"preferred\" does not look into it",
            ),
            (
                "tls = 'required'",
                "tls_ca_file = '/ca.pem', ",
                "`cluster.servers (db1).tls_ca_file`: is given, and tls = \"required\"",
            ),
            ("", "tls = 'required', ", "`swap.client_address`: "),
        ] {
            let error = with(cluster, server).expect_err(said);
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn the_words_are_those_of_the_file() {
        for mode in [
            TlsMode::Disabled,
            TlsMode::Preferred,
            TlsMode::Required,
            TlsMode::VerifyCa,
            TlsMode::VerifyIdentity,
        ] {
            let word = serde_json::to_value(mode).expect("serializes");
            assert_eq!(word, mode.word());
        }
    }
}
