//! The lab folder: what `scripts/servers` unpacked, the templates and the running servers' data.

use std::io;
use std::path::{Path, PathBuf};

/// Names another lab folder than `.lab` in the repository, for `scripts/servers` too.
pub const LAB_DIR_VARIABLE: &str = "INTERMISSION_LAB_DIR";

/// The lab folder, which may not exist yet.
pub fn lab_dir() -> PathBuf {
    match std::env::var_os(LAB_DIR_VARIABLE) {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.lab"),
    }
}

/// The lab folder as an absolute path without links, made when it is missing.
pub(super) fn ensure_lab_dir() -> io::Result<PathBuf> {
    let folder = lab_dir();
    std::fs::create_dir_all(&folder)?;
    folder.canonicalize()
}
