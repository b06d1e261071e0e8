//! Where an executor writes its records.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use tokio::time::timeout;

use crate::swap::{
    claim::Claim,
    journal::{Journal, JournalError},
    record::Entry,
};

/// How long a write to the journal may take before the journal counts as lost.
const JOURNAL_BOUND: Duration = Duration::from_secs(2);

/// Where records go. The real one is a file; the simulated cluster cuts it anywhere.
#[async_trait]
pub trait Log: Send {
    /// Appends; with `durable` it is on disk when this returns.
    async fn append(&mut self, entry: &Entry, durable: bool) -> Result<(), JournalError>;

    /// Stands until somebody else takes this journal over.
    fn claim(&self) -> Claim {
        Claim::default()
    }
}

/// A journal written on a thread where a slow disk blocks nobody.
#[derive(Debug)]
pub struct FileLog {
    /// Absent after a write that never came back.
    journal: Option<Journal>,
    path: PathBuf,
    claim: Claim,
}

impl FileLog {
    #[must_use]
    pub fn new(journal: Journal) -> Self {
        let claim = journal.claim().unwrap_or_else(|error| {
            tracing::warn!(error = %error, "it could not be told if this journal were taken over");
            Claim::default()
        });
        Self { path: journal.path().to_owned(), journal: Some(journal), claim }
    }
}

#[async_trait]
impl Log for FileLog {
    async fn append(&mut self, entry: &Entry, durable: bool) -> Result<(), JournalError> {
        let lost = || JournalError::Lost { path: self.path.clone() };
        let mut journal = self.journal.take().ok_or_else(lost)?;
        if !durable && journal.has_room() {
            let written = journal.append(entry, false);
            self.journal = Some(journal);
            return written;
        }
        let entry = entry.clone();
        let write = tokio::task::spawn_blocking(move || {
            let written = journal.append(&entry, durable);
            (journal, written)
        });
        match timeout(JOURNAL_BOUND, write).await {
            Ok(Ok((journal, written))) => {
                self.journal = Some(journal);
                written
            }
            Ok(Err(_)) | Err(_) => Err(lost()),
        }
    }

    fn claim(&self) -> Claim {
        self.claim.clone()
    }
}

/// No journal at all.
#[derive(Debug)]
pub struct NoLog;

#[async_trait]
impl Log for NoLog {
    async fn append(&mut self, _: &Entry, _: bool) -> Result<(), JournalError> {
        Err(JournalError::Lost { path: PathBuf::new() })
    }
}
