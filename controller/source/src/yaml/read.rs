//! Values from YAML that was scanned before, or that kustomize wrote.

use serde_json::Value;

use super::{Problem, YamlError, YamlLimits};

/// Every document of a text, as JSON. `file` is what errors call it.
pub(crate) fn documents(file: &str, text: &str, limits: &YamlLimits) -> Result<Vec<Value>, YamlError> {
    serde_saphyr::from_multiple_with_options::<Value>(text, options(limits, text.len())).map_err(|error| described(file, &error))
}

/// A text of one document; null when it has none.
pub(crate) fn single(file: &str, text: &str, limits: &YamlLimits) -> Result<Value, YamlError> {
    let mut all = documents(file, text, limits)?;
    match (all.pop(), all.is_empty()) {
        (Some(value), true) => Ok(value),
        (None, _) => Ok(Value::Null),
        _ => Err(YamlError::new(file, 1, Problem::NotExpected("one document is expected here, not several"))),
    }
}

fn options(limits: &YamlLimits, text_bytes: usize) -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: limits.max_documents,
            max_depth: limits.max_depth,
            max_nodes: limits.max_nodes,
            // a start and an end for each node is the most there can be
            max_events: limits.max_nodes.saturating_mul(2),
            max_total_scalar_bytes: text_bytes.saturating_mul(limits.max_expansion),
        },
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::Error,
        legacy_octal_numbers: true,
        strict_booleans: true,
        with_snippet: false,
    }
}

/// The library's texts may quote content, so only the place and the kind are kept.
fn described(file: &str, error: &serde_saphyr::Error) -> YamlError {
    let line = error.location().map_or(0, |location| usize::try_from(location.line()).unwrap_or_default());
    let problem = match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            Problem::DuplicateKey(key.as_deref().map(crate::error::quoted).unwrap_or_default())
        }
        serde_saphyr::Error::Budget { .. } | serde_saphyr::Error::AliasReplayLimitExceeded { .. } => Problem::Budget,
        _ => Problem::Syntax("it cannot be read as YAML".into()),
    };
    YamlError::new(file, line, problem)
}
