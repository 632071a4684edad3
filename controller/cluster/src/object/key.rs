//! Which object: group, version, kind, namespace and name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest path segment the API server takes as a name.
const NAME_MAX: usize = 253;

/// Names one object. The version says through which schema it is read and written; it is no part of its identity,
/// but two keys that differ in it are not equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    pub version: String,
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
}

impl ObjectKey {
    #[must_use]
    pub fn new(group: &str, version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Self {
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    /// `apps/v1`, or `v1` for the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Does the kind hold values that no message may quote?
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.group.is_empty() && self.kind == "Secret"
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// May this text be one segment of an address? Names come from Git: they must not lead to another object.
pub(crate) fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_MAX
        && text != "."
        && text != ".."
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'%' | b'?' | b'#' | b'\\'))
}

/// Percent-encodes what is not unreserved, so that a value is never read as part of the address.
pub(crate) fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':') {
            into.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            into.push('%');
            into.push(char::from(HEX[usize::from(byte >> 4)]));
            into.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_key_reads_as_kind_and_place() {
        assert_eq!(
            ObjectKey::new("gateway.networking.k8s.io", "v1", "HTTPRoute", Some("shop"), "shop").to_string(),
            "HTTPRoute shop/shop"
        );
        assert_eq!(ObjectKey::new("", "v1", "Namespace", None, "shop").to_string(), "Namespace shop");
        assert_eq!(ObjectKey::new("", "v1", "Pod", None, "x").api_version(), "v1");
        assert_eq!(ObjectKey::new("apps", "v1", "Deployment", None, "x").api_version(), "apps/v1");
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_no_segment() {
        for text in ["", ".", "..", "a/b", "a%2fb", "a?b", "a#b", "a b", "a\nb", "ä", "a\\b"] {
            assert!(!is_segment(text), "{text:?}");
        }
        for text in ["a", "a.b-c", "system:node", "...", "a_b", "x+y"] {
            assert!(is_segment(text), "{text:?}");
        }
        assert!(!is_segment(&"x".repeat(NAME_MAX + 1)));
    }

    #[test]
    fn values_are_encoded_byte_by_byte() {
        let mut text = String::new();
        encode("a=b,c in (d)&é", &mut text);
        assert_eq!(text, "a%3Db%2Cc%20in%20%28d%29%26%C3%A9");
    }
}
