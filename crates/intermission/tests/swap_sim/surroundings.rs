//! The gate and the endpoint of the simulated cluster.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use intermission::swap::{
    endpoint::{Endpoint, EndpointError},
    gates::{GateBounds, GateError, Gates, Users},
    observation::{Address, EndpointView},
    refusal::Refusal,
};
use tokio::time::Instant;

use crate::{
    stage::{By, Failure, Stage},
    world::{Held, World},
};

// === the gate ===

/// The gate, under the name a client of it would use.
#[derive(Debug)]
pub(crate) struct SimGates(pub(crate) Arc<Stage>);

fn gate_error(doing: &str) -> impl FnOnce(Failure) -> GateError {
    let doing = doing.to_owned();
    move |failure| GateError { gate: "gate".to_owned(), doing, reason: failure.reason }
}

#[async_trait]
impl Gates for SimGates {
    async fn preflight(&self) -> Vec<Refusal> {
        Vec::new()
    }

    async fn hold(&self, holder: &str, lease: Duration, _: Duration) -> Result<(), GateError> {
        let name = holder.to_owned();
        let hold = move |world: &mut World| {
            let now = Instant::now();
            match &mut world.gate.held {
                Some(held) if held.holder != name => {
                    return Err(format!("{} holds it", held.holder));
                }
                Some(held) => held.until = now + lease,
                None => {
                    world.gate.held = Some(Held { holder: name, began: now, until: now + lease });
                }
            }
            Ok(())
        };
        self.0.pass("hold", By::Others, hold).await.map_err(gate_error("hold"))
    }

    async fn renew(&self, holder: &str, lease: Duration) -> Result<(), GateError> {
        let name = holder.to_owned();
        let renew = move |world: &mut World| match &mut world.gate.held {
            Some(held) if held.holder == name => {
                held.until = Instant::now() + lease;
                Ok(())
            }
            _ => Err("not held".to_owned()),
        };
        self.0.pass("renew", By::Others, renew).await.map_err(gate_error("renew"))
    }

    async fn release(&self, holder: &str) -> Result<(), GateError> {
        let name = holder.to_owned();
        let release = move |world: &mut World| {
            world.check_release();
            if world.gate.held.as_ref().is_some_and(|held| held.holder == name) {
                world.open_gate();
            }
            Ok(())
        };
        self.0.pass("release", By::Others, release).await.map_err(gate_error("release"))
    }

    async fn answered(&self, _: &str) -> Result<bool, GateError> {
        self.0
            .pass("answered", By::Others, |world| Ok(world.gate.held.is_none()))
            .await
            .map_err(gate_error("ask whether everyone is answered"))
    }

    async fn users(&self, _: &str) -> Result<Users, GateError> {
        self.0
            .pass("users", By::Others, |_| Ok(Users::default()))
            .await
            .map_err(gate_error("read what users saw"))
    }

    async fn bounds(&self) -> Result<GateBounds, GateError> {
        Ok(GateBounds { warm_up: Some(crate::harness::warm_up()), max_wait: None })
    }

    async fn warm_up(&self, _: Duration) -> Result<String, GateError> {
        let asked = |world: &mut World| {
            if world.clients_can_write() { Ok(String::new()) } else { Err("500".to_owned()) }
        };
        self.0.pass("warm_up", By::Others, asked).await.map_err(gate_error("warm up"))
    }

    fn commands_to_release(&self) -> Vec<String> {
        vec!["release shop".to_owned()]
    }
}

// === the endpoint ===

#[derive(Debug)]
pub(crate) struct SimEndpoint(pub(crate) Arc<Stage>);

fn hook_failed(failure: Failure) -> EndpointError {
    EndpointError::Failed {
        program: "hook".to_owned(),
        status: "status 1".to_owned(),
        output: failure.reason,
    }
}

/// Which server of the world an address is.
pub(crate) fn index_of(address: &Address) -> usize {
    (1_u32..=9).position(|id| address.port == crate::harness::port(id)).expect("a server's address")
}

#[async_trait]
impl Endpoint for SimEndpoint {
    async fn observe(&self) -> EndpointView {
        EndpointView::default()
    }

    fn bound(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn withdrawal(&self) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }

    async fn withdraw(&self, old: &Address) -> Result<String, EndpointError> {
        let old = index_of(old);
        let withdraw = move |world: &mut World| {
            if world.endpoint == Some(old) {
                world.endpoint = None;
            }
            Ok(String::new())
        };
        self.0.pass("withdraw", By::Others, withdraw).await.map_err(hook_failed)
    }

    async fn give_back(&self, old: &Address, _: &Address) -> Result<String, EndpointError> {
        let old = index_of(old);
        let give_back = move |world: &mut World| {
            world.endpoint = Some(old);
            Ok(String::new())
        };
        self.0.pass("give_back", By::Others, give_back).await.map_err(hook_failed)
    }

    async fn prepare(&self, _: &Address, _: &Address) -> Result<(), EndpointError> {
        self.0.pass("prepare", By::Others, |_| Ok(())).await.map_err(hook_failed)
    }

    async fn point(&self, new: &Address, _: &Address) -> Result<String, EndpointError> {
        let target = index_of(new);
        let point = move |world: &mut World| {
            let db = &world.servers[target];
            // What cannot be known at first is seen before users are released.
            let is_excused = db.has_died || world.was_answered_wrongly;
            if !db.access.is_writable() && !is_excused {
                world.violations.push("F39: clients are led to a read-only server".to_owned());
            }
            world.endpoint = Some(target);
            Ok(String::new())
        };
        self.0.pass("point", By::Others, point).await.map_err(hook_failed)
    }

    fn command(&self, new: &Address, _: &Address) -> String {
        format!("hook {new}")
    }
}
