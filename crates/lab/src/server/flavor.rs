//! The two kinds of server, and where their programs are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use super::ServerError;

/// Which server: the two differ in dialect, set-up and options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavor {
    MariaDb,
    MySql,
}

impl Flavor {
    pub const ALL: [Self; 2] = [Self::MariaDb, Self::MySql];

    /// The server program: `MariaDB` from the machine's packages, `MySQL` from below the lab folder.
    pub(super) fn program(self, lab: &Path) -> Result<PathBuf, ServerError> {
        let found = match self {
            Self::MariaDb => find_program("mariadbd"),
            Self::MySql => Some(lab.join("bin/mysqld")).filter(|path| path.is_file()),
        };
        found.ok_or_else(|| ServerError::NotInstalled { flavor: self, lab: lab.to_owned() })
    }

    /// The first version number the program prints, such as `10.11.19`.
    pub(super) fn version(self, program: &Path) -> Result<String, ServerError> {
        let run = || ServerError::Program { program: program.to_owned() };
        let output = Command::new(program)
            .args(["--no-defaults", "--version"])
            .output()
            .map_err(|source| ServerError::Io { what: run().to_string(), source })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, after) = text.split_once("Ver ").ok_or_else(run)?;
        let version: String =
            after.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        if version.is_empty() { Err(run()) } else { Ok(version) }
    }
}

/// Looks in `PATH` and where Debian keeps servers, which is not in everybody's `PATH`.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MariaDb => "mariadb",
            Self::MySql => "mysql",
        })
    }
}

/// A word that names no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no server: say mariadb or mysql")]
pub struct UnknownFlavor(String);

impl FromStr for Flavor {
    type Err = UnknownFlavor;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "mariadb" => Ok(Self::MariaDb),
            "mysql" => Ok(Self::MySql),
            other => Err(UnknownFlavor(other.to_owned())),
        }
    }
}
