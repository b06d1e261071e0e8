//! The admin socket: for its owner only, and never taken away from a gate that serves it.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Read and write for the owner: whoever can connect can hold every app.
const SOCKET_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o755;

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error(
        "another gate is serving the admin socket {}: stop it, or set gate.admin_socket", path.display()
    )]
    InUse { path: PathBuf },
    #[error("{} (gate.admin_socket) is not a socket: remove it, or name another path", path.display())]
    NotASocket { path: PathBuf },
    #[error("cannot create the admin socket {} (gate.admin_socket)", path.display())]
    Create {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The bound socket; its file is removed when this is dropped.
#[derive(Debug)]
pub(super) struct AdminSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    pub(super) fn bind(path: &Path) -> Result<Self, SocketError> {
        let create = |source| SocketError::Create { path: path.to_path_buf(), source };
        if let Some(directory) = path.parent() {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(DIRECTORY_MODE).create(directory).map_err(create)?;
        }
        ensure_unused(path)?;
        // Under a name of its own until its mode is right; the rename replaces a dead socket.
        let mut own_name = path.as_os_str().to_owned();
        own_name.push(format!(".{}", std::process::id()));
        let own_path = PathBuf::from(own_name);
        match std::fs::remove_file(&own_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(create(error)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&own_path).map_err(create)?;
        std::fs::set_permissions(&own_path, Permissions::from_mode(SOCKET_MODE)).map_err(create)?;
        std::fs::rename(&own_path, path).map_err(create)?;
        Ok(Self { listener, path: path.to_path_buf() })
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "admin socket not removed");
        }
    }
}

fn ensure_unused(path: &Path) -> Result<(), SocketError> {
    let path = path.to_path_buf();
    match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(SocketError::Create { path, source }),
        Ok(metadata) if !is_socket(&metadata) => return Err(SocketError::NotASocket { path }),
        Ok(_) => {}
    }
    match UnixStream::connect(&path) {
        Ok(_) => Err(SocketError::InUse { path }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(source) => Err(SocketError::Create { path, source }),
    }
}

fn is_socket(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type())
}
