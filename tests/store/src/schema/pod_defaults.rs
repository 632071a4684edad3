//! Defaults of pods and pod templates.

use serde_json::{Value, json};

use crate::json::{at, default as preset, each, text};

pub fn pod_spec(spec: &mut Value) {
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
    ] {
        preset(spec, &[field], value);
    }
    // the old name of the field is kept in step
    if let Some(account) = at(spec, &["serviceAccountName"]).cloned() {
        preset(spec, &["serviceAccount"], account);
    }
    for group in ["containers", "initContainers"] {
        each(spec, group).for_each(container);
    }
    for volume in each(spec, "volumes") {
        for source in ["configMap", "secret", "projected", "downwardAPI"] {
            if at(volume, &[source]).is_some() {
                preset(volume, &[source, "defaultMode"], 420);
            }
        }
    }
}

fn container(container: &mut Value) {
    let image = text(container, &["image"]);
    let name = image.rsplit('/').next().unwrap_or(image);
    let is_pinned = name.contains('@') || name.split_once(':').is_some_and(|(_, tag)| tag != "latest");
    preset(container, &["imagePullPolicy"], if is_pinned { "IfNotPresent" } else { "Always" });
    preset(container, &["resources"], json!({}));
    preset(container, &["terminationMessagePath"], "/dev/termination-log");
    preset(container, &["terminationMessagePolicy"], "File");
    each(container, "ports").for_each(|port| preset(port, &["protocol"], "TCP"));
    for variable in each(container, "env") {
        if at(variable, &["valueFrom", "fieldRef"]).is_some() {
            preset(variable, &["valueFrom", "fieldRef", "apiVersion"], "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(name).filter(|probe| probe.is_object()) else { continue };
        for (field, value) in [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)] {
            preset(probe, &[field], value);
        }
        if at(probe, &["httpGet"]).is_some() {
            preset(probe, &["httpGet", "scheme"], "HTTP");
            preset(probe, &["httpGet", "path"], "/");
        }
    }
}
