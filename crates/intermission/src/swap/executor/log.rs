//! Where an executor writes its records.

use std::{collections::VecDeque, path::PathBuf, time::Duration};

use async_trait::async_trait;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use crate::swap::{
    claim::Claim,
    journal::{Journal, JournalError},
    record::Entry,
};

/// How long a write to the journal may take before the journal counts as lost.
const JOURNAL_BOUND: Duration = Duration::from_secs(2);
/// How often a flush is looked for where nothing else can be done.
const FLUSH_POLL: Duration = Duration::from_millis(1);
/// How many entries wait in memory for a flush that is under way before the next one waits for it.
const QUEUED_MAX: usize = 32;

/// When an entry is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// With the next one that is flushed.
    Later,
    /// A while after the append returns, and surely once [`Log::flushed`] does.
    Begun,
    /// When the append returns.
    Done,
}

/// Where records go. The real one is a file; the simulated cluster cuts it anywhere.
#[async_trait]
pub trait Log: Send {
    /// Appends, behind everything that was appended before.
    async fn append(&mut self, entry: &Entry, flush: Flush) -> Result<(), JournalError>;

    /// Waits for the flush that was begun, if there is one.
    async fn flushed(&mut self) -> Result<(), JournalError>;

    /// Stands until somebody else takes this journal over.
    fn claim(&self) -> Claim {
        Claim::default()
    }
}

type Written = (Journal, Result<(), JournalError>);

/// Where the file is.
#[derive(Debug)]
enum Place {
    Here(Journal),
    /// With a thread that flushes it, until the deadline.
    Away(JoinHandle<Written>, Instant),
    /// An earlier write failed, or never came back.
    Lost,
}

/// A journal flushed on a thread where a slow disk blocks nobody.
#[derive(Debug)]
pub struct FileLog {
    place: Place,
    /// What was appended since the file went away. Lost with the process, as all is that waits for a flush.
    queued: VecDeque<Entry>,
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
        let path = journal.path().to_owned();
        Self { place: Place::Here(journal), queued: VecDeque::new(), path, claim }
    }

    /// The file, once no thread has it. It is lost until it is put back.
    async fn take(&mut self) -> Result<Journal, JournalError> {
        // It stays in its place meanwhile: whoever gives up here may drop this, too.
        let back = match &mut self.place {
            Place::Away(flushing, deadline) => Some(timeout_at(*deadline, flushing).await),
            Place::Here(_) | Place::Lost => None,
        };
        match (std::mem::replace(&mut self.place, Place::Lost), back) {
            (Place::Here(journal), _) => Ok(journal),
            (Place::Away(..), Some(Ok(Ok((journal, written))))) => written.map(|()| journal),
            (Place::Away(..) | Place::Lost, _) => {
                Err(JournalError::Lost { path: self.path.clone() })
            }
        }
    }

    /// As [`Self::take`], with all in it that was queued.
    async fn take_whole(&mut self) -> Result<Journal, JournalError> {
        let mut journal = self.take().await?;
        for entry in std::mem::take(&mut self.queued) {
            journal.append(&entry, false)?;
        }
        Ok(journal)
    }

    fn send_away(&mut self, mut journal: Journal, entry: &Entry, durable: bool) {
        let entry = entry.clone();
        let flushing = tokio::task::spawn_blocking(move || {
            let written = journal.append(&entry, durable);
            (journal, written)
        });
        self.place = Place::Away(flushing, Instant::now() + JOURNAL_BOUND);
    }
}

#[async_trait]
impl Log for FileLog {
    async fn append(&mut self, entry: &Entry, flush: Flush) -> Result<(), JournalError> {
        let is_away = matches!(self.place, Place::Away(..));
        if flush == Flush::Later && is_away && self.queued.len() < QUEUED_MAX {
            self.queued.push_back(entry.clone());
            return Ok(());
        }
        let mut journal = self.take_whole().await?;
        if flush == Flush::Later && journal.has_room() {
            journal.append(entry, false)?;
            self.place = Place::Here(journal);
            return Ok(());
        }
        self.send_away(journal, entry, flush != Flush::Later);
        if flush == Flush::Begun { Ok(()) } else { self.flushed().await }
    }

    async fn flushed(&mut self) -> Result<(), JournalError> {
        let journal = self.take_whole().await?;
        self.place = Place::Here(journal);
        Ok(())
    }

    fn claim(&self) -> Claim {
        self.claim.clone()
    }
}

impl Drop for FileLog {
    /// Whoever goes on after a panic reads what was being flushed.
    fn drop(&mut self) {
        let Place::Away(flushing, deadline) = &self.place else { return };
        while !flushing.is_finished() && Instant::now() < *deadline {
            std::thread::sleep(FLUSH_POLL);
        }
    }
}

/// No journal at all.
#[derive(Debug)]
pub struct NoLog;

#[async_trait]
impl Log for NoLog {
    async fn append(&mut self, _: &Entry, _: Flush) -> Result<(), JournalError> {
        Err(JournalError::Lost { path: PathBuf::new() })
    }

    async fn flushed(&mut self) -> Result<(), JournalError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{FileLog, Flush, Log, QUEUED_MAX};
    use crate::swap::{
        journal::{self, JournalLock},
        record::{Entry, Record},
    };

    fn entry(seq: u64) -> Entry {
        let record = Record::Noted { message: format!("note {seq}") };
        Entry { seq, at: Timestamp::UNIX_EPOCH, elapsed_us: 0, record }
    }

    fn on_disk(dir: &std::path::Path) -> Vec<u64> {
        journal::read(dir, "a").expect("a journal").iter().map(|entry| entry.seq).collect()
    }

    #[tokio::test]
    async fn what_comes_beside_a_flush_is_behind_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let lock = JournalLock::acquire(dir.path()).expect("the lock");
        let mut log = FileLog::new(lock.create("a").expect("a journal"));
        let mut seq = 0..;
        let mut next = || entry(seq.next().expect("endless"));
        for _ in 0..3 {
            log.append(&next(), Flush::Later).await.expect("waits");
        }
        assert_eq!(on_disk(dir.path()), [0_u64; 0]);
        log.append(&next(), Flush::Begun).await.expect("is begun");
        for _ in 0..QUEUED_MAX + 2 {
            log.append(&next(), Flush::Later).await.expect("waits");
        }
        log.flushed().await.expect("is on disk");
        assert!(on_disk(dir.path()).starts_with(&[0, 1, 2, 3]));
        log.append(&next(), Flush::Begun).await.expect("is begun");
        log.append(&next(), Flush::Later).await.expect("waits");
        log.append(&next(), Flush::Done).await.expect("is on disk");
        let all = seq.start;
        assert_eq!(on_disk(dir.path()), (0..all).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_log_that_is_dropped_has_flushed_what_it_began() {
        let dir = tempfile::tempdir().expect("a folder");
        let lock = JournalLock::acquire(dir.path()).expect("the lock");
        let mut log = FileLog::new(lock.create("a").expect("a journal"));
        log.append(&entry(0), Flush::Begun).await.expect("is begun");
        drop(log);
        assert_eq!(on_disk(dir.path()), [0]);
    }
}
