//! A new process takes over from a running gate: another version, or another configuration that needs new sockets.
//!
//! The predecessor starts its successor and gives it the sockets that it listens on, so that nobody is refused: whoever
//! connects meanwhile waits in the kernel's queues. It keeps the connections that it has, with all who are held on them, and the
//! successor leads both: it holds, renews and releases here and there, those who came first going first.

mod give;
mod take;
pub(crate) mod wire;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::give::{GiveError, give};
pub use self::take::{TakeError, Taking, begin};

/// In a successor's environment; its standard input is a socket to its predecessor then.
const VARIABLE: &str = "INTERMISSION_TAKE_OVER";
/// Changes when what is said does: a predecessor and a successor that do not understand each other part in peace.
const PROTOCOL: u32 = 1;
/// For the successor to start and to read its configuration; nobody waits for it.
const START_MAX: Duration = Duration::from_secs(30);
/// For the successor to come up once it has the sockets, while new connections wait.
const SERVE_MAX: Duration = Duration::from_secs(10);

/// What a successor says first.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    protocol: u32,
    version: String,
    pid: u32,
}

/// What a predecessor gives, followed by the sockets in this order.
#[derive(Debug, Serialize, Deserialize)]
struct Offer {
    protocol: u32,
    pid: u32,
    state_dir: PathBuf,
    admin_socket: PathBuf,
    /// Where it goes on serving its admin API, for the successor alone.
    private_socket: PathBuf,
    /// Of each TCP socket, the address as it was configured. After them come the admin socket and the lock.
    listening: Vec<SocketAddr>,
    /// Whether the file of the admin socket is to be removed in the end.
    removes_admin_socket: bool,
}

/// The successor serves.
#[derive(Debug, Serialize, Deserialize)]
struct Serving {
    pid: u32,
}

/// What went wrong between the two.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    #[error("the other process has ended")]
    Ended,
    #[error("the other process said nothing within {0:?}")]
    Silent(Duration),
    #[error("the other process cannot be talked to")]
    Broke(#[source] io::Error),
    #[error("the other process said what is not understood")]
    Foreign(#[source] serde_json::Error),
    #[error(
        "the other process is too new or too old: it speaks version {theirs} of the take-over, this one {PROTOCOL}"
    )]
    Protocol { theirs: u32 },
}
