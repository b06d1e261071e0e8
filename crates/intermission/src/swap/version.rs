//! A server's version: which series it is of, and which words it knows.

use super::observation::Flavor;

/// The oldest MySQL whose words are used here: `log_replica_updates` is of 8.0.26 (MySQL 8.0 release notes).
const OLDEST_MYSQL: Version = Version::new(8, 0, 26);
/// The oldest MariaDB that is maintained and has each privilege a swap needs (they are of 10.5.2).
const OLDEST_MARIADB: Version = Version::new(10, 6, 0);
/// `SHOW BINARY LOG STATUS` (MySQL 8.4 manual, "What Is New": `SHOW MASTER STATUS` was removed there).
const MYSQL_BINARY_LOG_STATUS: Version = Version::new(8, 2, 0);
/// The first MariaDB that verifies a certificate its source made for itself, by the password both know (MariaDB manual,
/// "Zero-Configuration SSL"). 11.8 does and 10.11 does not (measured).
const MARIADB_TRUSTS_BY_PASSWORD: Version = Version::new(11, 4, 0);
/// The first MariaDB whose SUPER does not include READ_ONLY ADMIN (MariaDB manual, "GRANT").
const MARIADB_SUPER_IS_READ_ONLY: Version = Version::new(10, 11, 0);
/// What old clients were told before MariaDB's own version, so that they believed in a replica.
const MARIADB_DISGUISE: &str = "5.5.5-";

/// Three numbers; what follows them (`-log`, `-MariaDB-…`, `-28`) says nothing of the series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u16,
    minor: u16,
    patch: u16,
}

impl Version {
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// `@@version`; none where it does not begin with two numbers.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix(MARIADB_DISGUISE).unwrap_or(text);
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut numbers = text.get(..end)?.split('.');
        let (major, minor) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        // A cloud's own numbering may have no third number.
        let patch = numbers.next().and_then(|patch| patch.parse().ok()).unwrap_or(0);
        Some(Self { major, minor, patch })
    }

    /// What the vendors mean when they say who may replicate from whom.
    #[must_use]
    pub const fn series(self) -> (u16, u16) {
        (self.major, self.minor)
    }

    /// The oldest version this program knows the words of.
    #[must_use]
    pub const fn oldest(flavor: Flavor) -> Self {
        match flavor {
            Flavor::MariaDb => OLDEST_MARIADB,
            Flavor::MySql => OLDEST_MYSQL,
        }
    }

    /// Whether it verifies a certificate that its source made for itself; of MariaDB.
    #[must_use]
    pub fn trusts_by_password(self) -> bool {
        self >= MARIADB_TRUSTS_BY_PASSWORD
    }

    /// Whether SUPER alone does not write where `read_only` is on; of MariaDB.
    #[must_use]
    pub fn parts_super_from_read_only(self) -> bool {
        self >= MARIADB_SUPER_IS_READ_ONLY
    }

    /// Whether it knows `SHOW BINARY LOG STATUS`; of MySQL.
    #[must_use]
    pub fn has_binary_log_status(self) -> bool {
        self >= MYSQL_BINARY_LOG_STATUS
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_whatever_follows_them() {
        for (text, version) in [
            ("8.0.36", Version::new(8, 0, 36)),
            ("8.0.36-28-log", Version::new(8, 0, 36)),
            ("8.0.36-0ubuntu0.22.04.1", Version::new(8, 0, 36)),
            ("8.4.0-log", Version::new(8, 4, 0)),
            ("9.7.4", Version::new(9, 7, 4)),
            ("10.6.18-MariaDB-log", Version::new(10, 6, 18)),
            ("10.11.19-MariaDB-0+deb12u1", Version::new(10, 11, 19)),
            ("11.8.6-MariaDB-0+deb13u1-log", Version::new(11, 8, 6)),
            ("5.5.5-10.6.12-MariaDB", Version::new(10, 6, 12)),
            ("8.0.mysql_aurora.3.05.2", Version::new(8, 0, 0)),
            ("5.5.68", Version::new(5, 5, 68)),
        ] {
            assert_eq!(Version::parse(text), Some(version), "{text}");
        }
        for garbage in ["", "test", "1", "MariaDB", "-8.0", "8", "8.", "99999999.1.1", "v8.0.1"] {
            assert_eq!(Version::parse(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let version = |text| Version::parse(text).expect("a version");
        assert!(version("10.11.1").series() > version("10.6.99").series());
        assert!(version("9.7.0").series() > version("8.4.9").series());
        assert_eq!(version("8.0.26").series(), version("8.0.40").series());
        assert!(!version("8.0.40").has_binary_log_status());
        assert!(!version("8.1.0").has_binary_log_status());
        assert!(version("8.2.0").has_binary_log_status());
        assert!(version("9.7.4").has_binary_log_status());
        assert!(!version("10.6.18-MariaDB").parts_super_from_read_only());
        assert!(version("10.11.1-MariaDB").parts_super_from_read_only());
    }
}
