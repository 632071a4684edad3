//! What an address names, and what its query asks.

use std::collections::BTreeMap;

use crate::kinds::Kind;
use crate::refusal::Refusal;

/// A parsed address.
#[derive(Clone, Debug)]
pub enum Address {
    /// Everything above resources, as segments.
    Discovery(Vec<String>),
    Resource {
        kind: Box<Kind>,
        namespace: String,
        name: String,
        subresource: String,
    },
}

/// The parameters of a query, decoded.
#[derive(Clone, Debug, Default)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(&value.replace('+', " ")))
        });
        Self(pairs.collect())
    }

    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        matches!(self.get(name), "true" | "1")
    }
}

pub fn parse(kinds: &[Kind], path: &str) -> Result<Address, Refusal> {
    let segments: Vec<String> = path.split('/').filter(|segment| !segment.is_empty()).map(decode).collect();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Ok(Address::Discovery(segments)),
    };
    if rest.is_empty() {
        return Ok(Address::Discovery(segments));
    }
    let served = |plural: &str, is_scoped: bool| {
        let found = kinds.iter().find(|kind| kind.group == group && kind.version == version && kind.plural == plural);
        found.filter(|kind| !is_scoped || kind.namespaced).cloned().map(Box::new).ok_or_else(Refusal::no_such_resource)
    };
    let text = |text: Option<&&str>| text.map_or(String::new(), |text| (*text).to_owned());
    // `namespaces/x/pods` is a list in a namespace, `namespaces/x/status` a part of the namespace itself
    if let ["namespaces", namespace, plural, below @ ..] = rest
        && !matches!(*plural, "status" | "finalize")
    {
        let kind = served(plural, true)?;
        return Ok(Address::Resource {
            kind,
            namespace: (*namespace).to_owned(),
            name: text(below.first()),
            subresource: text(below.get(1)),
        });
    }
    let [plural, below @ ..] = rest else { return Err(Refusal::no_such_resource()) };
    let kind = served(plural, false)?;
    if kind.namespaced && !below.is_empty() {
        return Err(Refusal::no_such_resource());
    }
    Ok(Address::Resource { kind, namespace: String::new(), name: text(below.first()), subresource: text(below.get(1)) })
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        let hex =
            tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok()).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (*byte, hex) {
            (b'%', Some(decoded)) => {
                bytes.push(decoded);
                rest = &tail[2..];
            }
            (byte, _) => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
