//! The journal in the world's memory.

use std::sync::Arc;

use async_trait::async_trait;
use intermission::swap::{claim::Claim, executor::Log, journal::JournalError, record::Entry};

use crate::{fault::Point, stage::Stage};

/// A journal in the world's memory. It can be cut anywhere, and its disk can be full.
#[derive(Debug)]
pub(crate) struct SimLog {
    stage: Arc<Stage>,
    owner: u32,
}

impl SimLog {
    /// Takes the journal over from whoever has it.
    pub(crate) fn new(stage: &Arc<Stage>) -> Self {
        let owner = stage.with(|world| {
            world.owner += 1;
            world.owner
        });
        Self { stage: Arc::clone(stage), owner }
    }
}

/// Tells the world of one append; true when it is written at all.
pub(crate) async fn append(stage: &Stage) -> bool {
    let (strike, is_full) = stage.with(|world| {
        let append = world.appends;
        world.appends += 1;
        let strike = world.strike.take_if(|strike| strike.point == Point::Append(append));
        (strike, world.full_at.is_some_and(|full| full <= append))
    });
    if let Some(strike) = strike {
        stage.struck(strike.blow).await;
    }
    !is_full
}

#[async_trait]
impl Log for SimLog {
    async fn append(&mut self, entry: &Entry, durable: bool) -> Result<(), JournalError> {
        if !append(&self.stage).await {
            return Err(JournalError::Lost { path: "/full/journal".into() });
        }
        let owner = self.owner;
        self.stage.with(|world| {
            if world.owner == owner {
                world.journal.push((entry.clone(), durable));
            }
        });
        Ok(())
    }

    fn claim(&self) -> Claim {
        let (stage, owner) = (Arc::clone(&self.stage), self.owner);
        Claim::new(move || stage.with(|world| world.owner == owner))
    }
}
