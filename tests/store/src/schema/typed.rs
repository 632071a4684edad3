//! Unknown fields and wrong types of built-in kinds, found by decoding them into the generated types.

use k8s_openapi::api;
use serde_json::Value;

use crate::kinds::Kind;

/// Fields that do not survive decoding. `Err`: it does not decode at all.
pub fn unknown(kind: &Kind, object: &Value) -> Result<Vec<String>, String> {
    macro_rules! decoded {
        ($type:ty) => {
            serde_json::from_value::<$type>(object.clone()).and_then(serde_json::to_value)
        };
    }
    let decoded = match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment") => decoded!(api::apps::v1::Deployment),
        ("apps", "ReplicaSet") => decoded!(api::apps::v1::ReplicaSet),
        ("apps", "StatefulSet") => decoded!(api::apps::v1::StatefulSet),
        ("apps", "DaemonSet") => decoded!(api::apps::v1::DaemonSet),
        ("batch", "Job") => decoded!(api::batch::v1::Job),
        ("batch", "CronJob") => decoded!(api::batch::v1::CronJob),
        ("autoscaling", "HorizontalPodAutoscaler") => decoded!(api::autoscaling::v2::HorizontalPodAutoscaler),
        ("coordination.k8s.io", "Lease") => decoded!(api::coordination::v1::Lease),
        ("events.k8s.io", "Event") => decoded!(api::events::v1::Event),
        ("", "Pod") => decoded!(api::core::v1::Pod),
        ("", "Service") => decoded!(api::core::v1::Service),
        ("", "ConfigMap") => decoded!(api::core::v1::ConfigMap),
        ("", "Secret") => decoded!(api::core::v1::Secret),
        ("", "ServiceAccount") => decoded!(api::core::v1::ServiceAccount),
        ("", "Namespace") => decoded!(api::core::v1::Namespace),
        ("", "PersistentVolumeClaim") => decoded!(api::core::v1::PersistentVolumeClaim),
        _ => return Ok(Vec::new()),
    };
    let decoded = decoded.map_err(|error| error.to_string())?;
    let mut lost = Vec::new();
    lost_fields(object, &decoded, "", &mut lost);
    Ok(lost)
}

fn lost_fields(given: &Value, decoded: &Value, path: &str, lost: &mut Vec<String>) {
    match (given, decoded) {
        (Value::Object(given), Value::Object(decoded)) => {
            for (name, value) in given {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match decoded.get(name) {
                    Some(decoded) => lost_fields(value, decoded, &path, lost),
                    None if is_nothing(value) => {}
                    None => lost.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(decoded)) => {
            for (index, (given, decoded)) in given.iter().zip(decoded).enumerate() {
                lost_fields(given, decoded, &format!("{path}[{index}]"), lost);
            }
        }
        _ => {}
    }
}

/// The types leave out what is empty.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}
