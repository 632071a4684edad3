//! Structural schemas of custom resources: pruning, defaults, and validation of values.

use std::cell::RefCell;
use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use crate::refusal::Cause;

/// Fields of every object that no schema lists.
const COMMON: [&str; 3] = ["apiVersion", "kind", "metadata"];

pub fn default(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, below) in properties(schema) {
                if let Some(preset) = below.get("default")
                    && (!fields.contains_key(name) || (fields[name].is_null() && !is(below, "nullable")))
                {
                    fields.insert(name.clone(), preset.clone());
                }
                if let Some(field) = fields.get_mut(name) {
                    default(below, field);
                }
            }
            if let Some(below) = schema.get("additionalProperties").filter(|below| below.is_object()) {
                fields.values_mut().for_each(|field| default(below, field));
            }
        }
        Value::Array(items) => {
            if let Some(below) = schema.get("items") {
                items.iter_mut().for_each(|item| default(below, item));
            }
        }
        _ => {}
    }
}

#[must_use]
pub fn unknown(schema: &Value, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let Some(fields) = object.as_object() else { return found };
    let own: Map<String, Value> =
        fields.iter().filter(|(name, _)| !COMMON.contains(&name.as_str())).map(|(a, b)| (a.clone(), b.clone())).collect();
    unknown_below(schema, &Value::Object(own), "", &mut found);
    found
}

fn unknown_below(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let open = is(schema, "x-kubernetes-preserve-unknown-fields");
            for (name, field) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let below = schema.get("properties").and_then(|known| known.get(name));
                match below.or_else(|| schema.get("additionalProperties").filter(|below| below.is_object())) {
                    Some(below) => unknown_below(below, field, &path, found),
                    None if open => {}
                    None => found.push(path),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if let Some(below) = schema.get("items") {
                    unknown_below(below, item, &format!("{path}[{index}]"), found);
                }
            }
        }
        _ => {}
    }
}

/// Removes `a.b[2].c`.
pub fn remove_path(object: &mut Value, path: &str) {
    let pointer: String =
        path.split('.').flat_map(|part| part.split('[')).map(|part| format!("/{}", part.trim_end_matches(']'))).collect();
    let Some((parent, last)) = pointer.rsplit_once('/') else { return };
    if let Some(Value::Object(fields)) = object.pointer_mut(parent) {
        fields.remove(last);
    }
}

#[must_use]
pub fn validate(schema: &Value, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    check(schema, object, "", true, &mut causes);
    causes
}

fn check(schema: &Value, value: &Value, path: &str, is_root: bool, causes: &mut Vec<Cause>) {
    let shown = if path.is_empty() { "<nil>" } else { path };
    if value.is_null() {
        if !is(schema, "nullable") {
            causes.push(invalid(shown, "must not be null"));
        }
        return;
    }
    if let Some(kind) = schema.get("type").and_then(Value::as_str)
        && !is(schema, "x-kubernetes-int-or-string")
        && !has_type(value, kind)
    {
        let message =
            format!("Invalid value: \"{}\": {shown} in body must be of type {kind}: \"{}\"", type_of(value), type_of(value));
        causes.push(Cause::new("FieldValueTypeInvalid", shown, message));
        return;
    }
    causes.extend(bounds(schema, value, shown));
    let choices = schema.get("enum").and_then(Value::as_array).filter(|choices| !choices.contains(value));
    if let Some(choices) = choices {
        let choices: Vec<String> = choices.iter().map(Value::to_string).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", choices.join(", "));
        causes.push(Cause::new("FieldValueNotSupported", shown, message));
    }
    match value {
        Value::Object(fields) => {
            for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
                if !fields.contains_key(name) {
                    let field = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                    causes.push(Cause::new("FieldValueRequired", &field, "Required value"));
                }
            }
            for (name, field) in fields {
                if is_root && COMMON.contains(&name.as_str()) {
                    continue;
                }
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let below = schema.get("properties").and_then(|known| known.get(name));
                if let Some(below) = below.or_else(|| schema.get("additionalProperties").filter(|below| below.is_object())) {
                    check(below, field, &path, false, causes);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if let Some(below) = schema.get("items") {
                    check(below, item, &format!("{path}[{index}]"), false, causes);
                }
            }
        }
        _ => {}
    }
    combined(schema, value, shown, causes);
}

fn combined(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let matching = |name: &str| {
        let branches = schema.get(name).and_then(Value::as_array)?;
        Some((branches.iter().filter(|branch| fits(branch, value)).count(), branches.len()))
    };
    if let Some((count, _)) = matching("oneOf")
        && count != 1
    {
        causes.push(invalid(path, &format!("must validate one and only one schema (oneOf); {count} match")));
    }
    if matching("anyOf").is_some_and(|(count, _)| count == 0) {
        causes.push(invalid(path, "must validate at least one schema (anyOf)"));
    }
    if matching("allOf").is_some_and(|(count, all)| count != all) {
        causes.push(invalid(path, "must validate all the schemas (allOf)"));
    }
    if schema.get("not").is_some_and(|not| fits(not, value)) {
        causes.push(invalid(path, "must not validate the schema (not)"));
    }
}

fn fits(schema: &Value, value: &Value) -> bool {
    let mut causes = Vec::new();
    check(schema, value, "", false, &mut causes);
    causes.is_empty()
}

fn bounds(schema: &Value, value: &Value, path: &str) -> Option<Cause> {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let size = match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    };
    let (least, most) = match value {
        Value::String(_) => ("minLength", "maxLength"),
        Value::Array(_) => ("minItems", "maxItems"),
        Value::Object(_) => ("minProperties", "maxProperties"),
        _ => ("minimum", "maximum"),
    };
    #[allow(clippy::cast_precision_loss, reason = "sizes of test objects are small")]
    let measured = value.as_f64().unwrap_or(size as f64);
    if !value.is_boolean() && bound(least).is_some_and(|bound| measured < bound) {
        return Some(invalid(path, &format!("{value} is below {least} {}", schema[least])));
    }
    if !value.is_boolean() && bound(most).is_some_and(|bound| measured > bound) {
        let reason = if value.is_string() { "FieldValueTooLong" } else { "FieldValueInvalid" };
        return Some(Cause::new(reason, path, format!("Invalid value: {value} is above {most} {}", schema[most])));
    }
    match (schema.get("pattern").and_then(Value::as_str), value) {
        (Some(pattern), Value::String(text)) if !is_match(pattern, text) => {
            Some(invalid(path, &format!("{value}: {path} in body should match '{pattern}'")))
        }
        _ => None,
    }
}

/// Patterns are few and compiling one takes longer than everything else about an object.
fn is_match(pattern: &str, text: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<BTreeMap<String, Option<Regex>>> = const { RefCell::new(BTreeMap::new()) };
    }
    COMPILED.with_borrow_mut(|compiled| {
        let regex = compiled.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).ok());
        regex.as_ref().is_none_or(|regex| regex.is_match(text))
    })
}

fn invalid(path: &str, message: &str) -> Cause {
    Cause::new("FieldValueInvalid", path, format!("Invalid value: {message}"))
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn is(schema: &Value, flag: &str) -> bool {
    schema.get(flag).and_then(Value::as_bool) == Some(true)
}

fn has_type(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
