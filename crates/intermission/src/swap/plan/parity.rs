//! Settings of the two servers that would be felt after a swap: what has to be equal, or not less, and why.
//!
//! Refused is what makes writes fail that worked, changes what is stored, breaks replication or may lose what was
//! acknowledged; the rest is a warning. A setting that only one of the servers has cannot be compared and is passed over.

use super::{Findings, Side};
use crate::swap::refusal::{Code, Refusal};

mod table;

use self::table::{Change, Rule, SETTINGS, Setting, Weight};

/// Everything that is compared has a name by which a difference can be allowed.
#[must_use]
pub fn is_compared(name: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.name == name)
}

/// The names differences can be allowed by.
pub fn names() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|setting| setting.name)
}

/// The global variables to read.
pub(crate) fn variables() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().flat_map(|setting| [Some(setting.name), setting.alias]).flatten()
}

/// Two values, and how they differ.
struct Difference {
    weight: Weight,
    /// What `old` and `new` have.
    words: [String; 2],
    /// What would be right on the new primary.
    wanted: Option<String>,
}

pub(super) fn examine(old: &Side<'_>, new: &Side<'_>, allowed: &[String]) -> Findings {
    let mut findings = Findings::default();
    for setting in SETTINGS {
        if allowed.iter().any(|name| name == setting.name) {
            continue;
        }
        if let Some(difference) = setting.compare(old, new) {
            let (code, into) = match difference.weight {
                Weight::Refuse => (Code::IncompatibleSetting, &mut findings.refusals),
                Weight::Warn => (Code::DifferentSetting, &mut findings.warnings),
            };
            into.push(told(setting, &difference, code, [old, new]));
        }
    }
    findings
}

fn told(setting: &Setting, found: &Difference, code: Code, [old, new]: [&Side<'_>; 2]) -> Refusal {
    let Setting { name, why, .. } = setting;
    let ([was, is], place) = (&found.words, &new.seen.name);
    let sentence = format!("{name} is {was} on {} and {is} on {}: {why}", old.label(), new.label());
    let set = match (&found.wanted, setting.change) {
        (None, _) => format!("make {place} like {} there", old.seen.name),
        (Some(value), Change::AtStart) => {
            format!("set {name} = {value} in the option file of {place} and restart it")
        }
        (Some(value), Change::Running | Change::ApplierStopped) => {
            let stopped = match setting.change {
                Change::ApplierStopped => " while it applies nothing",
                Change::Running | Change::AtStart => "",
            };
            let set = format!("SET GLOBAL {name} = {}", typed(value));
            format!("{set} on {place}{stopped}, and the same in its option file")
        }
    };
    Refusal::new(code, sentence, format!("{set}; or name it in swap.allow_differences"))
}

/// As SQL takes it.
fn typed(value: &str) -> String {
    let is_plain = value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_plain && !value.is_empty() {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "''"))
    }
}

impl Setting {
    fn value<'a>(&self, side: &Side<'a>) -> Option<&'a str> {
        let condition = &side.view.condition;
        condition.variable(self.name).or_else(|| condition.variable(self.alias?))
    }

    fn compare(&self, old: &Side<'_>, new: &Side<'_>) -> Option<Difference> {
        let texts = || Some([self.value(old)?, self.value(new)?]);
        let differ = |is_wrong: bool, [was, is]: [&str; 2]| {
            let words = [shown(was), shown(is)];
            is_wrong.then(|| Difference {
                weight: self.weight,
                words,
                wanted: Some(was.to_owned()),
            })
        };
        match self.rule {
            Rule::Same => {
                let [was, is] = texts()?;
                differ(plain(was) != plain(is), [was, is])
            }
            Rule::NotLess => {
                let [was, is] = texts()?;
                let is_less = number(is).zip(number(was)).is_some_and(|(is, was)| is < was);
                differ(is_less, [was, is])
            }
            Rule::Stays(value) => {
                let [was, is] = texts()?;
                differ(was == value && is != value, [was, is])
            }
            Rule::NotWeaker(ranks) => {
                let [was, is] = texts()?;
                let rank =
                    |text: &str| ranks.iter().position(|word| word.eq_ignore_ascii_case(text));
                let is_weaker = rank(is).zip(rank(was)).is_some_and(|(is, was)| is < was);
                differ(is_weaker, [was, is])
            }
            Rule::NotTurned(word) => {
                let [was, is] = texts()?;
                differ(plain(is) == word && plain(was) != word, [was, is])
            }
            Rule::SameModes => {
                let [was, is] = texts()?;
                differ(modes(was) != modes(is), [was, is])
            }
            Rule::Connections => connections(self.value(old)?, self.value(new)?, old),
            Rule::Zone => zone(old, new),
            Rule::Tls => {
                let lacks = old.view.condition.offers_tls()? && !new.view.condition.offers_tls()?;
                let words = ["offered".to_owned(), "not".to_owned()];
                lacks.then_some(Difference { weight: self.weight, words, wanted: None })
            }
        }
    }
}

/// Fewer than are in use now is no warning any more.
fn connections(was: &str, is: &str, old: &Side<'_>) -> Option<Difference> {
    let (most, fewer) = (number(was)?, number(is)?);
    let condition = &old.view.condition;
    let used = condition.figure("Threads_connected");
    let peak = condition.figure("Max_used_connections");
    let weight = if used.is_some_and(|used| fewer < used) { Weight::Refuse } else { Weight::Warn };
    let in_use =
        |count: Option<u64>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
    let words =
        [format!("{was} ({} in use, {} at its peak)", in_use(used), in_use(peak)), is.to_owned()];
    (fewer < most).then(|| Difference { weight, words, wanted: Some(was.to_owned()) })
}

/// By what the clocks show, not by name: UTC has many, and the system's own changes with the season.
fn zone(old: &Side<'_>, new: &Side<'_>) -> Option<Difference> {
    let (was, is) = (&old.view.condition, &new.view.condition);
    let differ = match (was.zone, is.zone) {
        (Some(was), Some(is)) => was != is,
        _ => old.zone_name()? != new.zone_name()?,
    };
    let said = |side: &Side<'_>, minutes: Option<[i64; 2]>| {
        let name = side.zone_name().unwrap_or("unknown");
        match minutes {
            Some([january, july]) => {
                format!("{name} ({january} minutes from UTC in January, {july} in July)")
            }
            None => name.to_owned(),
        }
    };
    let words = [said(old, was.zone), said(new, is.zone)];
    let wanted = was.variable("time_zone").filter(|zone| *zone != "SYSTEM").map(str::to_owned);
    differ.then_some(Difference { weight: Weight::Refuse, words, wanted })
}

impl<'a> Side<'a> {
    fn zone_name(&self) -> Option<&'a str> {
        let condition = &self.view.condition;
        match condition.variable("time_zone")? {
            "SYSTEM" => condition.variable("system_time_zone"),
            zone => Some(zone),
        }
    }
}

/// An empty value has to be seen.
fn shown(value: &str) -> String {
    if value.is_empty() { "empty".to_owned() } else { value.to_owned() }
}

/// A value in one form, whichever way its server writes it.
fn plain(value: &str) -> String {
    match value.to_ascii_uppercase().as_str() {
        "1" | "YES" | "TRUE" => "ON".to_owned(),
        "0" | "NO" | "FALSE" => "OFF".to_owned(),
        other => other.to_owned(),
    }
}

/// Whole, without the fraction MariaDB gives some of them.
fn number(value: &str) -> Option<u64> {
    value.split('.').next()?.parse().ok()
}

fn modes(value: &str) -> std::collections::BTreeSet<String> {
    value
        .split(',')
        .map(|mode| mode.trim().to_ascii_uppercase())
        .filter(|m| !m.is_empty())
        .collect()
}

#[cfg(test)]
mod tests;
