//! The reference of the kinds as Markdown, generated from their schemas: what is written here cannot drift from the types.

use std::fmt::Write;

use serde_json::{Value, json};

/// Fields of our own records are not for people to write; their tables stop at the first level.
const RECORDS: [&str; 1] = ["Release"];

/// The whole reference.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(
        "# Reference of the kinds\n\nGenerated from the types by `make generate`. `sluice.dev/v1alpha1`; namespaced unless said.\n",
    );
    for crd in crate::crds() {
        let crd = serde_json::to_value(crd).unwrap_or_default();
        kind(&mut out, &crd);
    }
    out
}

fn kind(out: &mut String, crd: &Value) {
    let text = |path: &str| crd.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = text("/spec/names/kind");
    let Some(version) = crd.pointer("/spec/versions/0") else { return };
    let schema = version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default();
    let scope = if text("/spec/scope") == "Cluster" { " Cluster-scoped." } else { "" };
    push(out, &format!("\n## {name}\n\n{}{scope}\n\n", line(&schema)));
    let short: Vec<&str> =
        crd.pointer("/spec/names/shortNames").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    push(out, &format!("`kubectl get {}.sluice.dev`", text("/spec/names/plural")));
    if !short.is_empty() {
        push(out, &format!(", short `{}`", short.join("`, `")));
    }
    let columns: Vec<&str> = version
        .get("additionalPrinterColumns")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|column| column.get("name")?.as_str())
        .collect();
    push(out, &format!(". Columns: {}.\n", columns.join(", ")));
    for rule in rules(&schema) {
        push(out, &format!("\nRule: {rule}\n"));
    }
    for part in ["spec", "status"] {
        let Some(schema) = schema.pointer(&format!("/properties/{part}")) else { continue };
        let mut rows = Vec::new();
        fields(&mut rows, part, schema, RECORDS.contains(&name.as_str()) || part == "status");
        push(out, &format!("\n### {part}\n\n| field | type | meaning |\n|---|---|---|\n{}", rows.concat()));
    }
}

fn push(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    out.write_str(text).unwrap_or_default();
}

/// One row for each field, and for the fields below it.
fn fields(rows: &mut Vec<String>, path: &str, schema: &Value, shallow: bool) {
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, field) in properties {
        let path = format!("{path}.{name}");
        let mut meaning = line(field);
        if let Some(default) = field.get("default").filter(|default| **default != json!({})) {
            meaning.push_str(&format!(" Default: `{default}`."));
        }
        for rule in rules(field) {
            meaning.push_str(&format!(" Rule: {rule}."));
        }
        let needed = if required.contains(&name.as_str()) { ", required" } else { "" };
        rows.push(format!("| `{path}` | {}{needed} | {} |\n", kind_of(field), meaning.replace('|', "\\|")));
        if !shallow {
            fields(rows, &path, field, shallow);
            if let Some(items) = field.get("items") {
                fields(rows, &format!("{path}[]"), items, shallow);
            }
        }
    }
}

/// A field's type with its bounds.
fn kind_of(field: &Value) -> String {
    if let Some(values) = field.get("enum").and_then(Value::as_array) {
        let words: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
        return format!("`{}`", words.join("`, `"));
    }
    let mut kind = field.get("type").and_then(Value::as_str).unwrap_or("any").to_owned();
    let number = |name: &str| field.get(name).and_then(Value::as_f64);
    match (number("minimum"), number("maximum")) {
        (Some(least), Some(most)) => kind.push_str(&format!(" {least} to {most}")),
        (Some(least), None) => kind.push_str(&format!(" from {least}")),
        (None, Some(most)) => kind.push_str(&format!(" to {most}")),
        (None, None) => {}
    }
    if let Some(most) = number("maxItems").or_else(|| number("maxLength")) {
        kind.push_str(&format!(", at most {most}"));
    }
    kind
}

fn rules(schema: &Value) -> Vec<String> {
    schema
        .get("x-kubernetes-validations")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|rule| rule.get("message")?.as_str().map(str::to_owned))
        .collect()
}

/// A description on one line.
fn line(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}
