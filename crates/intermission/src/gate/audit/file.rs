//! The file behind the audit log: only ever appended to, and opened anew when it was moved away.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Names and reasons are nobody else's business.
const MODE: u32 = 0o600;

#[derive(Debug)]
pub(super) struct AuditFile {
    file: File,
    /// Which file it is: its device and number.
    id: (u64, u64),
    /// The last line has no end.
    torn: bool,
}

impl AuditFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // A pipe that nobody reads is an error then, where it would block for ever.
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits());
        let nonblocking = nonblocking.map_err(io::Error::other)?;
        let mut options = OpenOptions::new();
        let options = options.create(true).append(true).mode(MODE).custom_flags(nonblocking);
        let opened = Self::of(options.open(path)?)?;
        if opened.file.metadata()?.is_file() {
            return Ok(opened);
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
    }

    pub(super) fn of(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { file, id: (metadata.dev(), metadata.ino()), torn: false })
    }

    /// So that a file which logrotate or a person has moved is not written to any more.
    pub(super) fn reopen_if_moved(&mut self, path: &Path) -> io::Result<()> {
        let there = std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
        if there.is_ok_and(|id| id == self.id) {
            return Ok(());
        }
        *self = Self::open(path)?;
        Ok(())
    }

    /// `line` has its end. What was written of a line before that failed is ended first.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
        }
        self.torn = true;
        self.file.write_all(line)?;
        self.torn = false;
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
