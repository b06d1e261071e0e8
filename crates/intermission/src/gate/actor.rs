//! Who changes something, as logs tell it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::Serialize;

use crate::admin::api::Role;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Actor {
    /// A process that is connected to the admin socket, as the kernel knows it.
    Unix {
        uid: u32,
        /// `None` where the user has no name, or looking for it took too long.
        user: Option<String>,
        pid: Option<i32>,
    },
    /// Whoever has the token of that role.
    Token { role: Role, peer: SocketAddr },
    /// Whoever has the key of the certificate made out to that name.
    Certificate { name: String, peer: SocketAddr },
    /// The end of a lease that nobody renewed.
    Lease,
    /// Whoever used an app's `control_path` from there.
    Path { peer: IpAddr },
    /// An app's `hold_file`.
    File { path: PathBuf },
    /// The gate at its start.
    Gate,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { uid, user, pid } => {
                let user = user.as_deref().unwrap_or("a user");
                write!(f, "{user} (uid {uid}")?;
                pid.map_or(Ok(()), |pid| write!(f, ", pid {pid}"))?;
                f.write_str(")")
            }
            Self::Token { role, peer } => write!(f, "the {} token from {peer}", role.name()),
            Self::Certificate { name, peer } => write!(f, "certificate {name} from {peer}"),
            Self::Lease => f.write_str("the lease"),
            Self::Path { peer } => write!(f, "{peer}, by the control path"),
            Self::File { path } => write!(f, "file {}", path.display()),
            Self::Gate => f.write_str("the gate"),
        }
    }
}
