//! What an operator has done before users are released.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use intermission::swap::{
    hook::{Hooks, HooksError},
    observation::Address,
    refusal::Refusal,
};

use crate::{
    stage::{By, Failure, Stage},
    surroundings::index_of,
    world::World,
};

#[derive(Debug)]
pub(crate) struct SimHooks(pub(crate) Arc<Stage>);

#[async_trait]
impl Hooks for SimHooks {
    fn refusals(&self) -> Vec<Refusal> {
        Vec::new()
    }

    fn bound(&self) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }

    async fn run(&self, new: &Address, _: &Address) -> Result<String, HooksError> {
        let new = index_of(new);
        let run = move |world: &mut World| {
            let db = &world.servers[new];
            let is_excused = db.has_died || world.was_answered_wrongly;
            if !db.access.is_writable() && !is_excused {
                world.violations.push("F13: a hook runs before there is a new primary".to_owned());
            }
            Ok(String::new())
        };
        let failed = |failure: Failure| HooksError { failed: 1, all: 1, said: failure.reason };
        self.0.pass("hook", By::Others, run).await.map_err(failed)
    }

    fn commands(&self, _: &Address, _: &Address) -> Vec<(String, Duration)> {
        vec![("restart".to_owned(), Duration::from_secs(1))]
    }
}
