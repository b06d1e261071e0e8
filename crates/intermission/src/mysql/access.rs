//! How a server is reached.

use std::time::Duration;

use super::{
    session::Login,
    tls::{Encryption, Tls},
};
use crate::{config::secret::Account, swap::observation::Address};

/// How a server is reached.
#[derive(Debug, Clone)]
pub struct Access {
    pub name: String,
    pub address: Address,
    pub account: Account,
    /// How our sessions are encrypted.
    pub tls: Tls,
    /// What its certificate has to be made out to besides, where that is looked into: clients reach the primary by it.
    pub clients_host: Option<String>,
    /// What a replica logs in here with.
    pub replication: Account,
    /// What this server logs in to its source with.
    pub source_replication: Account,
    /// A schema that has to be here.
    pub database: Option<String>,
    /// What is put before a command to run it on the server's host; none where the host may not be asked anything.
    pub exec: Option<Vec<String>>,
    /// The schema of the marker table: letters, digits and underscores.
    pub marker_schema: String,
    pub connect: Duration,
    pub statement: Duration,
}

impl Access {
    pub(super) fn into_login(self) -> Login {
        Login {
            name: self.name,
            address: self.address,
            account: self.account,
            encryption: Encryption::new(self.tls),
            connect: self.connect,
            statement: self.statement,
        }
    }
}
