//! The admin socket: for its owner, and a group if one is configured; never taken away from a gate that serves it.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::unistd::Group;
use tokio::net::{UnixListener, UnixSocket};

use crate::config::gate::SocketGroup;
use crate::gate::Inherited;

/// Read and write for the owner: whoever can connect can hold every app.
const SOCKET_MODE: u32 = 0o600;
/// For the group, too.
const SOCKET_MODE_WITH_GROUP: u32 = 0o660;
const DIRECTORY_MODE: u32 = 0o755;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

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
    #[error(
        "gate.admin_socket_group: there is no group {name:?} on this machine: create it, or correct the name"
    )]
    NoGroup { name: String },
    #[error("gate.admin_socket_group: cannot look for the group {name:?}")]
    GroupUnknown {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "gate.admin_socket_group: cannot give the admin socket {} to the group {group}: the user that the gate runs as must be in it",
        path.display()
    )]
    GiveToGroup {
        path: PathBuf,
        group: SocketGroup,
        #[source]
        source: io::Error,
    },
}

/// The bound socket; its file is removed when this is dropped.
#[derive(Debug)]
pub(super) struct AdminSocket {
    pub(super) listener: UnixListener,
    /// Of the file to remove.
    path: Option<PathBuf>,
}

impl AdminSocket {
    /// An `inherited` one is whose it is: it has the mode that it was given, and its file stays.
    pub(super) fn bind(
        path: &Path,
        group: Option<&SocketGroup>,
        inherited: &mut Inherited,
    ) -> Result<Self, SocketError> {
        let create = |source| SocketError::Create { path: path.to_path_buf(), source };
        if let Some(socket) = inherited.take_unix(path) {
            let listener = UnixListener::from_std(socket).map_err(create)?;
            let path = inherited.removes_file().then(|| path.to_path_buf());
            return Ok(Self { listener, path });
        }
        let id = group.map(group_id).transpose()?;
        if let Some(directory) = path.parent() {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(DIRECTORY_MODE).create(directory).map_err(create)?;
        }
        ensure_unused(path)?;
        // Under a name of its own until it is ready; the rename replaces a dead socket.
        let mut own_name = path.as_os_str().to_owned();
        own_name.push(format!(".{}", std::process::id()));
        let own_path = PathBuf::from(own_name);
        match std::fs::remove_file(&own_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(create(error)),
            Ok(()) | Err(_) => {}
        }
        let socket = UnixSocket::new_stream().map_err(create)?;
        socket.bind(&own_path).map_err(create)?;
        let ready = give(&own_path, id).map_err(|source| match group {
            Some(group) => {
                SocketError::GiveToGroup { path: path.to_path_buf(), group: group.clone(), source }
            }
            None => create(source),
        });
        // Only now can anybody connect: nobody who may not later.
        let ready = ready.and_then(|()| socket.listen(BACKLOG).map_err(create));
        let placed = ready.and_then(|listener| {
            std::fs::rename(&own_path, path).map_err(create)?;
            Ok(Self { listener, path: Some(path.to_path_buf()) })
        });
        placed.inspect_err(|_| drop(std::fs::remove_file(&own_path)))
    }
}

impl AdminSocket {
    /// Once more, to be given away.
    pub(super) fn share(&self) -> io::Result<std::os::unix::net::UnixListener> {
        Ok(self.listener.as_fd().try_clone_to_owned()?.into())
    }

    pub(super) const fn removes_file(&self) -> bool {
        self.path.is_some()
    }

    /// Whoever it was given to removes its file.
    pub(super) fn leave_file(&mut self) {
        self.path = None;
    }
}

/// The file at `path` is its owner's, and `group`'s if there is one.
fn give(path: &Path, group: Option<u32>) -> io::Result<()> {
    let Some(group) = group else {
        return std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE));
    };
    std::os::unix::fs::chown(path, None, Some(group))?;
    std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE_WITH_GROUP))
}

/// Asks the operating system for a name's number.
fn group_id(group: &SocketGroup) -> Result<u32, SocketError> {
    let name = match group {
        SocketGroup::Number(id) => return Ok(*id),
        SocketGroup::Name(name) => name.clone(),
    };
    match Group::from_name(&name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(SocketError::NoGroup { name }),
        Err(errno) => Err(SocketError::GroupUnknown { name, source: errno.into() }),
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let Some(path) = &self.path else { return };
        if let Err(error) = std::fs::remove_file(path) {
            tracing::debug!(%error, path = %path.display(), "admin socket not removed");
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
