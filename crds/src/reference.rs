//! The reference of the kinds as Markdown, generated from their schemas: what is written here cannot drift from the types.

use serde_json::{Value, json};

/// The whole reference.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(
        "# Reference of the kinds\n\n\
         Generated from the types by `make generate`. All are of `sluice.dev/v1alpha1`, and namespaced unless said.\n\
         `GitSync`, `Rollout` and the templates are written by people, `Release` and every status by the controller.\n\
         A rule is CEL that the API server evaluates at each write; unknown fields are refused when a revision is checked.\n",
    );
    for crd in crate::crds() {
        let crd = serde_json::to_value(crd).unwrap_or_default();
        kind(&mut out, &crd);
    }
    out
}

fn kind(out: &mut String, crd: &Value) {
    let text = |path: &str| crd.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(version) = crd.pointer("/spec/versions/0") else { return };
    let schema = version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default();
    let scope = if text("/spec/scope") == "Cluster" { " Cluster-scoped." } else { "" };
    out.push_str(&format!("\n## {}\n\n{}{scope}\n\n", text("/spec/names/kind"), line(&schema)));
    out.push_str(&format!("`kubectl get {}.sluice.dev`", text("/spec/names/plural")));
    let short = strings(crd.pointer("/spec/names/shortNames"));
    if !short.is_empty() {
        out.push_str(&format!(", short `{}`", short.join("`, `")));
    }
    out.push_str(&format!(". Columns: {}.\n", columns(version).join(", ")));
    for rule in rules(&schema) {
        out.push_str(&format!("\nRule: {rule}.\n"));
    }
    for part in ["spec", "status"] {
        let Some(schema) = schema.pointer(&format!("/properties/{part}")) else { continue };
        let mut rows = Vec::new();
        fields(&mut rows, part, schema);
        out.push_str(&format!("\n### {part}\n\n{}\n\n", line(schema)));
        out.push_str(&format!("| field | type | default | meaning |\n|---|---|---|---|\n{}", rows.concat()));
    }
}

/// Names of the print columns; those that need `-o wide` say so.
fn columns(version: &Value) -> Vec<String> {
    let all = version.get("additionalPrinterColumns").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter_map(|column| {
            let wide = column.get("priority").and_then(Value::as_i64).unwrap_or(0) > 0;
            Some(format!("{}{}", column.get("name")?.as_str()?, if wide { " (`-o wide`)" } else { "" }))
        })
        .collect()
}

/// One row for each field, and for the fields below it.
fn fields(rows: &mut Vec<String>, path: &str, schema: &Value) {
    let required = strings(schema.get("required"));
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, field) in properties {
        let path = format!("{path}.{name}");
        let mut meaning = line(field);
        let choices: Vec<&str> = choices(field);
        if !choices.is_empty() && !meaning.starts_with("Exactly one of") {
            meaning.push_str(&format!(" Exactly one of `{}`.", choices.join("`, `")));
        }
        for rule in rules(field).into_iter().chain(field.get("items").map(rules).unwrap_or_default()) {
            meaning.push_str(&format!(" Rule: {rule}."));
        }
        let needed = if required.contains(&name.as_str()) { ", required" } else { "" };
        let default = match field.get("default") {
            Some(default) if *default != json!({}) => format!("`{default}`"),
            _ => String::new(),
        };
        rows.push(format!(
            "| `{path}` | {}{needed} | {} | {} |\n",
            cell(&kind_of(field)),
            cell(&default),
            cell(meaning.trim_start())
        ));
        fields(rows, &path, field);
        if let Some(items) = field.get("items") {
            fields(rows, &format!("{path}[]"), items);
        }
    }
}

/// Alternatives of which an object must have one: how an enum with data is written.
fn choices(field: &Value) -> Vec<&str> {
    let alternatives = field.get("oneOf").and_then(Value::as_array);
    alternatives.into_iter().flatten().filter_map(|one| one.pointer("/required/0")?.as_str()).collect()
}

/// A field's type with its bounds.
fn kind_of(field: &Value) -> String {
    let words = strings(field.get("enum"));
    if !words.is_empty() {
        return format!("`{}`", words.join("`, `"));
    }
    let text = |name: &str| field.get(name).and_then(Value::as_str);
    let number = |name: &str| field.get(name).and_then(Value::as_f64);
    let mut kind = match (text("type"), text("format")) {
        (Some("array"), _) => {
            format!("list of {}", field.get("items").and_then(|items| items.get("type")?.as_str()).unwrap_or("any"))
        }
        (Some("string"), Some("date-time")) => "time".to_owned(),
        (Some(kind), _) => kind.to_owned(),
        (None, _) => "any".to_owned(),
    };
    match (number("minimum"), number("maximum")) {
        (Some(least), Some(most)) => kind.push_str(&format!(" {least} to {most}")),
        (Some(least), None) => kind.push_str(&format!(" from {least}")),
        (None, Some(most)) => kind.push_str(&format!(" to {most}")),
        (None, None) => {}
    }
    for (least, most, unit) in [("minLength", "maxLength", " characters"), ("minItems", "maxItems", "")] {
        match (number(least), number(most)) {
            (Some(least), Some(most)) => kind.push_str(&format!(", {least} to {most}{unit}")),
            (Some(least), None) => kind.push_str(&format!(", at least {least}{unit}")),
            (None, Some(most)) => kind.push_str(&format!(", at most {most}{unit}")),
            (None, None) => {}
        }
    }
    if let Some(pattern) = text("pattern") {
        kind.push_str(&format!(", `{pattern}`"));
    }
    kind
}

/// Each rule's message and the CEL behind it.
fn rules(schema: &Value) -> Vec<String> {
    let all = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter_map(|rule| Some(format!("{} (`{}`)", rule.get("message")?.as_str()?, rule.get("rule")?.as_str()?)))
        .collect()
}

fn strings(list: Option<&Value>) -> Vec<&str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Text that does not end a cell of a table, in code or out of it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// A description on one line.
fn line(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}
