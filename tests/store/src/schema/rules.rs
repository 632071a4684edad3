//! The CEL rules of Sluice's own kinds, implemented natively: there is no CEL here.
//!
//! Evaluated: the epoch never falls (at the root, so a removed status counts), a Release's spec does not change, names have
//! at most 52 characters, durations are durations and some at least a second, weights never fall, a path is relative without `..`,
//! a repository's URL begins with http, a threshold has bounds in order. A rule is known by its message;
//! [`unevaluated`] names the rules of a schema that are not in this list and so let everything pass.

use serde_json::Value;
use sluice_crds::DurationText;

use crate::json::{at, integer, list, text};
use crate::kinds::Kind;
use crate::refusal::Cause;

/// The value, the value that it replaces, and the root.
struct Case<'a> {
    old: Option<&'a Value>,
    new: &'a Value,
    root: &'a Value,
}

type Holds = fn(&Case<'_>) -> bool;

const RULES: &[(&str, Holds)] = &[
    ("the epoch never falls", |case| {
        let epoch = |object| integer(object, &["status", "epoch"]);
        let Some(old) = case.old.and_then(epoch) else { return true };
        epoch(case.new).is_some_and(|new| new >= old)
    }),
    ("a Release's spec is a record", |case| {
        case.old.is_none_or(|old| {
            let (mut old, mut new) = (old["spec"].clone(), case.new["spec"].clone());
            crate::json::drop_nulls(&mut old);
            crate::json::drop_nulls(&mut new);
            old == new
        })
    }),
    ("has at most 52 characters", |case| text(case.root, &["metadata", "name"]).len() <= 52),
    ("must be a duration such as", |case| seconds(case.new).is_some()),
    ("must be at least 1s", |case| seconds(case.new).is_some_and(|seconds| seconds >= 1)),
    ("weights never fall", |case| {
        let weights: Vec<i64> = case.new.as_array().into_iter().flatten().filter_map(|step| integer(step, &["weight"])).collect();
        weights.is_sorted()
    }),
    ("must be a relative path", |case| {
        let path = case.new.as_str().unwrap_or("");
        !path.starts_with('/') && !path.contains('\\') && !path.split('/').any(|part| part == "..")
    }),
    ("must begin with https://", |case| {
        case.new.as_str().is_some_and(|url| url.starts_with("https://") || url.starts_with("http://"))
    }),
    ("at least one of min and max", |case| at(case.new, &["min"]).is_some() || at(case.new, &["max"]).is_some()),
    ("min must not be above max", |case| {
        let bound = |name| at(case.new, &[name]).and_then(Value::as_f64);
        match (bound("min"), bound("max")) {
            (Some(min), Some(max)) => min <= max,
            _ => true,
        }
    }),
];

fn seconds(value: &Value) -> Option<i64> {
    DurationText(value.as_str()?.to_owned()).seconds().ok()
}

/// Rules that do not hold.
#[must_use]
pub fn broken(kind: &Kind, schema: &Value, old: Option<&Value>, new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if kind.group == sluice_crds::names::GROUP {
        walk(schema, &Case { old, new, root: new }, "", &mut causes);
    }
    causes
}

fn walk(schema: &Value, case: &Case<'_>, path: &str, causes: &mut Vec<Cause>) {
    for message in messages(schema) {
        let known = RULES.iter().find(|(words, _)| message.contains(words));
        if known.is_some_and(|(_, holds)| !holds(case)) {
            let field = if path.is_empty() { "<nil>" } else { path };
            causes.push(Cause::new("FieldValueInvalid", field, format!("Invalid value: {message}")));
        }
    }
    for (name, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if let Some(new) = case.new.get(name) {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(below, &Case { old: case.old.and_then(|old| old.get(name)), new, root: case.root }, &path, causes);
        }
    }
    if let (Some(below), Some(items)) = (schema.get("items"), case.new.as_array()) {
        for (index, new) in items.iter().enumerate() {
            walk(below, &Case { old: None, new, root: case.root }, &format!("{path}[{index}]"), causes);
        }
    }
}

fn messages(schema: &Value) -> impl Iterator<Item = &str> {
    list(schema, &["x-kubernetes-validations"]).iter().map(|rule| text(rule, &["message"]))
}

/// Messages of rules that nothing here evaluates.
#[must_use]
pub fn unevaluated(schema: &Value) -> Vec<String> {
    let mut found: Vec<String> =
        messages(schema).filter(|message| !RULES.iter().any(|(words, _)| message.contains(words))).map(str::to_owned).collect();
    for below in schema.get("properties").and_then(Value::as_object).into_iter().flat_map(|fields| fields.values()) {
        found.extend(unevaluated(below));
    }
    for name in ["items", "additionalProperties"] {
        found.extend(schema.get(name).map(unevaluated).unwrap_or_default());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_our_kinds_is_evaluated() {
        let schemas = crate::kinds::served()
            .into_iter()
            .filter(|kind| kind.group == sluice_crds::names::GROUP)
            .filter_map(|kind| kind.schema);
        let left: Vec<String> = schemas.flat_map(|schema| unevaluated(&schema)).collect();
        assert!(left.is_empty(), "implement these rules here: {left:#?}");
    }
}
