//! The successor's part.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

use super::wire::{FILES_MAX, hear, say, take_files};
use super::{Hello, Offer, PROTOCOL, SERVE_MAX, START_MAX, Serving, TalkError, VARIABLE};
use crate::config::gate::Gate as Settings;
use crate::gate::{Inherited, Predecessor};

/// The admin socket and the lock.
const FURTHER_FILES: usize = 2;

#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    #[error(
        "{VARIABLE} is set, but the standard input is no socket to a gate: leave the variable out"
    )]
    NotStarted(#[source] io::Error),
    #[error("cannot take over from the running gate")]
    Talk(#[from] TalkError),
    #[error("{key} cannot be changed by a take-over: it was {}; restart the gate for that", was.display())]
    Fixed { key: &'static str, was: PathBuf },
}

/// A predecessor that waits for this process to serve.
#[derive(Debug)]
pub struct Taking {
    stream: UnixStream,
    pub pid: u32,
}

/// Whether a gate has started this process to take over from it. Its sockets are ours from now on, and it accepts no
/// connections any more; should this process end before it says that it serves, it goes on. Blocks.
///
/// # Errors
/// They cannot talk to each other; a directory or a socket that both need is another one.
pub fn begin(settings: &Settings) -> Result<Option<(Taking, Inherited)>, TakeError> {
    if std::env::var_os(VARIABLE).is_none() {
        return Ok(None);
    }
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(TakeError::NotStarted)?;
    let stream = UnixStream::from(stdin);
    stream.peer_addr().map_err(TakeError::NotStarted)?;
    let (version, pid) = (env!("CARGO_PKG_VERSION").to_owned(), std::process::id());
    say(&stream, &Hello { protocol: PROTOCOL, version, pid })?;
    let offer: Offer = hear(&stream, START_MAX)?;
    if offer.protocol != PROTOCOL {
        return Err(TalkError::Protocol { theirs: offer.protocol }.into());
    }
    for (key, was, is) in [
        ("gate.state_dir", &offer.state_dir, &settings.state_dir),
        ("gate.admin_socket", &offer.admin_socket, &settings.admin_socket),
    ] {
        if was != is {
            return Err(TakeError::Fixed { key, was: was.clone() });
        }
    }
    let count = offer.listening.len() + FURTHER_FILES;
    if count > FILES_MAX {
        return Err(TalkError::Broke(io::ErrorKind::InvalidData.into()).into());
    }
    let mut files = take_files(&stream, count, SERVE_MAX)?;
    let lock = files.pop().map(File::from);
    let admin = files.pop().map(UnixListener::from);
    let admin = admin.ok_or(TalkError::Broke(io::ErrorKind::InvalidData.into()))?;
    let tcp = offer.listening.into_iter().zip(files.into_iter().map(TcpListener::from)).collect();
    let predecessor = Arc::new(Predecessor::new(offer.private_socket, offer.pid));
    let admin = (offer.admin_socket, admin);
    let removes = offer.removes_admin_socket;
    let inherited = Inherited::from_predecessor(tcp, admin, removes, lock, predecessor);
    Ok(Some((Taking { stream, pid: offer.pid }, inherited)))
}

impl Taking {
    /// The predecessor may finish what it has.
    ///
    /// # Errors
    /// It is there no more; this process serves all the same.
    pub fn serving(&self) -> Result<(), TalkError> {
        say(&self.stream, &Serving { pid: std::process::id() })
    }
}
