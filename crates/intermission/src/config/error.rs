//! What can be wrong with a configuration file. Never quotes a line: a line may hold a password.

use std::path::{Path, PathBuf};

use super::{DEFAULT_PATHS, Fault};

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "no configuration file: neither {} nor {} exists; write one (see examples/intermission.toml) \
         or name it with -c FILE", DEFAULT_PATHS[0], DEFAULT_PATHS[1]
    )]
    NotFound,
    #[error("cannot read the configuration file {} ({})", path.display(), mend_of(source))]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is larger than {bytes_max} bytes: is it a configuration file?", path.display())]
    TooLarge { path: PathBuf, bytes_max: u64 },
    #[error("{}:{line}: {}{message}", path.display(), key.as_ref().map(|key| format!("`{key}`: ")).unwrap_or_default())]
    Parse { path: PathBuf, line: usize, key: Option<String>, message: String },
    #[error("{}: `{}`: {}; {}", path.display(), fault.key, fault.problem, fault.mend)]
    Invalid { path: PathBuf, fault: Fault },
}

/// What is to be done about a file that cannot be read.
fn mend_of(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    if error.kind() == NotFound {
        "write it as examples/intermission.toml shows, or name another with -c FILE"
    } else if error.kind() == PermissionDenied {
        "run this as a user who may read it"
    } else {
        "name another with -c FILE"
    }
}

impl ConfigError {
    /// `toml`'s own rendering quotes the offending line, so only its message and position are kept.
    pub(super) fn parse(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let offset = error.span().map_or(0, |span| span.start);
        let before = text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let key = text.lines().nth(line - 1).and_then(key_of).map(str::to_owned);
        let message = error.message().replace('\n', " ");
        Self::Parse { path: path.to_path_buf(), line, key, message }
    }
}

/// The key (or the section) a line of TOML begins with.
fn key_of(line: &str) -> Option<&str> {
    let line = line.trim();
    if line.starts_with('[') {
        return line.split(['#', '=']).next().map(str::trim);
    }
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.\"".contains(c);
    (!key.is_empty() && key.chars().all(plain)).then_some(key)
}
