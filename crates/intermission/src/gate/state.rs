//! The state directory: a hold is written here before the gate closes, so that a gate that crashed
//! comes up held. One small file for each app, always replaced as a whole.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;
const FILE_BYTES_MAX: u64 = 64 * 1024;
const LOCK_FILE: &str = "lock";

/// What one file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    version: u32,
    app: String,
    /// Of the hold, or of the last one: generations go on counting over a restart.
    pub(crate) generation: u64,
    pub(crate) hold: Option<HoldRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldRecord {
    pub(crate) holder: String,
    pub(crate) reason: String,
    lease_ms: u64,
    /// On the wall clock, the only one that goes on while no process runs.
    lease_end_unix_ms: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(
        "cannot use the state directory {} (gate.state_dir): create it for the user the gate runs as",
        path.display()
    )]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the state directory {} (gate.state_dir) is in use by another gate: stop that one, or give \
         this one a directory of its own", path.display()
    )]
    InUse { path: PathBuf },
    #[error("cannot read the hold state {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the hold state {} of the app `{app}` is damaged ({problem}); whether it is held is not \
         known: make sure that no swap is running, remove the file and start again", path.display()
    )]
    Damaged { path: PathBuf, app: String, problem: String },
    #[error("cannot write the hold state {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The directory, locked as long as this lives.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    lock: File,
    /// A successor writes here now.
    is_handed_over: Arc<AtomicBool>,
}

/// The file of one app.
#[derive(Debug, Clone)]
pub(crate) struct StateFile {
    directory: PathBuf,
    app: String,
    is_handed_over: Arc<AtomicBool>,
}

impl StateDir {
    /// With the lock of a predecessor, if there is one.
    pub(crate) fn open(path: &Path, inherited: Option<File>) -> Result<Self, StateError> {
        let unusable = |source| StateError::Directory { path: path.to_path_buf(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let (path_of_self, is_handed_over) = (path.to_path_buf(), Arc::default());
        if let Some(lock) = inherited {
            return Ok(Self { path: path_of_self, lock, is_handed_over });
        }
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).mode(0o600);
        let lock = lock.open(path.join(LOCK_FILE)).map_err(unusable)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path_of_self, lock, is_handed_over }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(StateError::InUse { path: path.to_path_buf() })
            }
            Err(error) => Err(unusable(error.into())),
        }
    }

    pub(crate) fn file(&self, app: &str) -> StateFile {
        let is_handed_over = Arc::clone(&self.is_handed_over);
        StateFile { directory: self.path.clone(), app: app.to_owned(), is_handed_over }
    }

    /// The lock, which is held as long as one of the two is open.
    pub(crate) fn share_lock(&self) -> io::Result<File> {
        self.lock.try_clone()
    }

    /// From now on nothing is written here.
    pub(crate) fn hand_over(&self) {
        self.is_handed_over.store(true, Ordering::SeqCst);
    }
}

impl StateFile {
    /// `None` if the app was never held.
    pub(crate) fn read(&self) -> Result<Option<Record>, StateError> {
        let path = self.path();
        let unreadable = |source| StateError::Read { path: path.clone(), source };
        let damaged =
            |problem| StateError::Damaged { path: path.clone(), app: self.app.clone(), problem };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(unreadable)?;
        let record: Record =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if record.version != VERSION {
            return Err(damaged(format!("its version is {}, not {VERSION}", record.version)));
        }
        if record.app != self.app {
            return Err(damaged(format!("it is the state of the app {:?}", record.app)));
        }
        Ok(Some(record))
    }

    /// On disk when this returns. Blocks for an fsync of the file and one of the directory.
    pub(crate) fn write(
        &self,
        generation: u64,
        hold: Option<HoldRecord>,
    ) -> Result<(), StateError> {
        if self.is_handed_over.load(Ordering::SeqCst) {
            return Ok(());
        }
        let path = self.path();
        let record = Record { version: VERSION, app: self.app.clone(), generation, hold };
        let written = serde_json::to_vec(&record).map_err(io::Error::from);
        written
            .and_then(|bytes| self.replace(&path, &bytes))
            .map_err(|source| StateError::Write { path, source })
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // One name for all times: what a crash leaves behind is overwritten by the next write.
        let temporary = path.with_extension("json.new");
        let mut options = OpenOptions::new();
        let mut file =
            options.create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(&self.directory)?.sync_all()
    }

    fn path(&self) -> PathBuf {
        self.directory.join(format!("hold-{}.json", self.app))
    }
}

impl HoldRecord {
    pub(crate) fn new(holder: &hold::Holder, lease: Duration) -> Self {
        Self {
            holder: holder.name.clone(),
            reason: holder.reason.clone(),
            lease_ms: millis(lease),
            lease_end_unix_ms: unix_ms().saturating_add(millis(lease)),
        }
    }

    /// Never more than the lease that was granted, whatever the wall clock did meanwhile.
    pub(crate) fn lease_left(&self) -> Duration {
        let left = self.lease_end_unix_ms.saturating_sub(unix_ms());
        Duration::from_millis(left.min(self.lease_ms))
    }
}

/// Whole milliseconds, for files and the wire.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hold::Holder;

    use super::{HoldRecord, StateDir, StateError};

    fn record(lease: Duration) -> HoldRecord {
        let holder = Holder { name: "ann".to_owned(), reason: String::new() };
        HoldRecord::new(&holder, lease)
    }

    #[test]
    fn what_is_written_is_read() {
        let temp = tempfile::tempdir().unwrap();
        let directory = StateDir::open(&temp.path().join("a/b"), None).unwrap();
        let file = directory.file("shop");
        assert_eq!(file.read().unwrap(), None);
        let hold = record(Duration::from_secs(30));
        file.write(7, Some(hold.clone())).unwrap();
        let read = file.read().unwrap().unwrap();
        assert_eq!((read.generation, read.hold), (7, Some(hold)));
    }

    #[test]
    fn h5_a_torn_or_foreign_state_is_refused_and_a_leftover_is_not_read() {
        let temp = tempfile::tempdir().unwrap();
        let directory = StateDir::open(temp.path(), None).unwrap();
        let file = directory.file("shop");
        file.write(7, Some(record(Duration::from_secs(30)))).unwrap();
        let text = std::fs::read(file.path()).unwrap();
        for end in [0, 1, text.len() / 2, text.len() - 1] {
            std::fs::File::create(file.path()).unwrap();
            std::io::Write::write_all(
                &mut std::fs::OpenOptions::new().write(true).open(file.path()).unwrap(),
                &text[..end],
            )
            .unwrap();
            let error = file.read().unwrap_err();
            assert!(matches!(error, StateError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains("hold-shop.json"), "{error}");
        }
        std::fs::rename(file.path(), temp.path().join("hold-blog.json")).unwrap();
        std::fs::File::create(temp.path().join("hold-shop.json.new")).unwrap();
        assert_eq!(file.read().unwrap(), None);
        file.write(8, None).unwrap();
        std::fs::rename(file.path(), temp.path().join("hold-blog.json")).unwrap();
        assert!(matches!(directory.file("blog").read(), Err(StateError::Damaged { .. })));
    }

    #[test]
    fn the_rest_of_a_lease_is_never_more_than_the_lease() {
        let mut record = record(Duration::from_secs(30));
        assert!(record.lease_left() > Duration::from_secs(20));
        record.lease_end_unix_ms += 1_000_000;
        assert_eq!(record.lease_left(), Duration::from_secs(30));
        record.lease_end_unix_ms = 1;
        assert_eq!(record.lease_left(), Duration::ZERO);
    }

    #[test]
    fn two_gates_do_not_share_a_directory() {
        let temp = tempfile::tempdir().unwrap();
        let first = StateDir::open(temp.path(), None).unwrap();
        assert!(matches!(StateDir::open(temp.path(), None), Err(StateError::InUse { .. })));
        drop(first);
        StateDir::open(temp.path(), None).unwrap();
    }
}
