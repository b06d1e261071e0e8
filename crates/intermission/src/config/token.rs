//! The token of the admin API over TCP: from an environment variable or a file of its own, never from the configuration.

use std::path::Path;

use super::{
    Fault,
    secret::{Secret, SecretError, read_first_line, variable_of},
};

/// `openssl rand -hex 32` gives 64: whoever has the token can hold every app.
const LENGTH_MIN: usize = 32;
/// It is sent in the head of every call.
const LENGTH_MAX: usize = 512;
const MAKE_ONE: &str = "make one: openssl rand -hex 32";

/// Why a token cannot be used. Never quotes it.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(
        "{key}: the token has {length} characters, and needs {LENGTH_MIN} to {LENGTH_MAX}; {MAKE_ONE}"
    )]
    Length { key: String, length: usize },
    #[error("{key}: the token has characters beyond A-Z, a-z, 0-9 and -._~+/=; {MAKE_ONE}")]
    Characters { key: String },
    #[error(
        "{key} and {other} are the same: whoever has the one could do what the other is for; {MAKE_ONE}"
    )]
    Same { key: String, other: String },
}

/// Whether the token is given; in one of the two ways at most.
pub(super) fn check(key: &str, env: Option<&str>, file: Option<&Path>) -> Result<bool, Fault> {
    if env.is_some() && file.is_some() {
        let mend = format!("write either {key}_file or {key}_env; {MAKE_ONE}");
        return Err(Fault::new(key, "is given twice", mend));
    }
    Ok(env.is_some() || file.is_some())
}

/// `instead` says what else would do.
pub(super) fn missing(key: &str, instead: &str) -> Fault {
    let problem = "is not given: TCP needs a token or a client's certificate";
    Fault::new(key, problem, format!("write {key}_file or {key}_env, {instead}; {MAKE_ONE}"))
}

/// Finds the token whose keys begin with `key`, if one is given; the white space around it is not part of it.
pub(super) fn resolve(
    key: &str,
    env: Option<&str>,
    file: Option<&Path>,
) -> Result<Option<Secret>, TokenError> {
    let (key, text) = match (env, file) {
        (Some(variable), _) => {
            let key = format!("{key}_env");
            (key.clone(), variable_of(key, variable)?)
        }
        (None, Some(path)) => {
            let key = format!("{key}_file");
            (key.clone(), read_first_line(key, path)?)
        }
        (None, None) => return Ok(None),
    };
    let token = text.trim();
    if !(LENGTH_MIN..=LENGTH_MAX).contains(&token.len()) {
        return Err(TokenError::Length { key, length: token.len() });
    }
    // RFC 6750, 2.1.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    if !token.chars().all(plain) {
        return Err(TokenError::Characters { key });
    }
    Ok(Some(Secret::new(token)))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::resolve;

    fn of(text: &str) -> Result<String, String> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("writes");
        match resolve("gate.admin_token", None, Some(file.path())) {
            Ok(token) => Ok(token.expect("is given").reveal().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_token_is_long_and_plain_and_no_error_shows_it() {
        let good = "0123456789abcdef".repeat(4);
        assert_eq!(of(&format!("{good} \r\nmore\n")), Ok(good.clone()));
        for (text, why) in [
            (String::new(), "has 0 characters"),
            ("x".repeat(31), "has 31 characters"),
            (good.repeat(9), "has 576 characters"),
            (format!("{good} {good}"), "has characters beyond"),
            (format!("{good}\u{e9}"), "has characters beyond"),
        ] {
            let error = of(&text).unwrap_err();
            assert!(error.starts_with("gate.admin_token_file: the token "), "{error}");
            assert!(error.contains(why) && error.contains("openssl rand -hex 32"), "{error}");
            assert!(text.is_empty() || !error.contains(&text), "{error}");
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let unset = resolve("gate.admin_token", Some("INTERMISSION_TEST_UNSET"), None);
        assert_eq!(
            unset.unwrap_err().to_string(),
            "gate.admin_token_env: the environment variable INTERMISSION_TEST_UNSET is not set"
        );
        let missing = resolve("swap.gates[1].token", None, Some("/nonexistent/token".as_ref()));
        assert_eq!(
            missing.unwrap_err().to_string(),
            "swap.gates[1].token_file: cannot read /nonexistent/token"
        );
    }
}
