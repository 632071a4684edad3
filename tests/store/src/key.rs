//! Which object: group, kind, namespace, name. Ordered as lists are.

use std::fmt;

use serde_json::Value;

use crate::json::text;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub group: String,
    pub kind: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    pub name: String,
}

impl Key {
    #[must_use]
    pub fn new(group: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self { group: group.to_owned(), kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The key that an object names itself by.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        let group = text(object, &["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
        let metadata = |field| text(object, &["metadata", field]);
        Self::new(group, text(object, &["kind"]), metadata("namespace"), metadata("name"))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        write!(f, " ")?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        write!(f, "{}", self.name)
    }
}
