//! A journal that goes from one process to another: the one before may be dead, stand still, or come to itself at this very moment.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::Write,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use super::{Journal, JournalError, JournalLock, entries_of, journal_path, open_to_read};
use crate::swap::record::Entry;

/// Of the copy that takes a journal's place when it is taken over.
const COPY_SUFFIX: &str = "copy";
/// How long a process that takes a journal over waits for another that does just then: a copy takes milliseconds.
const TAKE_OVER_BOUND: Duration = Duration::from_secs(2);
const TAKE_OVER_POLL: Duration = Duration::from_millis(1);

impl JournalLock {
    /// Takes a journal over, to go on writing it: a copy takes its place, without what a crash left of a last line. Whoever
    /// wrote it before, and may only stand still, writes what nobody reads, and its [`Claim`](crate::swap::claim::Claim)
    /// has ended.
    ///
    /// # Errors
    /// When it does not exist, is damaged or cannot be copied: then it is as it was. [`JournalError::Locked`] when another process of
    /// this swap is taking it over, and does not come to an end.
    pub fn open(&self, id: &str) -> Result<(Journal, Vec<Entry>), JournalError> {
        let path = journal_path(&self.dir, id)?;
        let io = |doing| {
            let path = path.clone();
            move |source| JournalError::Io { path, doing, source }
        };
        // A swap that comes to itself and its guardian may want it at once: the later one is to read what the earlier one had.
        let theirs = lock_alone(&self.dir, id, &path)?;
        let (_, bytes) = entries_of(&theirs, &path)?;
        let copy = path.with_extension(COPY_SUFFIX);
        let copied = self.copy(&copy, &bytes);
        let mut file = copied.map_err(io("copy it, to take it over"))?;
        // Until it is complete: the next one waits from here on for this one.
        file.lock().map_err(io("lock its copy"))?;
        let placed = std::fs::rename(&copy, &path).and_then(|()| self.sync_dir());
        placed.map_err(io("put a copy in its place"))?;
        // What was written meanwhile, by whoever could not know yet.
        let (entries, now) = entries_of(&theirs, &path)?;
        let late = now.get(bytes.len()..).unwrap_or_default();
        if !late.is_empty() {
            file.write_all(late)
                .and_then(|()| file.sync_data())
                .map_err(io("copy its end, to take it over"))?;
        }
        file.unlock().map_err(io("unlock it"))?;
        Ok((Journal { path, file, waiting: Vec::new(), is_lost: false }, entries))
    }

    fn copy(&self, copy: &Path, bytes: &[u8]) -> std::io::Result<File> {
        match std::fs::remove_file(copy) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().append(true).create_new(true).open(copy)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(file)
    }
}

/// Locks the very file that has this name now.
fn lock_alone(dir: &Path, id: &str, path: &Path) -> Result<File, JournalError> {
    let io = |doing| move |source| JournalError::Io { path: path.to_owned(), doing, source };
    let deadline = Instant::now() + TAKE_OVER_BOUND;
    loop {
        let file = open_to_read(dir, id, path)?;
        let is_it = match file.try_lock() {
            Ok(()) => is_at(&file, path).map_err(io("see whether it is still there"))?,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(source)) => return Err(io("lock it")(source)),
        };
        if is_it {
            return Ok(file);
        }
        if Instant::now() >= deadline {
            return Err(JournalError::Locked { path: path.to_owned() });
        }
        std::thread::sleep(TAKE_OVER_POLL);
    }
}

/// Whether this file is the one of this name.
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    let (own, there) = (file.metadata()?, std::fs::metadata(path)?);
    Ok((own.dev(), own.ino()) == (there.dev(), there.ino()))
}
