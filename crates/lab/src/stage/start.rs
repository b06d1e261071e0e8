//! How the parts of a stage are started.

use std::net::SocketAddr;

use super::{
    APP_PASSWORD_VARIABLE, Endpoint, HOST_OF_APP, OPERATOR_PASSWORD_VARIABLE, PORT_TRIES, Part,
    Programs, REPLICATION_PASSWORD_VARIABLE, StageError, StageOptions,
    configuration::{self, Configuration, Leads},
    wait_for_answer,
};
use crate::app::Checks;
use crate::clock::Clock;
use crate::cluster::{APP, OPERATOR, Pair, REPLICATION};
use crate::server::Server;
use crate::server::port::free_port;

/// Of the product: what its configuration names, and the clock it has.
pub(super) fn environment(clock: Option<&Clock>) -> Vec<(&'static str, String)> {
    let secrets = [
        (OPERATOR_PASSWORD_VARIABLE, OPERATOR.password.to_owned()),
        (REPLICATION_PASSWORD_VARIABLE, REPLICATION.password.to_owned()),
    ];
    secrets.into_iter().chain(clock.into_iter().flat_map(Clock::environment)).collect()
}

pub(super) async fn start_forwarder(
    programs: &Programs,
    pair: &Pair,
) -> Result<(Part, SocketAddr), StageError> {
    let folder = Part::folder_for("forwarder")?;
    let control = configuration::control_socket(folder.path());
    let lab = programs.lab.display().to_string();
    let to = pair.server(0).address().to_string();
    let command = [&lab, "forwarder", "--to", &to, "--control", &control.display().to_string()];
    let part = Part::start("forwarder", folder, &command, &[])?;
    let address = part.wait_address().await?;
    Ok((part, address))
}

/// Returns the app and where the gate finds it.
pub(super) async fn start_app(
    programs: &Programs,
    endpoint: &Endpoint,
    database: SocketAddr,
    options: &StageOptions,
) -> Result<(Part, String), StageError> {
    let folder = Part::folder_for("app")?;
    let socket = folder.path().join("app.sock").display().to_string();
    let url = format!("mysql://{}@{database}/ledger", APP.user);
    let mut command = endpoint.exec(HOST_OF_APP);
    command.extend([programs.lab.display().to_string(), "app".to_owned()]);
    command.extend(["--database".to_owned(), url, "--pool".to_owned(), options.pool.to_string()]);
    if options.checks == Checks::Never {
        command.push("--unchecked".to_owned());
    }
    let environment = [(APP_PASSWORD_VARIABLE, APP.password)];
    let start = |folder, command: &[String]| {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        Part::start("app", folder, &words, &environment)
    };
    match endpoint {
        Endpoint::Forwarder(_) => {
            let part = start(folder, &command)?;
            let address = part.wait_address().await?;
            Ok((part, address.to_string()))
        }
        Endpoint::FloatingIp(_) => {
            command.extend(["--socket".to_owned(), socket.clone()]);
            Ok((start(folder, &command)?, format!("unix:{socket}")))
        }
    }
}

/// The gate's port is chosen here, because a gate that crashed must come back on the same one.
pub(super) async fn start_gate(
    programs: &Programs,
    pair: &Pair,
    endpoint: &Endpoint,
    (database, upstream, warm_up): (SocketAddr, String, Option<&str>),
    environment: &[(&str, &str)],
) -> Result<(Part, SocketAddr), StageError> {
    let mut tries = 1;
    loop {
        let port = free_port().ok_or(StageError::NoPort)?;
        let entry = SocketAddr::from(([127, 0, 0, 1], port));
        let folder = Part::folder_for("gate")?;
        let configuration = Configuration {
            entry,
            upstream: upstream.clone(),
            warm_up,
            servers: pair.servers.iter().map(Server::address).collect(),
            database,
            leads: match endpoint {
                Endpoint::Forwarder(part) => Leads::Forwarder {
                    repoint: &programs.repoint,
                    control: configuration::control_socket(part.folder()),
                },
                Endpoint::FloatingIp(network) => Leads::FloatingIp(network),
            },
        };
        let path = configuration.write_to(folder.path())?;
        let program = programs.intermission.display().to_string();
        let command = [&program, "-c", &path.display().to_string(), "serve"];
        let part = Part::start("gate", folder, &command, environment)?;
        match wait_for_answer(&part, entry, "/up").await {
            Ok(()) => return Ok((part, entry)),
            Err(StageError::NotReady { log, .. })
                if log.contains("ddress already in use") && tries < PORT_TRIES =>
            {
                tries += 1;
            }
            Err(error) => return Err(error),
        }
    }
}
