//! One case: what a client sends, and what the gate must do with it whatever the table says.

use super::seen::Seen;

/// What holds for the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// 4xx or 5xx, a stream or a connection ended; the upstream hears nothing.
    Refused,
    /// 200, and the upstream hears one whole request.
    One,
    /// 200 twice, and the upstream hears two whole requests.
    Two,
    /// The first of several is served, and nothing behind it.
    First,
    /// The upstream hears a beginning at most: what it would take for a whole request never comes.
    Begun,
    /// A flood: bounded or ended, and the gate serves on. The upstream may hear of it.
    Borne,
}

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) rule: Rule,
    pub(crate) bytes: Vec<u8>,
    /// How the table shows the bytes; none: as they are, shortened.
    pub(crate) shown: Option<&'static str>,
    /// Fields of the forwarded request that the table shows.
    pub(crate) fields: &'static [&'static str],
    /// Why the gate does what it does.
    pub(crate) why: &'static str,
    /// Takes nothing of the answer until the other side has had the time to give it up.
    pub(crate) takes_nothing: bool,
}

/// `{}` in `bytes` becomes what the case is found by at the upstream.
pub(crate) fn case(name: &'static str, rule: Rule, bytes: &[u8], why: &'static str) -> Case {
    let marker = marker(name);
    let mut parts = bytes.to_vec();
    while let Some(at) = parts.windows(2).position(|two| two == b"{}") {
        parts.splice(at..at + 2, marker.bytes());
    }
    Case { name, rule, bytes: parts, shown: None, fields: &[], why, takes_nothing: false }
}

/// Unreserved in a URI, and a token.
fn marker(name: &str) -> String {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    let name: String = name.to_lowercase().chars().map(letter).collect();
    format!("~{name}~")
}

impl Case {
    pub(crate) fn marker(&self) -> String {
        marker(self.name)
    }

    /// Without what it is found by.
    fn unmarked(&self, text: &str) -> String {
        let marker = self.marker();
        text.replace(&format!("/{marker}/"), "/").replace(&marker, "")
    }

    pub(crate) fn shown(self, shown: &'static str) -> Self {
        Self { shown: Some(shown), ..self }
    }

    pub(crate) fn fields(self, fields: &'static [&'static str]) -> Self {
        Self { fields, ..self }
    }

    /// Sends these bytes behind the others.
    pub(crate) fn then(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(crate) fn takes_nothing(self) -> Self {
        Self { takes_nothing: true, ..self }
    }

    /// For the table: no marker, line ends as ⏎, long runs by their length.
    pub(crate) fn abbreviated(&self) -> String {
        if let Some(shown) = self.shown {
            return shown.to_owned();
        }
        let text = self.bytes.escape_ascii().to_string();
        let text = self.unmarked(&text).replace("\\r\\n", "⏎").replace("\\\"", "\"");
        format!("`{}`", shortened(&text).replace("\\'", "'").replace('|', "\\|"))
    }
}

/// Twelve times the same letter and more: once, and how often.
fn shortened(text: &str) -> String {
    let mut short = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let run = rest.chars().take_while(|other| *other == letter).count();
        short.push(letter);
        if run >= 12 {
            short += &format!("×{run} ");
            rest = &rest[run * letter.len_utf8()..];
        } else {
            rest = &rest[letter.len_utf8()..];
        }
    }
    short
}

/// What became of a case.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// The statuses that came, or how it ended without one.
    pub(crate) answer: String,
    pub(crate) seen: Vec<Seen>,
}

impl Outcome {
    /// For the table.
    pub(crate) fn cell(&self, case: &Case) -> String {
        let mut cell = self.answer.clone();
        if case.rule == Rule::Borne {
            return cell;
        }
        for seen in &self.seen {
            let text = case.unmarked(&seen.summary(case.fields));
            let how = match (seen.whole, seen.is_ambiguous()) {
                (false, _) => "begins",
                (true, true) => "forwards, ambiguous:",
                (true, false) => "forwards",
            };
            cell += &format!("; {how} `{}`", text.replace('|', "\\|"));
        }
        cell
    }

    /// What is wrong with it, if it is the gate's.
    pub(crate) fn fault(&self, case: &Case) -> Option<&'static str> {
        let whole = self.seen.iter().filter(|seen| seen.whole).count();
        let served = self.answer.split(' ').filter(|status| *status == "200").count();
        if self.seen.iter().any(Seen::is_ambiguous) {
            return Some("what reached the upstream can be read in two ways");
        }
        if self.answer == "open" {
            return Some("the connection was left open");
        }
        let good = match case.rule {
            Rule::Refused => self.seen.is_empty() && served == 0,
            Rule::One => {
                let answer = if case.takes_nothing { "cut off" } else { "200" };
                whole == 1 && self.seen.len() == 1 && self.answer == answer
            }
            Rule::Two => whole == 2 && self.seen.len() == 2 && self.answer == "200 200",
            Rule::First => whole == 1 && self.seen.len() == 1 && served == 1,
            Rule::Begun => whole == 0 && served == 0,
            Rule::Borne => true,
        };
        (!good).then_some("not what its rule says")
    }
}
