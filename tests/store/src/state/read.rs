//! Lists: consistent pages at one version.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::State;
use crate::json::text;
use crate::key::Key;
use crate::kinds::Kind;
use crate::refusal::{Cause, Refusal};
use crate::selector::Selector;

/// What a list or a watch is restricted to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Empty: all namespaces.
    pub namespace: String,
    /// Of a field selector on `metadata.name`.
    pub name: Option<String>,
    pub labels: Selector,
}

impl Filter {
    #[must_use]
    pub fn matches(&self, kind: &Kind, key: &Key, object: &Value) -> bool {
        key.group == kind.group
            && key.kind == kind.kind
            && (self.namespace.is_empty() || key.namespace == self.namespace)
            && self.name.as_ref().is_none_or(|name| *name == key.name)
            && self.labels.matches(object)
    }
}

/// One page.
pub struct Page {
    pub items: Vec<Arc<Value>>,
    pub version: u64,
    /// Empty on the last page.
    pub token: String,
    pub remaining: usize,
}

impl State {
    pub fn page(&self, kind: &Kind, filter: &Filter, limit: usize, token: &str) -> Result<Page, Refusal> {
        let (version, after) = if token.is_empty() { (self.version, None) } else { decode(token)? };
        if version < self.compacted {
            let message = "The provided continue parameter is too old to display a consistent list result.";
            return Err(Refusal::new(410, "Expired", message));
        }
        let past = (version < self.version).then(|| self.at_version(version));
        let objects = past.as_ref().unwrap_or(&self.objects);
        let mut matching = objects
            .range(Key::new(&kind.group, &kind.kind, "", "")..)
            .take_while(|(key, _)| key.group == kind.group && key.kind == kind.kind)
            .filter(|(key, object)| filter.matches(kind, key, object))
            .filter(|(key, _)| after.as_ref().is_none_or(|(namespace, name)| (&key.namespace, &key.name) > (namespace, name)))
            .map(|(_, object)| object.clone());
        let items: Vec<Arc<Value>> =
            if limit == 0 { matching.by_ref().collect() } else { matching.by_ref().take(limit).collect() };
        let remaining = matching.count();
        let token = match items.last().filter(|_| remaining > 0) {
            Some(last) => encode(version, text(last, &["metadata", "namespace"]), text(last, &["metadata", "name"])),
            None => String::new(),
        };
        Ok(Page { items, version, token, remaining })
    }

    /// The objects as they were.
    fn at_version(&self, version: u64) -> std::collections::BTreeMap<Key, Arc<Value>> {
        let mut objects = self.objects.clone();
        for change in self.changes.iter().rev().take_while(|change| change.version > version) {
            match &change.old {
                Some(old) => objects.insert(change.key.clone(), old.clone()),
                None => objects.remove(&change.key),
            };
        }
        objects
    }

    /// Refuses to answer from a past that the caller says is too old.
    pub fn check_freshness(&self, wanted: &str) -> Result<(), Refusal> {
        if wanted.parse::<u64>().is_ok_and(|wanted| wanted > self.version) {
            let message = format!("Too large resource version: {wanted}, current: {}", self.version);
            let cause = Cause::new("ResourceVersionTooLarge", "", "Too large resource version");
            return Err(Refusal::new(504, "Timeout", message).because(vec![cause]));
        }
        Ok(())
    }
}

fn encode(version: u64, namespace: &str, name: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{version}/{namespace}/{name}"))
}

fn decode(token: &str) -> Result<(u64, Option<(String, String)>), Refusal> {
    let invalid = || Refusal::bad_request("continue key is not valid");
    let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)?;
    let mut parts = text.splitn(3, '/');
    let (Some(version), Some(namespace), Some(name)) = (parts.next().and_then(|v| v.parse().ok()), parts.next(), parts.next())
    else {
        return Err(invalid());
    };
    Ok((version, Some((namespace.to_owned(), name.to_owned()))))
}
