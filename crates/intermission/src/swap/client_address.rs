//! What a swap asks of the clients' address: to be a client by it.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{observation::Address, server::ServerError};

/// Who answers behind an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// MySQL only.
    pub uuid: Option<String>,
    pub server_id: u32,
}

/// The database as clients reach it: through the floating IP, a proxy or a name. Every call logs in anew, because an
/// established connection says nothing of where the next one leads.
#[async_trait]
pub trait ClientAddress: Send + Sync + fmt::Debug {
    fn address(&self) -> &Address;
    /// Who answers there now.
    async fn identify(&self) -> Result<Identity, ServerError>;
    /// Writes the marker row of `id`, making its schema and table where they are missing. The server at `behind` is expected
    /// to answer: what is known of it makes the login quicker, and nothing else.
    async fn write_marker(&self, id: &str, behind: &Address) -> Result<(), ServerError>;
}
