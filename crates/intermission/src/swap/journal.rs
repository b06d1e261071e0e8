//! The journal's files: one per swap, a line per record, each with its checksum.
//!
//! A line is `crc32 of the JSON in hex, a space, the JSON, a newline`. A last line that is not whole was being written
//! when the process died and is dropped; damage anywhere else is refused.

mod take_over;

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    claim::Claim,
    record::{Ending, Entry, VERSION},
};

/// The largest journal read, in bytes. A swap writes some ten kilobytes.
const SIZE_MAX: u64 = 16 * 1024 * 1024;
/// How much may wait in memory for the next durable record, in bytes. A record has some hundred.
const WAITING_MAX: usize = 64 * 1024;
const SUFFIX: &str = "jsonl";
const LOCK_FILE: &str = "lock";

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{}: cannot {doing}{}", path.display(), mend_of(source))]
    Io { path: PathBuf, doing: &'static str, source: std::io::Error },
    #[error("{}: line {line} is damaged: look at both servers and the file, mend by hand, then move the file away", path.display())]
    Damaged { path: PathBuf, line: usize },
    #[error("{}: larger than {SIZE_MAX} bytes: not a journal", path.display())]
    TooLarge { path: PathBuf },
    #[error("another intermission is at work: {} is locked; wait for it, or end that process", path.display())]
    Locked { path: PathBuf },
    #[error("there is no journal called {id:?} in {}", dir.display())]
    Unknown { id: String, dir: PathBuf },
    #[error("{}: an earlier write failed", path.display())]
    Lost { path: PathBuf },
    #[error(
        "{}: version {found} of the format, this program has version {VERSION}: recover with the intermission that wrote it; or, when \
         one server is writable, the other follows it and nobody is held, move the file away", path.display()
    )]
    Version { path: PathBuf, found: u32 },
}

/// What to do about it, where that is clear.
fn mend_of(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let is = |kinds: &[std::io::ErrorKind]| kinds.contains(&error.kind());
    if is(&[StorageFull, QuotaExceeded]) {
        " (make room there, or set gate.state_dir to another disk)"
    } else if is(&[PermissionDenied, ReadOnlyFilesystem]) {
        " (run this as the user whose folder it is, or set gate.state_dir to another one)"
    } else {
        ""
    }
}

/// The folder of all journals. While it lives, no other process uses them.
#[derive(Debug)]
pub struct JournalLock {
    dir: PathBuf,
    file: File,
}

impl JournalLock {
    /// Makes the folder where it is missing and locks it.
    ///
    /// # Errors
    /// [`JournalError::Locked`] while another process has it.
    pub fn acquire(dir: &Path) -> Result<Self, JournalError> {
        let io = |doing| move |source| JournalError::Io { path: dir.to_owned(), doing, source };
        std::fs::create_dir_all(dir).map_err(io("make the journal's folder"))?;
        let path = dir.join(LOCK_FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io("open the journal's lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), file }),
            Err(TryLockError::WouldBlock) => Err(JournalError::Locked { path }),
            Err(TryLockError::Error(source)) => Err(io("lock the journal")(source)),
        }
    }

    /// The lock as another process of this swap has it too: it is there until the last of them has ended.
    #[must_use]
    pub const fn shared(dir: PathBuf, file: File) -> Self {
        Self { dir, file }
    }

    /// What [`JournalLock::shared`] takes in the other process.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Lets others in at once. Dropped, it is also kept by a program that this process is just starting, until that one runs: it has a
    /// copy of every open file until then. Only where no other process of this swap needs it.
    pub fn release(self) {
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "the journal's lock goes with its file");
        }
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Begins the journal of a new swap.
    ///
    /// # Errors
    /// When the file exists or cannot be made durable.
    pub fn create(&self, id: &str) -> Result<Journal, JournalError> {
        let path = journal_path(&self.dir, id)?;
        let io = |doing| {
            let path = path.clone();
            move |source| JournalError::Io { path, doing, source }
        };
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(io("create it"))?;
        self.sync_dir().map_err(io("make its folder durable"))?;
        Ok(Journal { path, file, waiting: Vec::new(), is_lost: false })
    }

    fn sync_dir(&self) -> std::io::Result<()> {
        File::open(&self.dir).and_then(|dir| dir.sync_all())
    }
}

fn open_to_read(dir: &Path, id: &str, path: &Path) -> Result<File, JournalError> {
    File::open(path).map_err(|source| {
        if source.kind() == std::io::ErrorKind::NotFound {
            JournalError::Unknown { id: id.to_owned(), dir: dir.to_owned() }
        } else {
            JournalError::Io { path: path.to_owned(), doing: "open it", source }
        }
    })
}

/// One swap's journal, open for writing.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Whole lines that wait for the next durable one.
    waiting: Vec<u8>,
    is_lost: bool,
}

impl Journal {
    /// Appends a record; with `durable` it and all before it are on disk when this returns. Others wait in memory for
    /// the next durable one: a crash may lose them either way, and users do not wait for the disk in between.
    ///
    /// # Errors
    /// After the first failure nothing is written any more: what follows a torn line could not be read.
    pub fn append(&mut self, entry: &Entry, durable: bool) -> Result<(), JournalError> {
        if self.is_lost {
            return Err(JournalError::Lost { path: self.path.clone() });
        }
        let written = encode(entry).and_then(|line| {
            self.waiting.extend_from_slice(&line);
            if durable || self.waiting.len() > WAITING_MAX { self.flush() } else { Ok(()) }
        });
        written.map_err(|source| {
            self.is_lost = true;
            JournalError::Io { path: self.path.clone(), doing: "write to it", source }
        })
    }

    /// Whether the next record, not being durable, will touch no file.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.is_lost && self.waiting.len() < WAITING_MAX / 2
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.write_all(&self.waiting)?;
        self.waiting.clear();
        self.file.sync_data()
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stands as long as this very file is where journals are looked for.
    ///
    /// # Errors
    /// When no further file can be opened.
    pub fn claim(&self) -> std::io::Result<Claim> {
        // Kept open: its number is nobody else's as long as it is.
        let (own, path) = (self.file.try_clone()?, self.path.clone());
        Ok(Claim::new(move || match (own.metadata(), std::fs::metadata(&path)) {
            (Ok(own), Ok(there)) => (own.dev(), own.ino()) == (there.dev(), there.ino()),
            (_, Err(error)) => error.kind() != std::io::ErrorKind::NotFound,
            (Err(_), Ok(_)) => true,
        }))
    }
}

impl Drop for Journal {
    /// What waits in memory outlives a panic, though not a crash.
    fn drop(&mut self) {
        if !self.is_lost
            && let Err(error) = self.file.write_all(&self.waiting)
        {
            tracing::warn!(error = %error, path = %self.path.display(), "the last records are lost");
        }
    }
}

/// The journals of a folder, oldest first. A folder that does not exist has none.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(dir: &Path) -> Result<Vec<String>, JournalError> {
    let io = |source| JournalError::Io { path: dir.to_owned(), doing: "list the journals", source };
    let files = match std::fs::read_dir(dir) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(error)),
    };
    let mut ids = Vec::new();
    for file in files {
        let path = file.map_err(io)?.path();
        if path.extension().is_some_and(|e| e == SUFFIX)
            && let Some(id) = path.file_stem().and_then(|s| s.to_str())
        {
            ids.push(id.to_owned());
        }
    }
    // An id begins with its time, so the order of names is the order of swaps.
    ids.sort_unstable();
    Ok(ids)
}

/// Reads a journal without locking it.
///
/// # Errors
/// When it does not exist or is damaged.
pub fn read(dir: &Path, id: &str) -> Result<Vec<Entry>, JournalError> {
    let path = journal_path(dir, id)?;
    entries_of(&open_to_read(dir, id, &path)?, &path).map(|(entries, _)| entries)
}

fn journal_path(dir: &Path, id: &str) -> Result<PathBuf, JournalError> {
    // An id comes from the command line too; it must not lead out of the folder.
    let is_plain = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if is_plain {
        Ok(dir.join(id).with_extension(SUFFIX))
    } else {
        Err(JournalError::Unknown { id: id.to_owned(), dir: dir.to_owned() })
    }
}

/// The entries, and the whole lines that they are in.
fn entries_of(file: &File, path: &Path) -> Result<(Vec<Entry>, Vec<u8>), JournalError> {
    let mut bytes = bytes_of(file, path)?;
    if let Some(found) = other_version(&bytes) {
        return Err(JournalError::Version { path: path.to_owned(), found });
    }
    let damaged = |line| JournalError::Damaged { path: path.to_owned(), line };
    let (entries, whole) = decode(&bytes).map_err(damaged)?;
    bytes.truncate(whole);
    Ok((entries, bytes))
}

fn bytes_of(mut file: &File, path: &Path) -> Result<Vec<u8>, JournalError> {
    let io = |doing| move |source| JournalError::Io { path: path.to_owned(), doing, source };
    let length = file.seek(SeekFrom::End(0)).map_err(io("measure it"))?;
    if length > SIZE_MAX {
        return Err(JournalError::TooLarge { path: path.to_owned() });
    }
    file.rewind().map_err(io("rewind it"))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io("read it"))?;
    Ok(bytes)
}

/// As much of a record as every version of the format has.
#[derive(Deserialize)]
struct Outline {
    record: String,
    version: Option<u32>,
    ending: Option<Ending>,
}

fn outline(line: &[u8]) -> Option<Outline> {
    json_of(line).and_then(|json| serde_json::from_str(json).ok())
}

/// The version of a journal that is not of this one.
fn other_version(bytes: &[u8]) -> Option<u32> {
    let first = outline(bytes.split_inclusive(|byte| *byte == b'\n').next()?)?;
    first.version.filter(|version| first.record == "opened" && *version != VERSION)
}

/// Whether a journal that may be of another version was closed with nothing left to do.
///
/// # Errors
/// When it does not exist or cannot be read.
pub fn is_finished(dir: &Path, id: &str) -> Result<bool, JournalError> {
    let path = journal_path(dir, id)?;
    let bytes = bytes_of(&open_to_read(dir, id, &path)?, &path)?;
    let last = bytes.split_inclusive(|byte| *byte == b'\n').next_back().and_then(outline);
    let closed = last.filter(|last| last.record == "closed").and_then(|last| last.ending);
    Ok(matches!(closed, Some(Ending::Swapped | Ending::RolledBack)))
}

fn encode(entry: &Entry) -> std::io::Result<Vec<u8>> {
    let json = serde_json::to_string(entry)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes())
}

/// The whole entries and their length; the number of the first damaged line that is not the torn end.
fn decode(bytes: &[u8]) -> Result<(Vec<Entry>, usize), usize> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut whole = 0;
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let expected = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        match decode_line(line).filter(|entry| entry.seq == expected) {
            Some(entry) => {
                entries.push(entry);
                whole += line.len();
            }
            // Only a line without its newline can be the torn end of a crash.
            None if lines.peek().is_none() && !line.ends_with(b"\n") => break,
            None => return Err(entries.len() + 1),
        }
    }
    Ok((entries, whole))
}

fn decode_line(line: &[u8]) -> Option<Entry> {
    json_of(line).and_then(|json| serde_json::from_str(json).ok())
}

/// What a line says, if it is whole.
fn json_of(line: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, json) = text.split_once(' ')?;
    let sum = u32::from_str_radix(sum, 16).ok()?;
    (sum == crc32fast::hash(json.as_bytes())).then_some(json)
}

#[cfg(test)]
mod tests;
