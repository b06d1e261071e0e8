//! The hold core: who may go on now, who waits in line, and in which order they go on again.
//!
//! One [`Hold`] per app and one [`Lane`] per worker thread. [`Lane::enter`] decides in one atomic
//! step: go on and be counted in flight, or wait in line. It knows no protocol, no database and no
//! files; what a request is, and where the state is written down, is its caller's business.
//!
//! An application that is to hold its own requests puts a layer around its routes: cargo feature
//! `tower`, module `tower`.

mod error;
mod generation;
mod hold;
mod inner;
mod lane;
mod limits;
mod line;
mod outbox;
mod ramp;
mod shared;
mod status;
mod sync;
mod ticket;
#[cfg(all(feature = "tower", not(loom)))]
pub mod tower;
mod wait;
mod watch;
mod word;

pub use error::{AlreadyHeld, Excess, Stale, TurnedAway};
pub use generation::Generation;
pub use hold::{Drain, Expiry, Hold, LeaseEnd, Ramping};
pub use lane::{Entry, Lane};
pub use limits::{Limits, OnExpiry, Pace};
pub use status::{Current, Holder, State, Status, Summary};
pub use ticket::Ticket;
pub use wait::Wait;
