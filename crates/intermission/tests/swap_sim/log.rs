//! The journal in the world's memory.

use std::sync::Arc;

use async_trait::async_trait;
use intermission::swap::{
    claim::Claim,
    executor::{Flush, Log},
    journal::JournalError,
    record::Entry,
};
use tokio::time::sleep;

use crate::{fault::Point, stage::Stage};

/// A journal in the world's memory. It can be cut anywhere, and its disk can be full.
#[derive(Debug)]
pub(crate) struct SimLog {
    stage: Arc<Stage>,
    owner: u32,
    /// Whether the disk was full for what it was begun to flush.
    is_lost: bool,
}

impl SimLog {
    /// Takes the journal over from whoever has it.
    pub(crate) fn new(stage: &Arc<Stage>) -> Self {
        let owner = stage.with(|world| {
            world.owner += 1;
            world.owner
        });
        Self { stage: Arc::clone(stage), owner, is_lost: false }
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

fn lost() -> JournalError {
    JournalError::Lost { path: "/full/journal".into() }
}

#[async_trait]
impl Log for SimLog {
    async fn append(&mut self, entry: &Entry, flush: Flush) -> Result<(), JournalError> {
        let is_written = append(&self.stage).await;
        if flush == Flush::Done {
            self.flushed().await?;
            sleep(self.stage.with(|world| world.flush)).await;
        }
        if !is_written {
            self.is_lost = true;
            // Who does not wait for it does not hear of it yet.
            return if flush == Flush::Begun { Ok(()) } else { Err(lost()) };
        }
        let owner = self.owner;
        self.stage.with(|world| {
            if world.owner == owner {
                world.journal.push((entry.clone(), flush));
            }
        });
        Ok(())
    }

    /// Until then what was begun is not on disk: that is the worst that can be.
    async fn flushed(&mut self) -> Result<(), JournalError> {
        if self.is_lost {
            return Err(lost());
        }
        let owner = self.owner;
        self.stage.with(|world| {
            if world.owner == owner {
                let begun = world.journal.iter_mut().filter(|(_, flush)| *flush == Flush::Begun);
                begun.for_each(|(_, flush)| *flush = Flush::Done);
            }
        });
        Ok(())
    }

    fn claim(&self) -> Claim {
        let (stage, owner) = (Arc::clone(&self.stage), self.owner);
        Claim::new(move || stage.with(|world| world.owner == owner))
    }
}
