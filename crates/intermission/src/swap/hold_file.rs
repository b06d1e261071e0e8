//! A file whose presence tells a web server to hold its requests: how the scripts of 2012 did it.
//!
//! Nobody acknowledges it and nothing ends it but its removal. A gate does both; this is for who has none.

use std::{io, path::PathBuf, time::Duration};

use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

use super::{
    gates::{GateError, Gates, Users},
    refusal::{Code, Refusal},
};

/// How long a web server may take to notice the file: what the scripts waited.
const NOTICED_WITHIN: Duration = Duration::from_secs(1);
/// The longest name of a holder that is read back, bytes.
const HOLDER_MAX: u64 = 256;

/// A hold by a file.
#[derive(Debug)]
pub struct HoldFile {
    path: PathBuf,
}

impl HoldFile {
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn error(&self, doing: &str, reason: impl Into<String>) -> GateError {
        let gate = format!("hold file {}", self.path.display());
        GateError { gate, doing: doing.to_owned(), reason: reason.into() }
    }

    /// Who made the file, if it is there.
    async fn holder(&self) -> io::Result<Option<String>> {
        let file = match tokio::fs::File::open(&self.path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        file.take(HOLDER_MAX).read_to_end(&mut text).await?;
        Ok(Some(String::from_utf8_lossy(&text).trim().to_owned()))
    }
}

#[async_trait]
impl Gates for HoldFile {
    async fn preflight(&self) -> Vec<Refusal> {
        let path = self.path.display();
        match self.holder().await {
            Ok(None) => Vec::new(),
            Ok(Some(holder)) => vec![Refusal::new(
                Code::AlreadyHeld,
                format!("the hold file {path} is there already, made by {holder:?}"),
                format!("find out who holds the requests; then: rm {path}"),
            )],
            Err(error) => vec![Refusal::new(
                Code::GateUnreachable,
                format!("the hold file {path} cannot be looked for: {error}"),
                "correct swap.hold_file",
            )],
        }
    }

    async fn hold(&self, holder: &str, _: Duration, _: Duration) -> Result<(), GateError> {
        let mut options = tokio::fs::OpenOptions::new();
        let made = async {
            let mut file = options.write(true).create_new(true).open(&self.path).await?;
            file.write_all(holder.as_bytes()).await?;
            file.flush().await
        };
        if let Err(error) = made.await {
            let reason = match self.holder().await {
                Ok(Some(other)) if other != holder => format!("{other:?} made it already"),
                _ => error.to_string(),
            };
            return Err(self.error("make it", reason));
        }
        sleep(NOTICED_WITHIN).await;
        Ok(())
    }

    async fn renew(&self, _: &str, _: Duration) -> Result<(), GateError> {
        Ok(())
    }

    async fn release(&self, holder: &str) -> Result<(), GateError> {
        let found = self.holder().await;
        match found.map_err(|error| self.error("look whose it is", error.to_string()))? {
            Some(found) if found == holder => tokio::fs::remove_file(&self.path)
                .await
                .map_err(|error| self.error("remove it", error.to_string())),
            // Nobody's, or somebody else's.
            Some(_) | None => Ok(()),
        }
    }

    async fn answered(&self, _: &str) -> Result<bool, GateError> {
        Ok(true)
    }

    async fn users(&self, _: &str) -> Result<Users, GateError> {
        Ok(Users::default())
    }

    fn commands_to_release(&self) -> Vec<String> {
        vec![format!("rm -f {}", self.path.display())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_file_is_there_while_held_and_only_its_maker_removes_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("hold");
        let file = HoldFile::new(path.clone());
        let (lease, drain) = (Duration::from_secs(1), Duration::from_secs(1));
        assert!(file.preflight().await.is_empty());
        file.hold("swap 1", lease, drain).await.expect("held");
        assert!(path.exists());
        assert_eq!(file.preflight().await[0].code, Code::AlreadyHeld);
        let error = file.hold("swap 2", lease, drain).await.expect_err("held by another");
        assert!(error.to_string().contains("swap 1"), "{error}");
        file.release("swap 2").await.expect("not his");
        assert!(path.exists());
        file.release("swap 1").await.expect("released");
        file.release("swap 1").await.expect("released already");
        assert!(!path.exists());
        let nowhere = HoldFile::new(dir.path().join("nowhere/hold"));
        let error = nowhere.hold("swap 1", lease, drain).await.expect_err("no such folder");
        assert!(error.to_string().contains("nowhere/hold"), "{error}");
    }
}
