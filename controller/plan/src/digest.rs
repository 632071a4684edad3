//! Canonical digests: the same content gives the same text, whatever the order of keys in memory.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// SHA-256 of the canonical JSON of a value, in hexadecimal.
#[must_use]
pub fn digest(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// SHA-256 of text, in hexadecimal.
#[must_use]
pub fn digest_text(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            out.push('{');
            for (index, name) in names.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(name.clone()).to_string());
                out.push(':');
                write_canonical(&fields[name], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => out.push_str(&value.to_string()),
    }
}

/// Kubernetes' alphabet for names without vowels and look-alikes, so that no hash spells a word.
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The first `length` characters of a digest, in Kubernetes' safe alphabet.
#[must_use]
pub fn short(digest: &str, length: usize) -> String {
    Sha256::digest(digest.as_bytes()).iter().take(length).map(|byte| char::from(SAFE[usize::from(*byte) % SAFE.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // Golden: these digests address what is stored in clusters. A change here makes every upgrade a rollout.
    #[test]
    fn digests_of_known_values_never_change() {
        assert_eq!(
            digest(&json!({"b": [1, 2.5, "x"], "a": {"d": null, "c": true}})),
            digest(&json!({"a": {"c": true, "d": null}, "b": [1, 2.5, "x"]})),
        );
        assert_eq!(digest(&json!({"a": 1})), "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862");
        assert_eq!(short("015abd7f", 10).len(), 10);
    }
}
