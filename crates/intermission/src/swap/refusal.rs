//! Why a swap is refused: a stable code, a sentence, and what mends it.

use serde::{Deserialize, Serialize};

/// The codes. They are part of the interface: scripts match on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    Unreachable,
    UnknownTarget,
    DifferentFlavors,
    NoPrimary,
    TwoPrimaries,
    PrimaryIsReplica,
    NotAReplica,
    SeveralChannels,
    WrongSource,
    IoThread,
    SqlThread,
    LagUnknown,
    Lag,
    DelayedReplica,
    ReplicationWithoutGtid,
    ErrantTransactions,
    ReplicaNotFenced,
    GtidOff,
    BinlogOff,
    ReplicaUpdatesNotLogged,
    SameServerId,
    MissingPrivilege,
    ReplicationLogin,
    DatabaseMissing,
    PreparedXa,
    Blocked,
    SemiSyncMissing,
    SemiSyncPauses,
    EventsDenied,
    EventSchedulerDisabled,
    EventsTooMany,
    EventsLeft,
    SlowCatchUp,
    LeaseTooShort,
    GateUnreachable,
    UnknownApp,
    AlreadyHeld,
    EndpointMissing,
    ClientAddressUnreachable,
    ClientAddressElsewhere,
    FloatingIpUnknown,
    FloatingIpTwice,
    FloatingIpNotOnPrimary,
    FloatingIpElsewhere,
    FloatingIpPinned,
    FloatingIpUnproven,
    HookMissing,
    WarmUpFails,
    MaxWaitShort,
    UnfinishedSwap,
    GateToken,
    GateCertificate,
    TargetNeeded,
    BinlogsPurged,
    SiblingLogin,
}

impl Code {
    /// The code as scripts see it.
    #[must_use]
    pub fn word(self) -> String {
        let word = serde_json::to_value(self).ok();
        word.as_ref().and_then(|w| w.as_str()).unwrap_or("unknown").to_owned()
    }
}

/// One reason not to swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: Code,
    /// What is wrong, with names and figures.
    pub sentence: String,
    /// The command or the change that mends it.
    pub mend: String,
}

impl Refusal {
    #[must_use]
    pub fn new(code: Code, sentence: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into(), mend: mend.into() }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}] {}\n    mend: {}", self.code.word(), self.sentence, self.mend)
    }
}
