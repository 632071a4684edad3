//! `/version`, `/api`, `/apis`, one group, one version: the classic form.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::kinds::Kind;
use crate::refusal::Refusal;

const VERBS: [&str; 7] = ["create", "delete", "get", "list", "patch", "update", "watch"];
const SUBRESOURCE_VERBS: [&str; 3] = ["get", "patch", "update"];

pub fn answer(kinds: &[Kind], segments: &[String]) -> Result<Value, Refusal> {
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["version"] => Ok(json!({"major": "1", "minor": "36", "gitVersion": "v1.36.3"})),
        ["livez" | "readyz" | "healthz"] => Ok(json!("ok")),
        ["api"] => Ok(json!({"kind": "APIVersions", "versions": ["v1"]})),
        ["apis"] => {
            let names: BTreeSet<&str> = kinds.iter().map(|kind| kind.group.as_str()).filter(|group| !group.is_empty()).collect();
            let groups: Vec<Value> = names.into_iter().filter_map(|name| group(kinds, name)).collect();
            Ok(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", name] => group(kinds, name).ok_or_else(Refusal::no_such_resource),
        ["api", version] => resources(kinds, "", version),
        ["apis", name, version] => resources(kinds, name, version),
        _ => Err(Refusal::no_such_resource()),
    }
}

fn group(kinds: &[Kind], name: &str) -> Option<Value> {
    let versions: BTreeSet<&str> = kinds.iter().filter(|kind| kind.group == name).map(|kind| kind.version.as_str()).collect();
    let versions: Vec<Value> =
        versions.into_iter().map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version})).collect();
    let preferred = versions.first()?.clone();
    Some(json!({"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": versions, "preferredVersion": preferred}))
}

fn resources(kinds: &[Kind], group: &str, version: &str) -> Result<Value, Refusal> {
    let mut resources = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.group == group && kind.version == version) {
        let entry = |name: &str, of: &str, verbs: &[&str]| json!({"name": name, "singularName": "", "namespaced": kind.namespaced, "kind": of, "verbs": verbs});
        resources.push(entry(&kind.plural, &kind.kind, &VERBS));
        if kind.has_status {
            resources.push(entry(&format!("{}/status", kind.plural), &kind.kind, &SUBRESOURCE_VERBS));
        }
        if kind.has_scale {
            resources.push(entry(&format!("{}/scale", kind.plural), "Scale", &SUBRESOURCE_VERBS));
        }
    }
    if resources.is_empty() {
        return Err(Refusal::no_such_resource());
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Ok(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}))
}
