//! Pages of the operator's own for the answers that the gate gives itself: `503.html` and the like in one directory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::StatusCode;

/// People wait for it, and it is kept in memory.
const PAGE_BYTES_MAX: u64 = 1024 * 1024;
const EXTENSION: &str = "html";

#[derive(Debug, thiserror::Error)]
pub enum ErrorPageError {
    #[error("{key}: cannot read {}", path.display())]
    Unreadable {
        key: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{key}: {} is larger than {PAGE_BYTES_MAX} bytes", path.display())]
    TooLarge { key: String, path: PathBuf },
    #[error("{key}: {} has no page in it: name them by status, for example 503.html", path.display())]
    Empty { key: String, path: PathBuf },
}

/// By status.
#[derive(Debug, Default)]
pub(crate) struct ErrorPages(HashMap<StatusCode, Bytes>);

impl ErrorPages {
    /// Every page in `directory`; none where there is no directory. `key` names it in errors.
    ///
    /// # Errors
    /// A page cannot be read, or there is none.
    pub(crate) fn load(key: &str, directory: Option<&Path>) -> Result<Self, ErrorPageError> {
        let Some(directory) = directory else { return Ok(Self::default()) };
        let unreadable = |path: &Path, source| {
            let (key, path) = (key.to_owned(), path.to_owned());
            ErrorPageError::Unreadable { key, path, source }
        };
        let entries = std::fs::read_dir(directory).map_err(|error| unreadable(directory, error))?;
        let mut pages = HashMap::new();
        for entry in entries {
            let path = entry.map_err(|error| unreadable(directory, error))?.path();
            let Some(status) = status_of(&path) else { continue };
            let file = File::open(&path).map_err(|error| unreadable(&path, error))?;
            let mut bytes = Vec::new();
            let read = file.take(PAGE_BYTES_MAX + 1).read_to_end(&mut bytes);
            read.map_err(|error| unreadable(&path, error))?;
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > PAGE_BYTES_MAX {
                return Err(ErrorPageError::TooLarge { key: key.to_owned(), path });
            }
            pages.insert(status, bytes.into());
        }
        if pages.is_empty() {
            let path = directory.to_path_buf();
            return Err(ErrorPageError::Empty { key: key.to_owned(), path });
        }
        Ok(Self(pages))
    }

    pub(crate) fn get(&self, status: StatusCode) -> Option<Bytes> {
        self.0.get(&status).cloned()
    }
}

/// Of `…/503.html`.
fn status_of(path: &Path) -> Option<StatusCode> {
    let is_page = path.extension().is_some_and(|extension| extension == EXTENSION);
    let name = path.file_stem().filter(|_| is_page)?.to_str()?;
    name.parse().ok()
}
