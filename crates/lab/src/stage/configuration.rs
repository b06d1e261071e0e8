//! The configuration file of the stage's gate and swap.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::{
    APP_NAME, HOST, OPERATOR_PASSWORD_VARIABLE, REPLICATION_PASSWORD_VARIABLE, StageError,
};
use crate::cluster::{OPERATOR, REPLICATION};
use crate::network::{DEVICE, Host, Network};

/// The file's name in the gate's folder.
pub(super) const FILE: &str = "intermission.toml";

/// How long a swap of the stage looks on when it is over: long enough to see something, and short for hundreds of them.
pub(crate) const SENTINEL_FOR: &str = "200ms";

/// The forwarder's control socket in the forwarder's folder.
pub(super) fn control_socket(folder: &Path) -> PathBuf {
    folder.join("control.sock")
}

/// What the file says.
#[derive(Debug)]
pub(super) struct Configuration<'a> {
    /// The gate's own address.
    pub(super) entry: SocketAddr,
    /// Where the app is, as the gate's configuration says it.
    pub(super) upstream: String,
    /// The app's warm-up, if it has one.
    pub(super) warm_up: Option<&'a str>,
    pub(super) servers: Vec<SocketAddr>,
    /// Where the app finds the database.
    pub(super) database: SocketAddr,
    pub(super) leads: Leads<'a>,
}

/// How clients are led to the new primary.
#[derive(Debug)]
pub(super) enum Leads<'a> {
    Forwarder {
        /// The endpoint hook.
        repoint: &'a Path,
        /// The forwarder's control socket.
        control: PathBuf,
    },
    FloatingIp(&'a Network),
}

impl Configuration<'_> {
    /// Writes the file into a folder that also holds the gate's socket and state; returns its path.
    pub(super) fn write_to(&self, folder: &Path) -> Result<PathBuf, StageError> {
        let path = folder.join(FILE);
        File::create(&path)
            .and_then(|mut file| file.write_all(self.render(folder).as_bytes()))
            .map_err(|source| StageError::io(format!("cannot write {}", path.display()), source))?;
        Ok(path)
    }

    fn render(&self, folder: &Path) -> String {
        let text = |path: &Path| quoted(&path.display().to_string());
        let (entry, upstream, database) = (self.entry, &self.upstream, self.database);
        let (operator, replication) = (OPERATOR.user, REPLICATION.user);
        let admin_socket = text(&folder.join("admin.sock"));
        let state_dir = text(&folder.join("state"));
        // As many logins at once as there are cores: more only make the first of them wait.
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let servers: String = (0..).zip(&self.servers).map(|of| self.server(of)).collect();
        let leads = self.leads.render();
        let warm_up =
            self.warm_up.map(|warm_up| format!("warm_up = {warm_up}")).unwrap_or_default();
        format!(
            r#"[gate]
listen = ["{entry}"]
admin_socket = {admin_socket}
state_dir = {state_dir}

[[app]]
name = "{APP_NAME}"
hosts = ["{HOST}"]
upstreams = ["{upstream}"]
release = {{ concurrency = {cores} }}
{warm_up}

[cluster]
servers = [
{servers}]
user = "{operator}"
password_env = "{OPERATOR_PASSWORD_VARIABLE}"
replication = {{ user = "{replication}", password_env = "{REPLICATION_PASSWORD_VARIABLE}" }}

[swap]
apps = ["{APP_NAME}"]
sentinel_for = "{SENTINEL_FOR}"
client_address = {{ host = "{database_host}", port = {database_port} }}
{leads}
"#,
            database_host = database.ip(),
            database_port = database.port(),
        )
    }

    fn server(&self, (index, address): (usize, &SocketAddr)) -> String {
        let (number, host, port) = (index + 1, address.ip(), address.port());
        let device = self.leads.device_of(index);
        format!("  {{ name = \"db{number}\", host = \"{host}\", port = {port}{device} }},\n")
    }
}

impl Leads<'_> {
    fn render(&self) -> String {
        match self {
            Self::Forwarder { repoint, control } => {
                let text = |path: &Path| quoted(&path.display().to_string());
                let (repoint, control) = (text(repoint), text(control));
                format!(
                    r#"endpoint = {{ command = [{repoint}, {control}], timeout = "5s", start = "early" }}"#
                )
            }
            Self::FloatingIp(_) => {
                format!(r#"floating_ip = {{ address = "{}" }}"#, Network::floating_prefix())
            }
        }
    }

    /// What a server's entry says of its host.
    fn device_of(&self, index: usize) -> String {
        match self {
            Self::Forwarder { .. } => String::new(),
            Self::FloatingIp(network) => {
                let exec = network.hosts.get(index).map(Host::exec_beside).unwrap_or_default();
                let exec = serde_json::Value::from(exec);
                format!(r#", device = "{DEVICE}", exec = {exec}"#)
            }
        }
    }
}

/// A TOML basic string; the escapes of JSON are a subset of its own.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_and_no_password_is_in_the_file() {
        let address = |text: &str| text.parse().expect("an address");
        let configuration = Configuration {
            entry: address("127.0.0.1:8080"),
            upstream: "127.0.0.1:3000".to_owned(),
            warm_up: None,
            servers: vec![address("127.0.0.1:3306"), address("127.0.0.1:3307")],
            database: address("127.0.0.1:3308"),
            leads: Leads::Forwarder {
                repoint: Path::new("/odd \"path\"/lab-repoint"),
                control: PathBuf::from("/run/c.sock"),
            },
        };
        let text = configuration.render(Path::new("/run/gate"));
        let hook = r#"["/odd \"path\"/lab-repoint", "/run/c.sock"]"#;
        assert!(text.contains(hook), "{text}");
        assert!(!text.contains(OPERATOR.password) && !text.contains(REPLICATION.password));
    }
}
