//! Defaults of the Gateway API's definitions.

use serde_json::{Value, json};

use crate::json::{default as preset, each};
use crate::kinds::{GATEWAY_GROUP, Kind};

pub fn default(kind: &Kind, object: &mut Value) {
    if kind.kind != "HTTPRoute" {
        return;
    }
    let Some(spec) = object.get_mut("spec") else { return };
    for parent in each(spec, "parentRefs") {
        preset(parent, &["group"], GATEWAY_GROUP);
        preset(parent, &["kind"], "Gateway");
    }
    let any = json!([{"path": {"type": "PathPrefix", "value": "/"}}]);
    preset(spec, &["rules"], json!([{"matches": any}]));
    for rule in each(spec, "rules") {
        preset(rule, &["matches"], any.clone());
        for matching in each(rule, "matches") {
            preset(matching, &["path"], json!({}));
            preset(matching, &["path", "type"], "PathPrefix");
            preset(matching, &["path", "value"], "/");
            for part in ["headers", "queryParams"] {
                each(matching, part).for_each(|item| preset(item, &["type"], "Exact"));
            }
        }
        for backend in each(rule, "backendRefs") {
            preset(backend, &["group"], "");
            preset(backend, &["kind"], "Service");
            preset(backend, &["weight"], 1);
        }
    }
}
