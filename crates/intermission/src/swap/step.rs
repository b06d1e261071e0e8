//! The steps of a swap, in the order they are done.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One step of a swap. The order of the variants is the order of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Advisory lock in both databases.
    Lock,
    /// Wait, at no cost, until nothing would block the fence; prove the catch-up time.
    Quiet,
    /// Hold every gate and have every acknowledgement.
    Hold,
    /// Wait until no application session on the old primary has an open transaction.
    Settle,
    /// The old primary accepts no write.
    Fence,
    /// Read the exact last transaction, twice.
    Barrier,
    /// The new primary has applied the barrier.
    CatchUp,
    /// The new primary accepts writes: the commit point.
    Promote,
    /// Clients' address leads to the new primary.
    Endpoint,
    /// End the application's remaining sessions on the old primary.
    EndSessions,
    /// Release every gate.
    Release,
    /// The new primary forgets that it was a replica.
    Detach,
    /// The old primary becomes a replica.
    Rejoin,
    /// A marker row arrives on the old primary; read and write states are right.
    Prove,
    /// Give the advisory locks back.
    Unlock,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 15] = [
        Self::Lock,
        Self::Quiet,
        Self::Hold,
        Self::Settle,
        Self::Fence,
        Self::Barrier,
        Self::CatchUp,
        Self::Promote,
        Self::Endpoint,
        Self::EndSessions,
        Self::Release,
        Self::Detach,
        Self::Rejoin,
        Self::Prove,
        Self::Unlock,
    ];

    /// From here on there is only forward.
    pub const COMMIT: Self = Self::Promote;

    /// The steps that this one's durable intent announces too, so that no disk is waited for while users are. Recovery
    /// takes them for begun: it lifts the fence of a swap that held, and once promote has taken effect does again all
    /// that follows it.
    #[must_use]
    pub const fn announces(self) -> &'static [Self] {
        match self {
            Self::Hold => &[Self::Fence],
            Self::Promote => &[Self::Endpoint, Self::EndSessions, Self::Release],
            Self::Lock
            | Self::Quiet
            | Self::Settle
            | Self::Fence
            | Self::Barrier
            | Self::CatchUp
            | Self::Endpoint
            | Self::EndSessions
            | Self::Release
            | Self::Detach
            | Self::Rejoin
            | Self::Prove
            | Self::Unlock => &[],
        }
    }

    /// Whether the step changes anything outside the executor: only then its intent has to be on disk first.
    #[must_use]
    pub const fn acts(self) -> bool {
        !matches!(self, Self::Quiet | Self::Settle | Self::Barrier | Self::CatchUp)
    }

    /// Whether there is something to take back before the commit point. Promote has no undo: its verification
    /// decides which way to go.
    #[must_use]
    pub const fn has_undo(self) -> bool {
        matches!(self, Self::Lock | Self::Hold | Self::Fence)
    }

    /// The step without which this one makes no sense after the commit point.
    #[must_use]
    pub const fn needs(self) -> Option<Self> {
        match self {
            Self::Rejoin => Some(Self::Detach),
            Self::Prove => Some(Self::Rejoin),
            Self::Lock
            | Self::Quiet
            | Self::Hold
            | Self::Settle
            | Self::Fence
            | Self::Barrier
            | Self::CatchUp
            | Self::Promote
            | Self::Endpoint
            | Self::EndSessions
            | Self::Release
            | Self::Detach
            | Self::Unlock => None,
        }
    }

    /// The step's name in the journal, in reports and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Quiet => "quiet",
            Self::Hold => "hold",
            Self::Settle => "settle",
            Self::Fence => "fence",
            Self::Barrier => "barrier",
            Self::CatchUp => "catch_up",
            Self::Promote => "promote",
            Self::Endpoint => "endpoint",
            Self::EndSessions => "end_sessions",
            Self::Release => "release",
            Self::Detach => "detach",
            Self::Rejoin => "rejoin",
            Self::Prove => "prove",
            Self::Unlock => "unlock",
        }
    }

    /// What the step does, for `--dry-run` and for the person who watches.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Lock => "take the advisory lock on both servers, so that nobody else swaps",
            Self::Quiet => "wait until nothing would block the fence, and time the catch-up",
            Self::Hold => "hold the apps at the gate and let requests in flight finish",
            Self::Settle => "wait until no session on the old primary has an open transaction",
            Self::Fence => "make the old primary read-only",
            Self::Barrier => "read the last transaction of the old primary, twice",
            Self::CatchUp => "wait until the new primary has applied exactly that",
            Self::Promote => "make the new primary writable: the commit point",
            Self::Endpoint => "lead the clients' address to the new primary",
            Self::EndSessions => "end the application's sessions on the old primary",
            Self::Release => "release the apps in the order the requests came",
            Self::Detach => "stop and forget replication on the new primary",
            Self::Rejoin => "make the old primary a replica of the new one",
            Self::Prove => "write a marker on the new primary and see it arrive on the old one",
            Self::Unlock => "give the advisory locks back",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Step;

    #[test]
    fn all_is_in_order_and_complete() {
        assert!(Step::ALL.is_sorted());
        for step in Step::ALL {
            let json = serde_json::to_string(&step).expect("serializes");
            assert_eq!(json, format!("\"{}\"", step.name()));
        }
    }
}
