//! The journal's files: one per swap, a line per record, each with its checksum.
//!
//! A line is `crc32 of the JSON in hex, a space, the JSON, a newline`. A last line that is not whole was being written
//! when the process died and is dropped; damage anywhere else is refused.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::record::Entry;

/// The largest journal read, in bytes. A swap writes some ten kilobytes.
const SIZE_MAX: u64 = 16 * 1024 * 1024;
/// How much may wait in memory for the next durable record, in bytes. A record has some hundred.
const WAITING_MAX: usize = 64 * 1024;
const SUFFIX: &str = "jsonl";
const LOCK_FILE: &str = "lock";

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{}: cannot {doing}", path.display())]
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
}

/// The folder of all journals. While it lives, no other process uses them.
#[derive(Debug)]
pub struct JournalLock {
    dir: PathBuf,
    _lock: File,
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
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: file }),
            Err(TryLockError::WouldBlock) => Err(JournalError::Locked { path }),
            Err(TryLockError::Error(source)) => Err(io("lock the journal")(source)),
        }
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
        let sync_dir = File::open(&self.dir).and_then(|dir| dir.sync_all());
        sync_dir.map_err(io("make its folder durable"))?;
        Ok(Journal { path, file, waiting: Vec::new(), is_lost: false })
    }

    /// Opens a journal to go on writing; what a crash left of a last line is cut off.
    ///
    /// # Errors
    /// When it does not exist, is damaged or cannot be opened.
    pub fn open(&self, id: &str) -> Result<(Journal, Vec<Entry>), JournalError> {
        let (entries, whole) = read_file(&self.dir, id)?;
        let path = journal_path(&self.dir, id)?;
        let io = |doing| {
            let path = path.clone();
            move |source| JournalError::Io { path, doing, source }
        };
        let file = OpenOptions::new().append(true).open(&path).map_err(io("open it"))?;
        file.set_len(whole).and_then(|()| file.sync_all()).map_err(io("cut off its torn end"))?;
        Ok((Journal { path, file, waiting: Vec::new(), is_lost: false }, entries))
    }
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
    read_file(dir, id).map(|(entries, _)| entries)
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

/// The entries and the length of the whole lines in bytes.
fn read_file(dir: &Path, id: &str) -> Result<(Vec<Entry>, u64), JournalError> {
    let path = journal_path(dir, id)?;
    let io = |doing| {
        let path = path.clone();
        move |source| JournalError::Io { path, doing, source }
    };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(JournalError::Unknown { id: id.to_owned(), dir: dir.to_owned() });
        }
        Err(error) => return Err(io("open it")(error)),
    };
    let length = file.seek(SeekFrom::End(0)).map_err(io("measure it"))?;
    if length > SIZE_MAX {
        return Err(JournalError::TooLarge { path });
    }
    file.rewind().map_err(io("rewind it"))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io("read it"))?;
    decode(&bytes).map_err(|line| JournalError::Damaged { path, line })
}

fn encode(entry: &Entry) -> std::io::Result<Vec<u8>> {
    let json = serde_json::to_string(entry)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes())
}

/// The whole entries and their length; the number of the first damaged line that is not the torn end.
fn decode(bytes: &[u8]) -> Result<(Vec<Entry>, u64), usize> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut whole = 0_u64;
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let expected = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        match decode_line(line).filter(|entry| entry.seq == expected) {
            Some(entry) => {
                entries.push(entry);
                whole += u64::try_from(line.len()).unwrap_or(u64::MAX);
            }
            // Only a line without its newline can be the torn end of a crash.
            None if lines.peek().is_none() && !line.ends_with(b"\n") => break,
            None => return Err(entries.len() + 1),
        }
    }
    Ok((entries, whole))
}

fn decode_line(line: &[u8]) -> Option<Entry> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, json) = text.split_once(' ')?;
    let sum = u32::from_str_radix(sum, 16).ok()?;
    (sum == crc32fast::hash(json.as_bytes())).then(|| serde_json::from_str(json).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{JournalError, JournalLock, decode, encode, list, read};
    use crate::swap::record::{Entry, Record};

    fn entry(seq: u64) -> Entry {
        let reason = format!("reason {seq}");
        Entry { seq, at: Timestamp::UNIX_EPOCH, record: Record::Interrupted { reason } }
    }

    fn lines(count: u64) -> Vec<u8> {
        (0..count).flat_map(|seq| encode(&entry(seq)).expect("encodes")).collect()
    }

    #[test]
    fn a_cut_anywhere_in_the_last_line_loses_that_line_only() {
        let bytes = lines(3);
        let two = lines(2).len();
        for cut in two..bytes.len() {
            let (entries, whole) = decode(&bytes[..cut]).expect("reads");
            assert_eq!(
                (entries.len(), whole),
                (2, u64::try_from(two).expect("small")),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn damage_before_the_end_is_refused_with_its_line() {
        let bytes = lines(3);
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 0x01;
            match decode(&damaged) {
                Err(line) => assert!((1..=3).contains(&line)),
                // Only the final newline's loss looks like a torn end.
                Ok((entries, _)) => {
                    assert_eq!((entries.len(), position), (2, bytes.len() - 1));
                }
            }
        }
        let missing: Vec<u8> =
            [0, 2].iter().flat_map(|s| encode(&entry(*s)).expect("encodes")).collect();
        assert_eq!(decode(&missing), Err(2), "a gap in the numbers");
    }

    #[test]
    fn what_was_appended_is_read_and_a_torn_end_is_cut_off() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = JournalLock::acquire(dir.path()).expect("locks");
        let mut journal = lock.create("20261124T010203Z-1").expect("creates");
        journal.append(&entry(0), true).expect("appends");
        std::io::Write::write_all(&mut &journal.file, b"deadbeef {\"seq\":1,").expect("tears");
        assert_eq!(list(dir.path()).expect("lists"), ["20261124T010203Z-1"]);
        let (mut journal, entries) = lock.open("20261124T010203Z-1").expect("opens");
        assert_eq!(entries, [entry(0)]);
        journal.append(&entry(1), true).expect("appends");
        assert_eq!(read(dir.path(), "20261124T010203Z-1").expect("reads"), [entry(0), entry(1)]);
    }

    #[test]
    fn a_second_process_is_told_who_is_in_the_way() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = JournalLock::acquire(dir.path()).expect("locks");
        assert!(matches!(JournalLock::acquire(dir.path()), Err(JournalError::Locked { .. })));
        drop(lock);
        JournalLock::acquire(dir.path()).expect("locks again");
    }

    #[test]
    fn an_id_never_leads_out_of_the_folder() {
        let dir = tempfile::tempdir().expect("a directory");
        for id in ["../x", "", "a/b", "a.b"] {
            assert!(matches!(read(dir.path(), id), Err(JournalError::Unknown { .. })), "{id}");
        }
    }
}
