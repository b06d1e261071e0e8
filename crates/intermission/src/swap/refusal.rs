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
    LeaseTooShort,
    GateUnreachable,
    UnknownApp,
    AlreadyHeld,
    EndpointMissing,
    ClientAddressUnreachable,
    ClientAddressElsewhere,
    ClientAddressCertificate,
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
    GateRole,
    TargetNeeded,
    BinlogsPurged,
    SiblingLogin,
    UnsupportedVersion,
    UnknownVersion,
    OlderCandidate,
    NewerCandidate,
    IncompatibleSetting,
    DifferentSetting,
    ReplicationFilter,
    BinlogFilter,
    BinlogReaders,
    BinlogRetention,
    ColdBufferPool,
    DiskFull,
    DiskLow,
    DiskUnknown,
    ClusteredServer,
    Automation,
    ReadOnlyAdmins,
    PrimaryAlive,
    CandidateBehind,
    RelayLogAtRisk,
    ChannelTls,
    ChannelTlsFiles,
    ClearText,
    NoGuardian,
    NotSeen,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Code;

    /// Every code, by the word of serde's own complaint: a new one cannot be forgotten here.
    fn all() -> BTreeSet<String> {
        let complaint = serde_json::from_str::<Code>("\"?\"").expect_err("no code").to_string();
        let (_, list) = complaint.split_once("expected one of ").expect("a list");
        list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_manual_has_every_code_once_and_no_other() {
        let manual = include_str!("../../../../docs/CHECK.md");
        let (_, rest) = manual.split_once("\n## Codes\n").expect("the section");
        let (section, _) = rest.split_once("\n## ").expect("its end");
        let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
        let mut told = BTreeSet::new();
        for row in rows {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let [code, kind, when, mend] = cells.as_slice() else { panic!("{row}") };
            let code = code.trim_matches('`');
            assert!(kind.starts_with("refused") || kind.starts_with("warning"), "{row}");
            assert!(!when.is_empty() && !mend.is_empty(), "{row}");
            assert!(told.insert(code.to_owned()), "{code} is there twice");
        }
        assert_eq!(told, all());
        assert!(told.len() > 50, "{}", told.len());
        assert!(told.contains(&Code::IncompatibleSetting.word()));
    }
}
