//! Sockets that were listening before this process began: given by systemd. Whoever connects meanwhile waits in their queues
//! and is not refused.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;

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
    tcp: Vec<(SocketAddr, TcpListener)>,
    unix: Vec<(PathBuf, UnixListener)>,
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
    /// Nobody has taken one: connections to it would wait for ever.
    pub fn ensure_all_taken(&self) -> Result<(), InheritedError> {
        let tcp = self.tcp.iter().map(|(address, _)| address.to_string());
        let unix = self.unix.iter().map(|(path, _)| path.display().to_string());
        match tcp.chain(unix).next() {
            Some(address) => Err(InheritedError::Unnamed { address }),
            None => Ok(()),
        }
    }
}
