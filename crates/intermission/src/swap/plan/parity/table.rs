//! The settings that are compared, in the order of the manual.

/// One setting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    /// By which a difference can be allowed.
    pub(super) name: &'static str,
    /// The other server's or an older version's name for it.
    pub(super) alias: Option<&'static str>,
    pub(super) rule: Rule,
    pub(super) weight: Weight,
    pub(super) change: Change,
    /// What follows from the difference; the end of a sentence.
    pub(super) why: &'static str,
}

/// What the new primary's value has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Same,
    /// A number that is not less.
    NotLess,
    /// This where the old primary has it.
    Stays(&'static str),
    /// One of these words, from the weakest to the strongest, and none weaker.
    NotWeaker(&'static [&'static str]),
    /// Not this word where the old primary has another.
    NotTurned(&'static str),
    /// The same words in any order.
    SameModes,
    /// Not fewer than are in use.
    Connections,
    /// The same times.
    Zone,
    /// Encrypted connections are taken where they were.
    Tls,
}

/// How a server's setting is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Running,
    /// While it applies nothing as a replica: what MySQL wants of some.
    ApplierStopped,
    AtStart,
}

/// Whether a difference is a reason not to swap. One that depends on more is a warning here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    Refuse,
    Warn,
}

#[cfg(test)]
impl Rule {
    /// When it is broken, for the manual.
    pub(super) fn when(self) -> String {
        match self {
            Self::Same => "it differs".to_owned(),
            Self::NotLess => "the new primary's is less".to_owned(),
            Self::Stays(value) => format!("it is {value} on the old primary and not on the new"),
            Self::NotWeaker(ranks) => {
                format!("the new primary's is weaker: {}", ranks.join(" < "))
            }
            Self::NotTurned(word) => format!("it is {word} on the new primary only"),
            Self::SameModes => "the modes differ, in whatever order".to_owned(),
            Self::Connections => {
                "the new primary's is less; refused where it is less than are connected now"
                    .to_owned()
            }
            Self::Zone => "the clocks differ in January or July; names do not matter".to_owned(),
            Self::Tls => {
                "the old primary offers encrypted connections and the new does not".to_owned()
            }
        }
    }
}

const fn refuse(name: &'static str, rule: Rule, why: &'static str) -> Setting {
    Setting { name, alias: None, rule, weight: Weight::Refuse, change: Change::Running, why }
}

const fn warn(name: &'static str, rule: Rule, why: &'static str) -> Setting {
    Setting { name, alias: None, rule, weight: Weight::Warn, change: Change::Running, why }
}

impl Setting {
    const fn at_start(self) -> Self {
        Self { change: Change::AtStart, ..self }
    }

    const fn with_applier_stopped(self) -> Self {
        Self { change: Change::ApplierStopped, ..self }
    }

    const fn or(self, alias: &'static str) -> Self {
        Self { alias: Some(alias), ..self }
    }
}

const MODES: &str = "statements that work today fail, or other values are stored";
const POOL: &str = "what is in memory today is read from disk";

/// All of them.
pub(super) const SETTINGS: &[Setting] = &[
    refuse(
        "autocommit",
        Rule::Same,
        "work that is committed by itself today is not, or the other way round",
    ),
    refuse(
        "binlog_format",
        Rule::NotWeaker(&["STATEMENT", "MIXED", "ROW"]),
        "statements may do other things on the old primary, which follows",
    )
    .with_applier_stopped(),
    refuse(
        "innodb_flush_log_at_trx_commit",
        Rule::Stays("1"),
        "a crash of the new primary may lose acknowledged writes",
    ),
    refuse("innodb_force_recovery", Rule::Stays("0"), "a server in recovery is no primary")
        .at_start(),
    refuse("innodb_read_only", Rule::NotTurned("ON"), "it cannot be written to").at_start(),
    refuse(
        "innodb_snapshot_isolation",
        Rule::NotTurned("ON"),
        "transactions fail that work today, for a row that was changed since they began to read",
    ),
    refuse(
        "lower_case_table_names",
        Rule::Same,
        "tables are not found by the names that work today",
    )
    .at_start(),
    refuse("max_allowed_packet", Rule::NotLess, "statements that work today are too long"),
    refuse("offline_mode", Rule::NotTurned("ON"), "it lets no application in"),
    refuse("require_secure_transport", Rule::NotTurned("ON"), "it turns clients without TLS away"),
    refuse("sql_mode", Rule::SameModes, MODES),
    refuse(
        "sync_binlog",
        Rule::Stays("1"),
        "a crash of the new primary may lose transactions the old one has",
    ),
    refuse("time_zone", Rule::Zone, "NOW() and TIMESTAMP columns tell another time"),
    refuse("tls", Rule::Tls, "clients that insist on TLS are turned away").at_start(),
    refuse("transaction_read_only", Rule::NotTurned("ON"), "sessions that may write today may not")
        .or("tx_read_only"),
    warn("auto_increment_increment", Rule::Same, "new rows have other numbers"),
    warn(
        "binlog_row_image",
        Rule::NotWeaker(&["MINIMAL", "NOBLOB", "FULL"]),
        "who reads the binary log finds fewer columns there",
    ),
    warn("character_set_server", Rule::Same, "new databases and careless clients have another one"),
    warn("collation_server", Rule::Same, "new databases and careless clients have another one"),
    warn("default_storage_engine", Rule::Same, "new tables have another one"),
    warn(
        "explicit_defaults_for_timestamp",
        Rule::Same,
        "new TIMESTAMP columns have other defaults",
    ),
    warn("group_concat_max_len", Rule::NotLess, "longer answers are cut"),
    warn("gtid_domain_id", Rule::Same, "new transactions are of another domain"),
    warn("gtid_strict_mode", Rule::NotTurned("OFF"), "transactions out of order are not noticed"),
    warn("init_connect", Rule::Same, "sessions begin in another way"),
    warn("innodb_buffer_pool_size", Rule::NotLess, POOL),
    warn("innodb_log_file_size", Rule::NotLess, "bursts of writes wait sooner"),
    warn("innodb_redo_log_capacity", Rule::NotLess, "bursts of writes wait sooner"),
    warn(
        "innodb_strict_mode",
        Rule::Same,
        "CREATE TABLE and ALTER TABLE fail that work today, or the other way round",
    ),
    warn("interactive_timeout", Rule::NotLess, "idle sessions are ended sooner"),
    warn("local_infile", Rule::NotTurned("OFF"), "LOAD DATA LOCAL fails"),
    warn(
        "log_bin_trust_function_creators",
        Rule::NotTurned("OFF"),
        "CREATE FUNCTION and CREATE TRIGGER need more privileges",
    ),
    warn("max_connections", Rule::Connections, "clients over it are turned away"),
    warn("max_prepared_stmt_count", Rule::NotLess, "statements over it cannot be prepared"),
    warn(
        "sql_require_primary_key",
        Rule::NotTurned("ON"),
        "CREATE TABLE without a primary key fails",
    ),
    warn("transaction_isolation", Rule::Same, "reads see, and writes lock, something else")
        .or("tx_isolation"),
    warn("wait_timeout", Rule::NotLess, "idle sessions of connection pools are ended sooner"),
];
