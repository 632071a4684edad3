//! Did the server keep all that was sent? A CRD older than this program drops fields it does not know, with status 200.

use serde_json::Value;

/// Fields named in one error.
const FIELDS_MAX: usize = 8;

/// The fields of `sent` that `kept` lacks or has with another value. More in `kept` is fine: defaults.
pub(crate) fn dropped(sent: &Value, kept: &Value, root: &str) -> Vec<String> {
    let mut fields = Vec::new();
    compare(sent, kept, root, &mut fields);
    fields
}

fn compare(sent: &Value, kept: &Value, path: &str, fields: &mut Vec<String>) {
    if fields.len() >= FIELDS_MAX {
        return;
    }
    match (sent, kept) {
        // an explicit null is as good as absent
        (Value::Null, _) => {}
        (Value::Object(sent), Value::Object(kept)) => {
            for (name, value) in sent {
                compare(value, kept.get(name).unwrap_or(&Value::Null), &format!("{path}.{name}"), fields);
            }
        }
        // an empty object that the server left out says nothing
        (Value::Object(sent), Value::Null) if sent.is_empty() => {}
        (Value::Array(sent), Value::Array(kept)) if sent.len() == kept.len() => {
            for (index, (sent, kept)) in sent.iter().zip(kept).enumerate() {
                compare(sent, kept, &format!("{path}[{index}]"), fields);
            }
        }
        // 1.0 comes back as 1
        (Value::Number(one), Value::Number(other)) if (one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64() => {}
        _ if sent == kept => {}
        _ => fields.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_server_dropped_or_changed_is_named() {
        let sent =
            json!({"phase": "Rolling", "step": {"index": 1, "new": true}, "list": [{"a": 1, "b": 2}], "none": null, "n": 1.0});
        let kept = json!({"phase": "Rolling", "step": {"index": 2}, "list": [{"a": 1}], "n": 1, "defaulted": 3});
        assert_eq!(dropped(&sent, &kept, "status"), ["status.list[0].b", "status.step.index", "status.step.new"]);
        assert!(dropped(&sent, &sent, "status").is_empty());
        assert_eq!(dropped(&sent, &Value::Null, "status"), ["status"]);
        assert_eq!(dropped(&json!([1]), &json!([1, 2]), "x"), ["x"]);
        assert!(dropped(&json!({"empty": {}}), &json!({}), "x").is_empty());
    }
}
