//! A password: from the file, an environment variable or a file of its own, and never shown.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, Serializer};

/// The largest secret file read, in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// Text that no log, error, journal or debug output ever shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the server's login and nothing else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// An account: a user and exactly one of the three ways to give its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountSource {
    pub user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<Password>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password_file: Option<PathBuf>,
}

/// A password written in the file. Neither `Debug` nor `config check` shows it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Password(pub(super) String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// A user and its password.
#[derive(Debug, Clone)]
pub struct Account {
    pub user: String,
    pub password: Secret,
}

/// Why a password or a token cannot be had. `key` is the configuration's.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error(
        "{key}: no password: give exactly one of `password`, `password_env` or `password_file`"
    )]
    Missing { key: String },
    #[error(
        "{key}: several passwords: give exactly one of `password`, `password_env` or `password_file`"
    )]
    Several { key: String },
    #[error("{key}: the environment variable {variable} is not set")]
    Variable { key: String, variable: String },
    #[error("{key}: cannot read {}", path.display())]
    File { key: String, path: PathBuf, source: std::io::Error },
    #[error("{key}: {} is larger than {FILE_MAX} bytes: is it the right file?", path.display())]
    TooLarge { key: String, path: PathBuf },
}

impl AccountSource {
    /// With the password itself.
    pub(super) fn plain(user: &str, password: Option<Password>) -> Self {
        Self { user: user.to_owned(), password, password_env: None, password_file: None }
    }

    /// Finds the password. `key` names the section in errors.
    ///
    /// # Errors
    /// [`SecretError`] names the key, the variable or the file.
    pub fn resolve(&self, key: &str) -> Result<Account, SecretError> {
        let key = key.to_owned();
        let password = match (&self.password, &self.password_env, &self.password_file) {
            (Some(plain), None, None) => plain.0.clone(),
            (None, Some(variable), None) => variable_of(format!("{key}.password_env"), variable)?,
            (None, None, Some(path)) => read_first_line(format!("{key}.password_file"), path)?,
            (None, None, None) => return Err(SecretError::Missing { key }),
            _ => return Err(SecretError::Several { key }),
        };
        Ok(Account { user: self.user.clone(), password: Secret::new(password) })
    }
}

pub(super) fn variable_of(key: String, variable: &str) -> Result<String, SecretError> {
    let unset = |_| SecretError::Variable { key, variable: variable.to_owned() };
    std::env::var(variable).map_err(unset)
}

pub(super) fn read_first_line(key: String, path: &Path) -> Result<String, SecretError> {
    let unreadable = |key, source| SecretError::File { key, path: path.to_owned(), source };
    let length = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(source) => return Err(unreadable(key, source)),
    };
    if length > FILE_MAX {
        return Err(SecretError::TooLarge { key, path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path).map_err(|source| unreadable(key, source))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{AccountSource, Secret};

    fn account(toml: &str) -> AccountSource {
        toml::from_str(toml).expect("parses")
    }

    #[test]
    fn a_password_never_shows() {
        let source = account("user = 'a'\npassword = 'hunter2'");
        let resolved = source.resolve("cluster").expect("resolves");
        assert_eq!(resolved.password.reveal(), "hunter2");
        let printed = toml::to_string(&source).expect("prints");
        for text in [format!("{source:?}"), format!("{resolved:?}"), printed] {
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert_eq!(format!("{:?}", Secret::new("x")), "Secret(***)");
    }

    #[test]
    fn exactly_one_way_is_accepted() {
        let none = account("user = 'a'").resolve("cluster").expect_err("no password");
        assert!(none.to_string().starts_with("cluster: no password"), "{none}");
        let two = account("user = 'a'\npassword = 'x'\npassword_env = 'Y'");
        assert!(two.resolve("cluster").is_err());
        let unset = account("user = 'a'\npassword_env = 'INTERMISSION_TEST_UNSET'");
        let unset = unset.resolve("cluster").expect_err("not set");
        assert!(unset.to_string().contains("INTERMISSION_TEST_UNSET"), "{unset}");
    }

    #[test]
    fn a_file_gives_its_first_line() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::io::Write::write_all(&mut file.as_file(), b"pw with space\nnot this\n")
            .expect("writes");
        let text = format!("user = 'a'\npassword_file = {:?}", file.path());
        let account = account(&text).resolve("cluster").expect("resolves");
        assert_eq!(account.password.reveal(), "pw with space");
    }
}
