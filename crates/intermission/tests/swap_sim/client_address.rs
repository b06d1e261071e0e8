//! The clients' address.

use std::sync::Arc;

use async_trait::async_trait;
use intermission::swap::{
    client_address::{ClientAddress, Identity},
    observation::{Address, Flavor},
    server::ServerError,
};

use crate::{
    db::{What, uuid},
    stage::{By, Failure, Stage},
    world::World,
};

/// The clients' address as a client sees it.
#[derive(Debug)]
pub(crate) struct SimClientAddress {
    stage: Arc<Stage>,
    address: Address,
}

impl SimClientAddress {
    pub(crate) fn new(stage: &Arc<Stage>) -> Self {
        let address = Address { host: "floating".to_owned(), port: 3306 };
        Self { stage: Arc::clone(stage), address }
    }

    fn failed(failure: Failure) -> ServerError {
        ServerError {
            server: "the clients' address".to_owned(),
            doing: "use it".to_owned(),
            reason: failure.reason,
            effect: failure.effect,
        }
    }
}

#[async_trait]
impl ClientAddress for SimClientAddress {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn identify(&self) -> Result<Identity, ServerError> {
        let identify = |world: &mut World| {
            let db = &world.servers[world.endpoint.ok_or("nobody is there")?];
            Ok(Identity {
                uuid: (world.flavor == Flavor::MySql).then(|| uuid(db.id)),
                server_id: db.id,
            })
        };
        self.stage.pass("identify", By::Others, identify).await.map_err(Self::failed)
    }

    async fn write_marker(&self, id: &str, _: &Address) -> Result<(), ServerError> {
        let id = id.to_owned();
        let write = move |world: &mut World| {
            let flavor = world.flavor;
            let endpoint = world.endpoint.ok_or("nobody is there")?;
            let db = &mut world.servers[endpoint];
            if !db.access.is_writable() {
                return Err("read-only".to_owned());
            }
            db.commit(flavor, What::Marker(id.clone()));
            Ok(())
        };
        self.stage.pass("canary", By::Others, write).await.map_err(Self::failed)
    }
}
