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
    /// Stop what must not go on behind the fence, or before the new primary has a replica.
    Ready,
    /// Hold every gate and have every acknowledgement.
    Hold,
    /// Wait until no application session on the old primary has an open transaction.
    Settle,
    /// The clients' address leads to the old primary no more: the floating IP is taken off.
    Withdraw,
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
    /// A write by way of the clients' address lands on the new primary.
    Canary,
    /// End the application's remaining sessions on the old primary.
    EndSessions,
    /// Run the operator's hooks: restart the application, clear a cache.
    BeforeRelease,
    /// Every upstream of every app answers through its own connections to the database.
    WarmUp,
    /// Release every gate.
    Release,
    /// The old primary's events run on the new one.
    Events,
    /// The new primary forgets that it was a replica.
    Detach,
    /// The old primary becomes a replica.
    Rejoin,
    /// The other replicas follow the new primary.
    Follow,
    /// A marker row arrives on the old primary; read and write states are right.
    Prove,
    /// Each server has the settings of its new role.
    Settings,
    /// Give the advisory locks back.
    Unlock,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 23] = [
        Self::Lock,
        Self::Quiet,
        Self::Ready,
        Self::Hold,
        Self::Settle,
        Self::Withdraw,
        Self::Fence,
        Self::Barrier,
        Self::CatchUp,
        Self::Promote,
        Self::Endpoint,
        Self::Canary,
        Self::EndSessions,
        Self::BeforeRelease,
        Self::WarmUp,
        Self::Release,
        Self::Events,
        Self::Detach,
        Self::Rejoin,
        Self::Follow,
        Self::Prove,
        Self::Settings,
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
            Self::Hold => &[Self::Withdraw, Self::Fence],
            Self::Promote => &[
                Self::Endpoint,
                Self::Canary,
                Self::EndSessions,
                Self::BeforeRelease,
                Self::WarmUp,
                Self::Release,
            ],
            Self::Lock
            | Self::Quiet
            | Self::Ready
            | Self::Settle
            | Self::Withdraw
            | Self::Fence
            | Self::Barrier
            | Self::CatchUp
            | Self::Endpoint
            | Self::EndSessions
            | Self::Canary
            | Self::BeforeRelease
            | Self::WarmUp
            | Self::Release
            | Self::Events
            | Self::Detach
            | Self::Rejoin
            | Self::Follow
            | Self::Prove
            | Self::Settings
            | Self::Unlock => &[],
        }
    }

    /// Whether the step changes anything outside the executor: only then its intent has to be on disk first.
    #[must_use]
    pub const fn acts(self) -> bool {
        !matches!(self, Self::Quiet | Self::Settle | Self::Barrier | Self::CatchUp | Self::WarmUp)
    }

    /// Whether the step tries again by itself until its time is over. Behind the commit point it is not tried another time
    /// by the same process: users wait for it, and would wait as long again.
    #[must_use]
    pub const fn tries_by_itself(self) -> bool {
        matches!(self, Self::BeforeRelease | Self::WarmUp)
    }

    /// Whether there is something to take back before the commit point. Promote has no undo: its verification
    /// decides which way to go.
    #[must_use]
    pub const fn has_undo(self) -> bool {
        self.way_back().is_some()
    }

    /// The step without which this one makes no sense after the commit point.
    #[must_use]
    pub const fn needs(self) -> Option<Self> {
        match self {
            Self::Rejoin => Some(Self::Detach),
            Self::Prove => Some(Self::Rejoin),
            Self::Settings => Some(Self::Prove),
            Self::Lock
            | Self::Quiet
            | Self::Ready
            | Self::Hold
            | Self::Settle
            | Self::Withdraw
            | Self::Fence
            | Self::Barrier
            | Self::CatchUp
            | Self::Promote
            | Self::Endpoint
            | Self::EndSessions
            | Self::Canary
            | Self::BeforeRelease
            | Self::WarmUp
            | Self::Release
            | Self::Events
            | Self::Detach
            | Self::Follow
            | Self::Unlock => None,
        }
    }

    /// The step's name in the journal, in reports and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Quiet => "quiet",
            Self::Ready => "ready",
            Self::Hold => "hold",
            Self::Settle => "settle",
            Self::Withdraw => "withdraw",
            Self::Fence => "fence",
            Self::Barrier => "barrier",
            Self::CatchUp => "catch_up",
            Self::Promote => "promote",
            Self::Endpoint => "endpoint",
            Self::EndSessions => "end_sessions",
            Self::Canary => "canary",
            Self::BeforeRelease => "before_release",
            Self::WarmUp => "warm_up",
            Self::Release => "release",
            Self::Events => "events",
            Self::Detach => "detach",
            Self::Rejoin => "rejoin",
            Self::Follow => "follow",
            Self::Prove => "prove",
            Self::Settings => "settings",
            Self::Unlock => "unlock",
        }
    }

    /// What the step does, for `--dry-run` and for the person who watches.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Lock => "take the advisory lock on both servers, so that nobody else swaps",
            Self::Quiet => "wait until nothing would block the fence, and time the catch-up",
            Self::Ready => {
                "stop the old primary's event scheduler, and semi-sync on the new one, which has no replica yet; without GTIDs let its \
                 applier tell at once how far it has come"
            }
            Self::Hold => "hold the apps at the gate and let requests in flight finish",
            Self::Settle => "wait until no session on the old primary has an open transaction",
            Self::Withdraw => "take the clients' address off the old primary",
            Self::Fence => "make the old primary read-only, for administrators too",
            Self::Barrier => "read the last transaction of the old primary, twice",
            Self::CatchUp => "wait until the new primary has applied exactly that",
            Self::Promote => "make the new primary writable: the commit point",
            Self::Endpoint => "lead the clients' address to the new primary",
            Self::Canary => "write by way of the clients' address and see it on the new primary",
            Self::EndSessions => {
                "end the application's sessions on the old primary: begun as soon as none can come back, waited for here"
            }
            Self::BeforeRelease => "run the hooks that are to run before anybody is released",
            Self::WarmUp => "ask every upstream of the apps until it answers by the new primary",
            Self::Release => "release the apps in the order the requests came",
            Self::Events => "run the old primary's events on the new one, and only there",
            Self::Detach => "stop and forget replication on the new primary",
            Self::Rejoin => "make the old primary a replica of the new one",
            Self::Follow => "lead the siblings to the new primary, all at once",
            Self::Prove => "write a marker on the new primary and see it arrive on the old one",
            Self::Settings => {
                "give each server the semi-sync and scheduler settings of its new role"
            }
            Self::Unlock => "give the advisory locks back",
        }
    }
}

impl Step {
    /// How the step knows that it is done.
    #[must_use]
    pub const fn proof(self) -> &'static str {
        match self {
            Self::Lock => "both servers gave the lock to our session",
            Self::Quiet => {
                "no blocker is older than `quiet_age` or has changed 10 000 rows; every gate answers; three catch-ups within `catch_up_sample`"
            }
            Self::Ready => "the settings are read back",
            Self::Hold => "every gate acknowledged with nothing in flight",
            Self::Settle => {
                "the list of open transactions, which the server made for this look, is empty"
            }
            Self::Withdraw => "the host lists its addresses, and this one is not among them",
            Self::Fence => {
                "the server answered the statement within `fence`, or the statement was killed and is gone"
            }
            Self::Barrier => {
                "two looks, here and right before promote, name one transaction set, or one end of the binary log, on a server \
                 where nobody can commit"
            }
            Self::CatchUp => {
                "the new primary waited for the barrier itself, and its executed set contains it; by file and position, where its \
                 binary log ends is noted, and read again right before promote"
            }
            Self::Promote => {
                "right before it no XA transaction is there that could pass the fence; `read_only` is read back under the lock, so that no late \
                 promote can follow"
            }
            Self::Endpoint => {
                "the host lists the address, its announcement was sent, the hook ended with 0"
            }
            Self::Canary => "the row is read on the new primary by a connection of its own",
            Self::EndSessions => "each session left was ended, or was gone already",
            Self::BeforeRelease => "each hook ended with 0 within its `timeout`",
            Self::WarmUp => "each upstream answered 2xx `successes` times in a row",
            Self::Release => "every gate acknowledged",
            Self::Events => {
                "those that exist are listed as enabled; replicas switch the event off as they apply it"
            }
            Self::Detach => "its channel is not listed any more",
            Self::Rejoin => {
                "its transactions are all known to the new primary; it follows that one as that one followed: by GTID, or from \
                 the end noted"
            }
            Self::Follow => {
                "a row written on the new primary is read on each, and who was led is seen to follow it; one of which that is not so is listed with its mend"
            }
            Self::Prove => {
                "a row written on the new primary is read on the old one; one is writable, one is not"
            }
            Self::Settings => {
                "as many semi-sync replicas as a commit waits for were there before it was told to wait; the settings are read back"
            }
            Self::Unlock => "both sessions are closed",
        }
    }

    /// What takes the step back before the commit point, if something has to.
    #[must_use]
    pub const fn way_back(self) -> Option<&'static str> {
        match self {
            Self::Lock => Some("give both locks back"),
            Self::Ready => Some("set both to what the plan recorded"),
            Self::Hold => Some("release every gate"),
            Self::Withdraw => {
                Some("put the address back and announce it, unless the new primary is writable")
            }
            Self::Fence => Some(
                "set the switches to what the plan recorded and let commits go on, unless the new primary is writable or was \
                 written to; and look whether they are so",
            ),
            Self::Quiet
            | Self::Settle
            | Self::Barrier
            | Self::CatchUp
            | Self::Promote
            | Self::Endpoint
            | Self::EndSessions
            | Self::Canary
            | Self::BeforeRelease
            | Self::WarmUp
            | Self::Release
            | Self::Events
            | Self::Detach
            | Self::Rejoin
            | Self::Follow
            | Self::Prove
            | Self::Settings
            | Self::Unlock => None,
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
    use std::cmp::Ordering;

    use super::Step;

    #[test]
    fn all_is_in_order_and_complete() {
        assert!(Step::ALL.is_sorted());
        for step in Step::ALL {
            let json = serde_json::to_string(&step).expect("serializes");
            assert_eq!(json, format!("\"{}\"", step.name()));
            assert!(!step.sentence().is_empty() && !step.proof().is_empty(), "{step}");
        }
    }

    /// The table of the manual, made of the code's own words.
    fn table() -> String {
        let mut rows = vec![
            "| # | step | perform | verify | undo |".to_owned(),
            "|---|---|---|---|---|".to_owned(),
        ];
        for (step, number) in Step::ALL.into_iter().zip(1..) {
            let undo = match step.cmp(&Step::COMMIT) {
                Ordering::Less => step.way_back().unwrap_or("nothing to take back"),
                Ordering::Equal => "none: its verification decides whether to go on or back",
                Ordering::Greater => "none: from here on only forward",
            };
            rows.push(format!(
                "| {number} | `{step}` | {} | {} | {undo} |",
                step.sentence(),
                step.proof()
            ));
        }
        rows.join("\n")
    }

    #[test]
    fn the_manual_has_every_step_in_the_codes_words() {
        let manual = include_str!("../../../../docs/SWITCHOVER.md");
        let table = table();
        assert!(manual.contains(&table), "docs/SWITCHOVER.md does not have this table:\n{table}");
    }
}
