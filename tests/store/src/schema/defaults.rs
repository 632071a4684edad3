//! Defaults of built-in kinds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::pod_defaults::pod_spec;
use crate::json::{at, default as preset, each, remove, set, text};
use crate::kinds::Kind;

pub fn default(kind: &Kind, object: &mut Value) {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment") => {
            preset(object, &["spec", "replicas"], 1);
            preset(object, &["spec", "revisionHistoryLimit"], 10);
            preset(object, &["spec", "progressDeadlineSeconds"], 600);
            preset(object, &["spec", "strategy", "type"], "RollingUpdate");
            if text(object, &["spec", "strategy", "type"]) == "RollingUpdate" {
                preset(object, &["spec", "strategy", "rollingUpdate", "maxSurge"], "25%");
                preset(object, &["spec", "strategy", "rollingUpdate", "maxUnavailable"], "25%");
            }
            template(object);
        }
        ("apps", "ReplicaSet" | "StatefulSet") => {
            preset(object, &["spec", "replicas"], 1);
            template(object);
        }
        ("apps", "DaemonSet") | ("batch", "Job") => template(object),
        ("", "Pod") => {
            if let Some(spec) = object.get_mut("spec") {
                pod_spec(spec);
            }
        }
        ("", "Service") => service(object),
        ("", "Secret") => secret(object),
        ("", "Namespace") => {
            preset(object, &["spec", "finalizers"], json!(["kubernetes"]));
            preset(object, &["status", "phase"], "Active");
            let name = text(object, &["metadata", "name"]).to_owned();
            set(object, &["metadata", "labels", "kubernetes.io/metadata.name"], name);
        }
        ("autoscaling", _) => preset(object, &["spec", "minReplicas"], 1),
        _ => {}
    }
}

fn template(object: &mut Value) {
    if let Some(spec) = object.pointer_mut("/spec/template/spec") {
        pod_spec(spec);
    }
}

fn service(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    preset(spec, &["type"], "ClusterIP");
    preset(spec, &["sessionAffinity"], "None");
    if text(spec, &["type"]) != "ExternalName" {
        preset(spec, &["internalTrafficPolicy"], "Cluster");
        preset(spec, &["ipFamilies"], json!(["IPv4"]));
        preset(spec, &["ipFamilyPolicy"], "SingleStack");
    }
    for port in each(spec, "ports") {
        preset(port, &["protocol"], "TCP");
        if let Some(number) = at(port, &["port"]).cloned() {
            preset(port, &["targetPort"], number);
        }
    }
    preset(object, &["status"], json!({"loadBalancer": {}}));
}

fn secret(object: &mut Value) {
    preset(object, &["type"], "Opaque");
    let Some(Value::Object(texts)) = remove(object, &["stringData"]) else { return };
    for (name, text) in texts {
        set(object, &["data", &name], STANDARD.encode(text.as_str().unwrap_or("")));
    }
}
