//! A time of day that can be set for some processes: what a correction by NTP or by hand does to a machine.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::server::folder::ensure_lab_dir;

const SOURCE: &str = include_str!("clock.c");
const LIBRARY: &str = "clock.so";
const OFFSET: &str = "offset";

/// The clock of whoever is started with [`Clock::environment`]. Other clocks than that on the wall go on as they do.
#[derive(Debug)]
pub struct Clock {
    folder: TempDir,
    offset: File,
}

impl Clock {
    /// Right, until it is set. Compiles what stands between its processes and the kernel, with `cc`.
    ///
    /// # Errors
    /// There is no compiler, or no room.
    pub fn new() -> io::Result<Self> {
        let run = ensure_lab_dir()?.join("run");
        std::fs::create_dir_all(&run)?;
        let folder = tempfile::Builder::new().prefix("c").rand_bytes(8).tempdir_in(&run)?;
        let offset = File::create(folder.path().join(OFFSET))?;
        let source = folder.path().join("clock.c");
        File::create(&source)?.write_all_at(SOURCE.as_bytes(), 0)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(folder.path().join(LIBRARY));
        let compiled = compiler.arg(&source).output()?;
        if !compiled.status.success() {
            let said = String::from_utf8_lossy(&compiled.stderr).into_owned();
            return Err(io::Error::other(format!("cannot compile clock.c: {said}")));
        }
        let clock = Self { folder, offset };
        clock.set(0)?;
        Ok(clock)
    }

    /// So many seconds ahead of what is right, or behind it, from now on.
    ///
    /// # Errors
    /// The file that its processes look at cannot be written.
    pub fn set(&self, seconds: i64) -> io::Result<()> {
        self.offset.write_all_at(&seconds.to_ne_bytes(), 0)
    }

    /// For whoever is to have this clock.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let path = |name| Path::display(&self.folder.path().join(name)).to_string();
        [("LD_PRELOAD", path(LIBRARY)), ("LAB_CLOCK", path(OFFSET))]
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::Clock;

    #[test]
    fn another_process_has_the_time_that_is_set() {
        let clock = Clock::new().unwrap();
        for ahead in [0, 3600, -3600] {
            clock.set(ahead).unwrap();
            let mut date = Command::new("date");
            let said = date.arg("+%s").envs(clock.environment()).output().unwrap().stdout;
            let said: i64 = String::from_utf8(said).unwrap().trim().parse().unwrap();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let off = said - now.cast_signed() - ahead;
            assert!((-60..=60).contains(&off), "{ahead}: off by {off} s");
        }
    }
}
