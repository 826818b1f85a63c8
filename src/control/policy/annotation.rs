//! Annotations: what a policy says beside yes or no, in the grammar of docs/policies.md.
//!
//! An annotation that is not known, is malformed, or stands at the wrong effect is an error: one that were passed over would be a
//! condition that nobody holds anybody to.

use crate::model::scope::limits::MAX_COUNT;
use crate::model::{ApproverRule, Recording, Risk, Stage, StepUp, Terms, Ttl};
use cedar_policy::Effect;
use std::collections::BTreeSet;
use std::num::{NonZeroU8, NonZeroU64};

/// Most bytes of a denial's text.
pub(super) const MAX_BECAUSE: usize = 512;
/// Most stages of one policy, and most rules of one stage.
const MAX_STAGES: usize = 16;

/// What a policy does where it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    /// Permits on these terms.
    Permit(Box<Terms>),
    /// Denies, with these words.
    Forbid { because: Option<String> },
}

const PERMIT: &str = "approvers, max_ttl, max_total, step_up, approver_step_up, recording, idle_timeout, max_uses, \
    argument_bytes, response_bytes, pin_source, review, max_risk";

/// The rule of a policy with these annotations, or everything that is wrong with them.
pub(super) fn rule<'a>(
    effect: Effect,
    annotations: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Rule, Vec<String>> {
    let mut terms = Terms::default();
    let (mut because, mut wrong) = (None, Vec::new());
    for (name, text) in annotations {
        let done = match (name, effect) {
            ("id" | "description", _) => Ok(()),
            ("because", Effect::Forbid) => sentence(text).map(|text| because = Some(text)),
            ("because", Effect::Permit) => Err("belongs on a `forbid`: a permit denies nobody".to_owned()),
            (_, Effect::Permit) => term(&mut terms, name, text),
            (_, Effect::Forbid) if PERMIT.split(", ").any(|known| known == name) => {
                Err("belongs on a `permit`: where access is denied there are no terms".to_owned())
            }
            (_, Effect::Forbid) => Err("is not known: a `forbid` takes id, description, because".to_owned()),
        };
        wrong.extend(done.err().map(|error| format!("@{name} {error}")));
    }
    match (wrong.is_empty(), effect) {
        (false, _) => Err(wrong),
        (true, Effect::Permit) => Ok(Rule::Permit(Box::new(terms))),
        (true, Effect::Forbid) => Ok(Rule::Forbid { because }),
    }
}

fn term(terms: &mut Terms, name: &str, text: &str) -> Result<(), String> {
    match name {
        "approvers" => terms.stages = stages(text)?,
        "max_ttl" => terms.max_ttl = Some(length(text)?),
        "max_total" => terms.max_total = Some(length(text)?),
        "idle_timeout" => terms.idle_timeout = Some(length(text)?),
        "step_up" => terms.requester_step_up = Some(step_up(text)?),
        "approver_step_up" => terms.approver_step_up = Some(step_up(text)?),
        "recording" => terms.recording = recording(text)?,
        "max_uses" => terms.max_uses = Some(whole(text)?),
        "argument_bytes" => terms.argument_bytes = Some(bytes(text)?),
        "response_bytes" => terms.response_bytes = Some(bytes(text)?),
        "pin_source" => terms.pin_source = flag(text)?,
        "review" => terms.review = flag(text)?,
        "max_risk" => terms.max_risk = Some(risk(text)?),
        _ => return Err(format!("is not known: a `permit` takes id, description, {PERMIT}")),
    }
    Ok(())
}

/// `1 of owner then 2 of group:security, approvers`.
fn stages(text: &str) -> Result<Vec<Stage>, String> {
    const EXPECTED: &str = "expected for instance `1 of owner then 2 of group:security, approvers`";
    let mut stages: Vec<Stage> = Vec::new();
    for part in text.split(" then ") {
        let (number, rules) =
            part.trim().split_once(" of ").ok_or_else(|| format!("`{text}`: {EXPECTED}"))?;
        let approvals = number
            .trim()
            .parse::<NonZeroU8>()
            .map_err(|_| format!("`{number}` is no number of people from 1 to 255: {EXPECTED}"))?;
        let mut from = BTreeSet::new();
        for rule in rules.split(',').map(str::trim) {
            if !from.insert(approver(rule)?) {
                return Err(format!("names `{rule}` twice in one stage"));
            }
        }
        if stages.iter().any(|stage| stage.from == from) {
            return Err(format!("has two stages of `{}`: write one with more people", rules.trim()));
        }
        stages.push(Stage { approvals, from });
    }
    if stages.len() > MAX_STAGES || stages.iter().any(|stage| stage.from.len() > MAX_STAGES) {
        return Err(format!("has more than {MAX_STAGES} stages, or rules in a stage"));
    }
    Ok(stages)
}

fn approver(rule: &str) -> Result<ApproverRule, String> {
    let wrong = || format!("`{rule}`: expected `approvers`, `owner`, `peers`, `group:NAME` or a SPIFFE ID");
    match rule {
        "approvers" => Ok(ApproverRule::Approvers),
        "owner" => Ok(ApproverRule::Owner),
        "peers" => Ok(ApproverRule::Peers),
        _ => match rule.strip_prefix("group:") {
            Some(group) => group.parse().map(ApproverRule::Group).map_err(|_| wrong()),
            None => rule.parse().map(ApproverRule::Identity).map_err(|_| wrong()),
        },
    }
}

/// `acr=urn:a,urn:b amr=hwk,pin max_age=5m`.
fn step_up(text: &str) -> Result<StepUp, String> {
    let wrong = || format!("`{text}`: expected one or more of `acr=A[,B]`, `amr=A[,B]`, `max_age=5m`");
    let mut step_up = StepUp::default();
    for part in text.split_whitespace() {
        let (key, value) = part.split_once('=').ok_or_else(wrong)?;
        let list = || -> Result<BTreeSet<String>, String> {
            let items: Vec<&str> = value.split(',').collect();
            let set: BTreeSet<String> = items.iter().map(|item| (*item).to_owned()).collect();
            if set.contains("") || set.len() != items.len() { Err(wrong()) } else { Ok(set) }
        };
        match key {
            "acr" if step_up.acr.is_empty() => step_up.acr = list()?,
            "amr" if step_up.amr.is_empty() => step_up.amr = list()?,
            "max_age" if step_up.max_age.is_none() => {
                let seconds = length(value)?.get().as_secs();
                step_up.max_age = Some(Some(seconds).filter(|seconds| *seconds > 0).ok_or_else(wrong)?);
            }
            _ => return Err(wrong()),
        }
    }
    if step_up == StepUp::default() { Err(wrong()) } else { Ok(step_up) }
}

fn length(text: &str) -> Result<Ttl, String> {
    text.parse().map_err(|error| format!("`{text}`: {error}"))
}

fn whole(text: &str) -> Result<NonZeroU64, String> {
    text.parse().map_err(|_| format!("`{text}`: expected a whole number above 0"))
}

/// No more than a grant may say: numbers in JSON are exact up to there.
fn bytes(text: &str) -> Result<NonZeroU64, String> {
    whole(text).and_then(|bytes| match bytes.get() <= MAX_COUNT {
        true => Ok(bytes),
        false => Err(format!("`{text}`: expected at most {}", MAX_COUNT)),
    })
}

fn recording(text: &str) -> Result<Recording, String> {
    [Recording::Metadata, Recording::Arguments, Recording::Full]
        .into_iter()
        .find(|level| level.as_str() == text)
        .ok_or_else(|| format!("`{text}`: expected `metadata`, `arguments` or `full`"))
}

fn risk(text: &str) -> Result<Risk, String> {
    [Risk::Low, Risk::Medium, Risk::High]
        .into_iter()
        .find(|risk| risk.as_str() == text)
        .ok_or_else(|| format!("`{text}`: expected `low`, `medium` or `high`"))
}

/// An annotation that takes no value.
fn flag(text: &str) -> Result<bool, String> {
    if text.is_empty() { Ok(true) } else { Err(format!("takes no value; remove `(\"{text}\")`")) }
}

fn sentence(text: &str) -> Result<String, String> {
    let shown = !text.trim().is_empty() && !text.chars().any(char::is_control);
    if shown && text.len() <= MAX_BECAUSE {
        Ok(text.to_owned())
    } else {
        Err(format!("expected 1 to {MAX_BECAUSE} bytes on one line: why, for the requester"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permit(annotations: &[(&str, &str)]) -> Result<Terms, Vec<String>> {
        match rule(Effect::Permit, annotations.iter().copied())? {
            Rule::Permit(terms) => Ok(*terms),
            Rule::Forbid { .. } => panic!("a permit"),
        }
    }

    #[test]
    fn every_annotation_sets_its_term() {
        let terms = permit(&[
            ("id", "x"),
            ("approvers", "1 of owner then 2 of group:security, spiffe://d/a"),
            ("max_ttl", "30m"),
            ("max_total", "4h"),
            ("step_up", "acr=a,b amr=hwk max_age=5m"),
            ("approver_step_up", "max_age=1m"),
            ("recording", "full"),
            ("idle_timeout", "10m"),
            ("max_uses", "5"),
            ("argument_bytes", "4096"),
            ("response_bytes", "65536"),
            ("pin_source", ""),
            ("review", ""),
            ("max_risk", "medium"),
        ])
        .unwrap();
        let json = serde_json::to_value(terms).unwrap();
        let expected = serde_json::json!({
            "stages": [{"approvals": 1, "from": ["owner"]},
                {"approvals": 2, "from": [{"group": "security"}, {"identity": "spiffe://d/a"}]}],
            "max_ttl": "30m", "max_total": "4h",
            "requester_step_up": {"acr": ["a", "b"], "amr": ["hwk"], "max_age": 300},
            "approver_step_up": {"max_age": 60},
            "recording": "full", "idle_timeout": "10m", "max_uses": 5, "argument_bytes": 4096,
            "response_bytes": 65536, "pin_source": true, "review": true, "max_risk": "medium"
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn what_is_malformed_or_unknown_is_refused() {
        for (name, text) in [
            ("approvers", ""),
            ("approvers", "owner"),
            ("approvers", "0 of owner"),
            ("approvers", "256 of owner"),
            ("approvers", "1 of "),
            ("approvers", "1 of owner,"),
            ("approvers", "1 of owner, owner"),
            ("approvers", "1 of owner then"),
            ("approvers", "1 of owner then 2 of owner"),
            ("approvers", "1 of group:"),
            ("approvers", "1 of everybody"),
            ("max_ttl", "0s"),
            ("max_total", "4"),
            ("step_up", ""),
            ("step_up", "acr="),
            ("step_up", "acr=a,,b"),
            ("step_up", "acr=a acr=b"),
            ("step_up", "max_age=1ms"),
            ("step_up", "age=5m"),
            ("recording", "Full"),
            ("max_uses", "0"),
            ("argument_bytes", "0"),
            ("argument_bytes", "4k"),
            ("response_bytes", ""),
            ("response_bytes", "9007199254740992"),
            ("pin_source", "true"),
            ("max_risk", "none"),
            ("max_tll", "5m"),
            ("because", "no"),
        ] {
            let wrong = permit(&[(name, text)]).expect_err(&format!("@{name}({text:?})"));
            assert!(wrong[0].starts_with(&format!("@{name} ")), "{wrong:?}");
        }
        assert_eq!(permit(&[("a", ""), ("b", "")]).unwrap_err().len(), 2, "everything at once");
        for (name, text) in
            [("max_ttl", "5m"), ("review", ""), ("because", ""), ("becuase", "x"), ("because", "a\nb")]
        {
            assert!(rule(Effect::Forbid, [(name, text)].into_iter()).is_err(), "@{name}({text:?})");
        }
        let forbid = rule(Effect::Forbid, [("because", "not at night")].into_iter());
        assert_eq!(forbid, Ok(Rule::Forbid { because: Some("not at night".into()) }));
    }
}
