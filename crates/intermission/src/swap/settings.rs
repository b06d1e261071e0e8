//! The bounds of a swap: section `[swap]` of the configuration.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::{Deserialize, Serialize};

/// Every bound of a swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// How long to wait, at no cost to users, for a quiet moment before the hold.
    #[serde(with = "friendly")]
    pub quiet: Duration,
    /// A transaction, statement or lock older than this is not quiet.
    #[serde(with = "friendly")]
    pub quiet_age: Duration,
    /// How long a hold lives without being renewed. Ends the hold if this process dies.
    #[serde(with = "friendly")]
    pub lease: Duration,
    /// How long requests in flight may take to finish.
    #[serde(with = "friendly")]
    pub drain: Duration,
    /// How long open transactions on the old primary may take to finish after the drain.
    #[serde(with = "friendly")]
    pub settle: Duration,
    /// How long the fence may wait for locks. New writes hang meanwhile.
    #[serde(with = "friendly")]
    pub fence: Duration,
    /// How long the new primary may take to apply the last transactions.
    #[serde(with = "friendly")]
    pub catch_up: Duration,
    /// Nobody is made to wait before the new primary was seen to catch up this fast: the pause is predicted.
    #[serde(with = "friendly")]
    pub catch_up_sample: Duration,
    /// The largest lag accepted before a swap.
    #[serde(with = "friendly")]
    pub lag: Duration,
    /// How long any other single request to a server may take.
    #[serde(with = "friendly")]
    pub statement: Duration,
    /// How long connecting to a server may take.
    #[serde(with = "friendly")]
    pub connect: Duration,
    /// How long the marker may take to arrive on the old primary.
    #[serde(with = "friendly")]
    pub prove: Duration,
}

impl Bounds {
    pub const QUIET: Duration = Duration::from_secs(30);
    pub const QUIET_AGE: Duration = Duration::from_secs(1);
    pub const LEASE: Duration = Duration::from_secs(30);
    pub const DRAIN: Duration = Duration::from_secs(5);
    pub const SETTLE: Duration = Duration::from_millis(500);
    pub const FENCE: Duration = Duration::from_millis(250);
    pub const CATCH_UP: Duration = Duration::from_secs(1);
    pub const CATCH_UP_SAMPLE: Duration = Duration::from_millis(50);
    pub const LAG: Duration = Duration::from_secs(1);
    pub const STATEMENT: Duration = Duration::from_secs(2);
    pub const CONNECT: Duration = Duration::from_secs(3);
    pub const PROVE: Duration = Duration::from_secs(30);

    /// The name of a bound that is zero: none may be.
    #[must_use]
    pub fn zero(&self) -> Option<&'static str> {
        [
            ("quiet", self.quiet),
            ("quiet_age", self.quiet_age),
            ("lease", self.lease),
            ("drain", self.drain),
            ("settle", self.settle),
            ("fence", self.fence),
            ("catch_up", self.catch_up),
            ("catch_up_sample", self.catch_up_sample),
            ("statement", self.statement),
            ("connect", self.connect),
            ("prove", self.prove),
        ]
        .into_iter()
        .find_map(|(name, bound)| bound.is_zero().then_some(name))
    }

    /// The longest an attempt can keep users waiting before it is committed or unwound: the hold has to outlive it,
    /// or users would be let through to a fenced primary.
    #[must_use]
    pub fn longest_attempt(&self) -> Duration {
        /// Barrier (two reads), the last look at the fence, promote and its verification, the fence's own kill, and
        /// the undo of the fence.
        const STATEMENTS: u32 = 7;
        self.drain + self.settle + self.fence + self.catch_up + self.statement * STATEMENTS
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            quiet: Self::QUIET,
            quiet_age: Self::QUIET_AGE,
            lease: Self::LEASE,
            drain: Self::DRAIN,
            settle: Self::SETTLE,
            fence: Self::FENCE,
            catch_up: Self::CATCH_UP,
            catch_up_sample: Self::CATCH_UP_SAMPLE,
            lag: Self::LAG,
            statement: Self::STATEMENT,
            connect: Self::CONNECT,
            prove: Self::PROVE,
        }
    }
}
