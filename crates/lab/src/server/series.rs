//! The servers there are, and where their programs are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use super::ServerError;

/// What a server understands: the two differ in dialect and options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavor {
    MariaDb,
    MySql,
}

/// Which server is started: programs and set-up of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Series {
    /// The machine's own; 10.11 on Debian 12.
    MariaDb,
    MariaDb118,
    MySql,
}

impl Series {
    pub const ALL: [Self; 3] = [Self::MariaDb, Self::MariaDb118, Self::MySql];

    #[must_use]
    pub const fn flavor(self) -> Flavor {
        match self {
            Self::MariaDb | Self::MariaDb118 => Flavor::MariaDb,
            Self::MySql => Flavor::MySql,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::MariaDb => "mariadb",
            Self::MariaDb118 => "mariadb-11.8",
            Self::MySql => "mysql",
        }
    }

    /// What `scripts/servers` unpacked of it below the lab folder; none for the machine's own.
    pub(super) fn tree(self, lab: &Path) -> Option<PathBuf> {
        match self {
            Self::MariaDb => None,
            Self::MariaDb118 | Self::MySql => Some(lab.join(self.name())),
        }
    }

    pub(super) fn program(self, lab: &Path) -> Result<PathBuf, ServerError> {
        let below = |name: &str| Some(lab.join("bin").join(name)).filter(|path| path.is_file());
        let found = match self {
            Self::MariaDb => find_program("mariadbd"),
            Self::MariaDb118 => below("mariadbd-11.8"),
            Self::MySql => below("mysqld"),
        };
        found.ok_or_else(|| ServerError::NotInstalled { series: self, lab: lab.to_owned() })
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

/// The usual one of a flavor.
impl From<Flavor> for Series {
    fn from(flavor: Flavor) -> Self {
        match flavor {
            Flavor::MariaDb => Self::MariaDb,
            Flavor::MySql => Self::MySql,
        }
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

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which servers a command is to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SeriesChoice {
    #[value(name = "mariadb")]
    MariaDb,
    #[value(name = "mariadb-11.8")]
    MariaDb118,
    #[value(name = "mysql")]
    MySql,
    /// `mariadb` and `mysql`.
    Both,
}

impl SeriesChoice {
    #[must_use]
    pub fn series(self) -> &'static [Series] {
        match self {
            Self::MariaDb => &[Series::MariaDb],
            Self::MariaDb118 => &[Series::MariaDb118],
            Self::MySql => &[Series::MySql],
            Self::Both => &[Series::MariaDb, Series::MySql],
        }
    }
}

/// A word that names no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no server: say mariadb, mariadb-11.8 or mysql")]
pub struct UnknownSeries(String);

impl FromStr for Series {
    type Err = UnknownSeries;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|series| series.name() == word);
        named.ok_or_else(|| UnknownSeries(word.to_owned()))
    }
}
