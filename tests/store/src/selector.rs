//! Label selectors: `a=b,c!=d,e in (x,y),f notin (z),g,!h`, and the structured form in objects.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::json::{at, list, text};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// All terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Term>);

impl Selector {
    /// The text form of a query.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for part in split(text) {
            terms.push(term(part.trim()).ok_or_else(|| format!("unable to parse requirement: {part:?}"))?);
        }
        Ok(Self(terms))
    }

    /// `matchLabels` and `matchExpressions`. Without either it selects nothing, as a workload's selector does.
    #[must_use]
    pub fn of(selector: Option<&Value>) -> Option<Self> {
        let selector = selector?;
        let mut terms: Vec<Term> =
            labels_at(selector, &["matchLabels"]).into_iter().map(|(name, value)| Term::In(name, vec![value])).collect();
        for expression in list(selector, &["matchExpressions"]) {
            let name = text(expression, &["key"]).to_owned();
            let values = list(expression, &["values"]).iter().filter_map(|value| Some(value.as_str()?.to_owned())).collect();
            terms.push(match text(expression, &["operator"]) {
                "In" => Term::In(name, values),
                "NotIn" => Term::NotIn(name, values),
                "Exists" => Term::Exists(name),
                _ => Term::Absent(name),
            });
        }
        (!terms.is_empty()).then_some(Self(terms))
    }

    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        let labels = labels_at(object, &["metadata", "labels"]);
        self.0.iter().all(|term| match term {
            Term::In(name, values) => labels.get(name).is_some_and(|value| values.contains(value)),
            Term::NotIn(name, values) => labels.get(name).is_none_or(|value| !values.contains(value)),
            Term::Exists(name) => labels.contains_key(name),
            Term::Absent(name) => !labels.contains_key(name),
        })
    }
}

#[must_use]
pub fn labels_at(object: &Value, path: &[&str]) -> BTreeMap<String, String> {
    let labels = at(object, path).and_then(Value::as_object);
    labels.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// At commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn term(text: &str) -> Option<Term> {
    let values = |list: &str| {
        let inner = list.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(inner.split(',').map(|value| value.trim().to_owned()).collect::<Vec<_>>())
    };
    if let Some((name, list)) = text.split_once(" notin ") {
        return Some(Term::NotIn(name.trim().to_owned(), values(list)?));
    }
    if let Some((name, list)) = text.split_once(" in ") {
        return Some(Term::In(name.trim().to_owned(), values(list)?));
    }
    if let Some((name, value)) = text.split_once("!=") {
        return Some(Term::NotIn(name.trim().to_owned(), vec![value.trim().to_owned()]));
    }
    if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some(Term::In(name.trim().to_owned(), vec![value.trim().to_owned()]));
    }
    match text.strip_prefix('!') {
        Some(name) => Some(Term::Absent(name.trim().to_owned())),
        None => Some(Term::Exists(text.to_owned())),
    }
}
