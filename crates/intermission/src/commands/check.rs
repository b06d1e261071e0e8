//! `intermission check`: what speaks against a swap now.

use serde::Serialize;

use super::parties::Assembly;
use crate::{
    cli::{Exit, Printer},
    config::{Config, cluster::SERVERS_MIN},
    swap::{
        plan::{Party, Planned},
        refusal::Refusal,
        run::{self, Candidate},
    },
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server to promote, by name, host or host:port; where there are several replicas and none is named, each is tried
    #[arg(long, value_name = "HOST")]
    to: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Args {
    /// For a person.
    pub(super) const fn new(to: Option<String>) -> Self {
        Self { to, json: false }
    }
}

/// Of the form below; docs/CHECK.md says when it grows.
const ANSWER_VERSION: u32 = 1;

/// What `--json` prints: scripts read it, docs/CHECK.md tells of each field.
#[derive(Debug, Default, Serialize)]
struct Answer<'a> {
    version: u32,
    ok: bool,
    old_primary: Option<String>,
    new_primary: Option<String>,
    refusals: &'a [Refusal],
    warnings: &'a [Refusal],
}

impl<'a> Answer<'a> {
    fn of(planned: &'a Result<Planned, Vec<Refusal>>) -> Self {
        let none = Self { version: ANSWER_VERSION, ..Self::default() };
        match planned {
            Ok(Planned::Swap(plan)) => Self {
                ok: true,
                old_primary: Some(label(&plan.old)),
                new_primary: Some(label(&plan.new)),
                warnings: &plan.warnings,
                ..none
            },
            Ok(Planned::AlreadyPrimary(name)) => {
                Self { ok: true, old_primary: Some(name.clone()), ..none }
            }
            Err(refusals) => Self { refusals, ..none },
        }
    }
}

fn label(party: &Party) -> String {
    format!("{} ({})", party.name, party.address)
}

pub(crate) async fn run(args: &Args, config: &Config, printer: &Printer) -> anyhow::Result<Exit> {
    let assembly = Assembly::of(config)?;
    let request = assembly.request(args.to.clone());
    let (parties, journals) = (&assembly.parties, &assembly.journals);
    let several = assembly.parties.servers.len() > SERVERS_MIN && args.to.is_none();
    let candidates =
        if several { run::preflight_each(parties, journals, &request).await? } else { Vec::new() };
    if !candidates.is_empty() {
        return tell_candidates(&candidates, args, printer);
    }
    let planned = run::preflight(parties, journals, &request).await?;
    let answer = Answer::of(&planned);
    if args.json {
        printer.data(serde_json::to_string_pretty(&answer)?);
    } else {
        printer.data(said(&planned));
    }
    Ok(if answer.ok { Exit::Done } else { Exit::Refused })
}

#[derive(Debug, Serialize)]
struct CandidateAnswer<'a> {
    name: &'a str,
    #[serde(flatten)]
    answer: Answer<'a>,
}

/// Whether each of several replicas could become primary; one that could is enough.
fn tell_candidates(
    candidates: &[Candidate],
    args: &Args,
    printer: &Printer,
) -> anyhow::Result<Exit> {
    let answers: Vec<CandidateAnswer<'_>> = candidates
        .iter()
        .map(|(name, planned)| CandidateAnswer { name, answer: Answer::of(planned) })
        .collect();
    let ok = answers.iter().any(|candidate| candidate.answer.new_primary.is_some());
    if args.json {
        let all = serde_json::json!({ "version": ANSWER_VERSION, "ok": ok, "candidates": answers });
        printer.data(serde_json::to_string_pretty(&all)?);
    } else {
        for (name, planned) in candidates {
            printer.data(format_args!("{name}: {}", said(planned)));
        }
    }
    Ok(if ok { Exit::Done } else { Exit::Refused })
}

fn said(planned: &Result<Planned, Vec<Refusal>>) -> String {
    match planned {
        Ok(Planned::Swap(plan)) => {
            let (old, new) = (label(&plan.old), label(&plan.new));
            let ready = format!("ready: {new} can take over from {old}");
            let lines: Vec<String> = [ready].into_iter().chain(warned(&plan.warnings)).collect();
            lines.join("\n")
        }
        Ok(Planned::AlreadyPrimary(name)) => {
            format!("{name} is the primary already: there is nothing to do")
        }
        Err(refusals) => said_of(refusals),
    }
}

/// The warnings, for a person.
pub(super) fn warned(warnings: &[Refusal]) -> impl Iterator<Item = String> {
    warnings.iter().map(|warning| format!("warning: {warning}"))
}

/// All refusals, for a person.
pub(super) fn said_of(refusals: &[Refusal]) -> String {
    let lines: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    let number = match lines.len() {
        1 => "1 reason".to_owned(),
        many => format!("{many} reasons"),
    };
    format!("refused, {number}:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::swap::{plan, refusal::Code};

    fn check(planned: &Result<Planned, Vec<Refusal>>, wanted: &Expect) {
        let answer = serde_json::to_string_pretty(&Answer::of(planned)).expect("serializes");
        wanted.assert_eq(&answer);
    }

    #[test]
    fn the_form_scripts_read_is_this() {
        let mut ready = plan::example();
        ready.warnings.push(Refusal::new(Code::DifferentSetting, "what is wrong", "what mends it"));
        check(
            &Ok(Planned::Swap(Box::new(ready))),
            &expect![[r#"
            {
              "version": 1,
              "ok": true,
              "old_primary": "db1 (127.0.0.1:1)",
              "new_primary": "db2 (127.0.0.1:2)",
              "refusals": [],
              "warnings": [
                {
                  "code": "different-setting",
                  "sentence": "what is wrong",
                  "mend": "what mends it"
                }
              ]
            }"#]],
        );
        check(
            &Ok(Planned::AlreadyPrimary("db1 (127.0.0.1:1)".to_owned())),
            &expect![[r#"
            {
              "version": 1,
              "ok": true,
              "old_primary": "db1 (127.0.0.1:1)",
              "new_primary": null,
              "refusals": [],
              "warnings": []
            }"#]],
        );
        check(
            &Err(vec![Refusal::new(Code::Lag, "what is wrong", "what mends it")]),
            &expect![[r#"
            {
              "version": 1,
              "ok": false,
              "old_primary": null,
              "new_primary": null,
              "refusals": [
                {
                  "code": "lag",
                  "sentence": "what is wrong",
                  "mend": "what mends it"
                }
              ],
              "warnings": []
            }"#]],
        );
    }

    /// The manual's example is of this form, and its table has each field.
    #[test]
    fn the_manual_shows_this_form() {
        let manual = include_str!("../../../../docs/CHECK.md");
        let (_, rest) = manual.split_once("```json\n").expect("an example");
        let (example, _) = rest.split_once("\n```").expect("its end");
        let shown: serde_json::Value = serde_json::from_str(example).expect("JSON");
        let mut plan = plan::example();
        plan.warnings.push(Refusal::new(Code::DifferentSetting, "x", "y"));
        let planned = Ok(Planned::Swap(Box::new(plan)));
        let answer = serde_json::to_value(Answer::of(&planned)).expect("serializes");
        let keys = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().expect("an object").keys().cloned().collect()
        };
        assert_eq!(keys(&shown), keys(&answer));
        assert_eq!(keys(&shown["warnings"][0]), keys(&answer["warnings"][0]));
        assert_eq!(shown["version"], ANSWER_VERSION);
        for key in keys(&answer) {
            assert!(manual.contains(&format!("\n| `{key}` | ")), "{key}");
        }
        for key in keys(&answer["warnings"][0]) {
            assert!(manual.contains(&format!("\n| `….{key}` | ")), "{key}");
        }
    }
}
