//! Sockets that were listening before this process began: given by systemd, or by the gate that it takes over from. Whoever
//! connects meanwhile waits in their queues and is not refused.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use listenfd::ListenFd;

use super::predecessor::Predecessor;

#[derive(Debug, thiserror::Error)]
pub enum InheritedError {
    #[error(
        "socket {number} that systemd passed is none to listen on with TCP or as a unix socket: correct its ListenStream"
    )]
    Kind {
        number: usize,
        #[source]
        source: io::Error,
    },
    #[error("socket {number} that systemd passed cannot be used")]
    Use {
        number: usize,
        #[source]
        source: io::Error,
    },
    #[error(
        "systemd passed a socket for {address} that gate.listen, gate.listen_tls, gate.admin_listen and gate.admin_socket do not name"
    )]
    Unnamed { address: String },
}

/// Those that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Inherited {
    /// By the address as it is configured: a port 0 stays what it has become.
    tcp: Vec<(SocketAddr, TcpListener)>,
    unix: Vec<(PathBuf, UnixListener)>,
    /// Whether the file of the admin socket is this process's to remove in the end.
    removes_file: bool,
    /// On the state directory.
    lock: Option<File>,
    predecessor: Option<Arc<Predecessor>>,
}

impl Inherited {
    /// What the environment says that systemd passed (sd_listen_fds(3)).
    ///
    /// # Errors
    /// A socket is of another kind.
    pub fn from_systemd() -> Result<Self, InheritedError> {
        let mut passed = ListenFd::from_env();
        let mut inherited = Self::default();
        for number in 0..passed.len() {
            let unusable = |source| InheritedError::Use { number, source };
            let wrong = |source| InheritedError::Kind { number, source };
            if let Ok(Some(socket)) = passed.take_tcp_listener(number) {
                socket.set_nonblocking(true).map_err(unusable)?;
                let address = socket.local_addr().map_err(unusable)?;
                inherited.tcp.push((address, socket));
            } else if let Some(socket) = passed.take_unix_listener(number).map_err(wrong)? {
                socket.set_nonblocking(true).map_err(unusable)?;
                let address = socket.local_addr().map_err(unusable)?;
                let path = address.as_pathname().map(Path::to_path_buf).unwrap_or_default();
                inherited.unix.push((path, socket));
            }
        }
        Ok(inherited)
    }

    pub(crate) fn from_predecessor(
        tcp: Vec<(SocketAddr, TcpListener)>,
        admin: (PathBuf, UnixListener),
        removes_file: bool,
        lock: Option<File>,
        predecessor: Arc<Predecessor>,
    ) -> Self {
        Self { tcp, unix: vec![admin], removes_file, lock, predecessor: Some(predecessor) }
    }

    pub(super) fn take_lock(&mut self) -> Option<File> {
        self.lock.take()
    }

    pub(super) fn predecessor(&self) -> Option<&Arc<Predecessor>> {
        self.predecessor.as_ref()
    }

    pub(crate) const fn removes_file(&self) -> bool {
        self.removes_file
    }

    /// Those that listen on `address`.
    pub(crate) fn take_tcp(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        let taken = self.tcp.extract_if(.., |(theirs, _)| *theirs == address);
        taken.map(|(_, socket)| socket).collect()
    }

    pub(crate) fn take_unix(&mut self, path: &Path) -> Option<UnixListener> {
        let at = self.unix.iter().position(|(theirs, _)| theirs == path)?;
        Some(self.unix.swap_remove(at).1)
    }

    /// # Errors
    /// Nobody has taken one of systemd's: connections to it would wait for ever. A predecessor's is closed: its address is not
    /// configured any more.
    pub fn ensure_all_taken(&self) -> Result<(), InheritedError> {
        if self.predecessor.is_some() {
            return Ok(());
        }
        let tcp = self.tcp.iter().map(|(address, _)| address.to_string());
        let unix = self.unix.iter().map(|(path, _)| path.display().to_string());
        match tcp.chain(unix).next() {
            Some(address) => Err(InheritedError::Unnamed { address }),
            None => Ok(()),
        }
    }
}
