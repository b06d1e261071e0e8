//! What a swap asks of a database server. The real one is in `mysql`; the simulated cluster of the tests is another.

use std::{fmt, time::Duration};

use async_trait::async_trait;

use super::{
    claim::Claim,
    condition::ChannelTls,
    gtid::GtidSet,
    observation::{Access, Address, Blocker, Flavor, ReplicaView, ServerView},
    position::{Barrier, Coordinates, Position, Tracking},
    role::{Event, SemiSync},
    sibling::{Repoint, Threads},
};

/// What is known about the effect of a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// The server said no; nothing happened.
    Refused,
    /// Nothing was sent: the server could not be reached.
    NotSent,
    /// No answer: it may have happened, or happen yet.
    Unknown,
}

/// One look at a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub access: Access,
    /// Nobody can commit here, administrators included.
    pub is_shut: bool,
    /// The exact last transaction, in the form the wait function takes.
    pub barrier: Barrier,
}

/// What comes of listening at a server's port without logging in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// The server speaks: it runs.
    Answers(String),
    /// Its port takes the connection, and nobody speaks: it hangs, or is stopped.
    Accepts,
    /// Nothing is there. The system's words.
    Silent(String),
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answers(said) => write!(f, "answers: {said}"),
            Self::Accepts => f.write_str("accepts connections"),
            Self::Silent(reason) => write!(f, "is silent: {reason}"),
        }
    }
}

/// A request to a server that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{server}: cannot {doing}: {reason}")]
pub struct ServerError {
    /// The server's configured name and address.
    pub server: String,
    /// An infinitive: "make it read-only".
    pub doing: String,
    /// The server's or the system's words, free of secrets.
    pub reason: String,
    pub effect: Effect,
}

/// How thoroughly [`Server::observe`] looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Identity, roles and positions.
    Roles,
    /// Also what only a preflight needs: privileges tried, the replication account's login, blockers.
    Preflight,
}

/// A database server. Every call is bounded in time and may be repeated.
///
/// Calls that change something run on one session, the one that holds the advisory lock: whoever has the lock knows
/// that no earlier request of a former holder can still take effect.
#[async_trait]
pub trait Server: Send + Sync + fmt::Debug {
    fn name(&self) -> &str;
    fn address(&self) -> &Address;
    fn flavor(&self) -> Option<Flavor>;
    /// Which kind it is by the plan: for the commands of one that has not answered since this process began.
    fn assume(&self, flavor: Flavor);

    /// From now on the lock is only kept if the claim stands when it was taken: a process that stood still is told so late
    /// that its journal is somebody else's.
    fn bind(&self, claim: &Claim);
    /// The ids of our own sessions there, now.
    async fn sessions(&self) -> Vec<u64>;
    /// Those of another process of ours: they are not ended with the application's.
    fn spare(&self, sessions: Vec<u64>);
    /// Opens every connection that taking the lock and what follows it needs. Changes nothing.
    async fn stand_by(&self) -> Result<(), ServerError>;
    /// Takes the advisory lock; first makes an end of a session of ours that was given up. With `take_over` it ends
    /// whatever session holds the lock: for recovery, after the journal's lock has proven its owner dead.
    async fn lock(&self, take_over: bool) -> Result<(), ServerError>;
    /// Gives the lock back. Without the lock it does nothing.
    async fn unlock(&self) -> Result<(), ServerError>;

    async fn observe(&self, detail: Detail) -> Result<ServerView, ServerError>;
    /// Whether the server runs at all, login or not.
    async fn life(&self) -> Life;
    async fn access(&self) -> Result<Access, ServerError>;
    async fn executed(&self) -> Result<GtidSet, ServerError>;
    async fn channels(&self) -> Result<Vec<ReplicaView>, ServerError>;
    /// Sessions that would block the fence, whatever their age.
    async fn blockers(&self) -> Result<Vec<Blocker>, ServerError>;
    /// Application sessions with an open transaction. Whoever asks again sooner than after [`TRANSACTIONS_FRESH_AFTER`]
    /// waits that long.
    async fn open_transactions(&self) -> Result<Vec<Blocker>, ServerError>;

    /// Makes it read-only for everybody, administrators included, for as long as the lock's session lives. On overrun of
    /// `bound` the pending statement is killed and gone before this returns.
    async fn fence(&self, bound: Duration) -> Result<(), ServerError>;
    /// XA transactions that could commit through the fence that stands.
    async fn passing(&self) -> Result<Vec<Blocker>, ServerError>;
    /// Sets the switches back to what was recorded.
    async fn restore(&self, access: Access) -> Result<(), ServerError>;
    /// The switches and the exact last transaction, in one answer: users wait for it.
    async fn look(&self, by: Tracking) -> Result<Look, ServerError>;
    /// Where its own binary log ends now.
    async fn coordinates(&self) -> Result<Coordinates, ServerError>;
    /// Waits until `barrier` is applied, by its channel of that name; false when it is not within `bound`.
    async fn wait_applied(
        &self,
        barrier: &Barrier,
        channel: &str,
        bound: Duration,
    ) -> Result<bool, ServerError>;
    /// How often its applier tells how far it has come, in milliseconds; of MySQL.
    async fn set_checkpoint_period(&self, ms: u32) -> Result<(), ServerError>;
    /// Makes it writable. Never reconnects: without the lock's session it is refused.
    async fn promote(&self) -> Result<(), ServerError>;
    /// Ends every session but replication's, the server's own and ours, as far as they have not ended by themselves within `patience`;
    /// returns how many.
    async fn end_sessions(&self, patience: Duration) -> Result<usize, ServerError>;
    /// Lets replication commit behind the fence. Whoever still waits there to write is ended first.
    async fn let_replication_in(&self) -> Result<(), ServerError>;
    /// Starts the channel's applier where it is stopped, and then stops its receiver.
    async fn stop_receiving(&self, channel: &str) -> Result<(), ServerError>;
    /// Lets those of the channel's threads run that are named, and stops none.
    async fn receive_again(&self, channel: &str, run: Threads) -> Result<(), ServerError>;
    /// Stops replication and forgets its source. Without a source it does nothing.
    async fn detach(&self) -> Result<(), ServerError>;
    /// Makes it a replica of `source` that goes on from there, unless it is one already: then it only starts.
    async fn follow(
        &self,
        source: &Address,
        tls: &ChannelTls,
        from: &Position,
    ) -> Result<(), ServerError>;
    /// Leads a channel of its to another source and keeps everything else about it: login, filters, delay. Done already, it
    /// only starts what is to run.
    async fn repoint(&self, to: &Repoint) -> Result<(), ServerError>;
    /// Sees to it that a restart leaves it read-only, or that it comes up as its option file says. False where the server
    /// cannot be told.
    async fn persist_read_only(&self, read_only: bool) -> Result<bool, ServerError>;
    /// Sets the switches of semi-synchronous replication that are named.
    async fn set_semi_sync(&self, semi_sync: SemiSync) -> Result<(), ServerError>;
    /// Whether as many replicas are there to acknowledge as a commit would wait for.
    async fn has_semi_sync_replicas(&self) -> Result<bool, ServerError>;
    /// Turns the event scheduler on or off.
    async fn set_scheduler(&self, on: bool) -> Result<(), ServerError>;
    /// The events that run here when the scheduler is on.
    async fn enabled_events(&self) -> Result<Vec<Event>, ServerError>;
    /// Lets the events run here and, by replication, nowhere else; returns how many there are still.
    async fn enable_events(&self, events: &[Event]) -> Result<usize, ServerError>;
    /// Writes the marker row of swap `id`, making its schema and table where they are missing.
    async fn write_marker(&self, id: &str) -> Result<(), ServerError>;
    /// Whether the marker row of swap `id` is here.
    async fn has_marker(&self, id: &str) -> Result<bool, ServerError>;

    /// The command an operator types to make this server writable by hand.
    fn command_to_open(&self) -> String;
    /// The command an operator types to make this server read-only by hand.
    fn command_to_fence(&self) -> String;
    /// The command that prints this server's last transaction and nothing else.
    fn command_to_ask(&self) -> String;
    /// The command that waits until this server has applied what the command `asked` prints; it fails when that does not
    /// come to pass within a minute.
    fn command_to_wait_for(&self, asked: &str) -> String;
    /// The same for what is known already.
    fn command_to_wait(&self, barrier: &Barrier, channel: &str) -> String;
    /// The command that starts this server's channel.
    fn command_to_start(&self, channel: &str) -> String;
    /// The command that lets this server's events run, and enables these.
    fn command_to_run_events(&self, events: &[Event]) -> String;
    /// The command an operator types to see this server's replication.
    fn command_to_look(&self) -> String;
    /// The command an operator types for what [`Server::repoint`] does; `flavor` is the cluster's, as this server may
    /// never have answered.
    fn command_to_repoint(&self, flavor: Flavor, to: &Repoint) -> String;
}

/// `information_schema.innodb_trx` is refilled when it was last read more than 100 ms ago (MYSQL.md §3: reads every
/// 20 ms stayed stale for 3 s, reads every 150 ms were right).
pub const TRANSACTIONS_FRESH_AFTER: Duration = Duration::from_millis(150);
