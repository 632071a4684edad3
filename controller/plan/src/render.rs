//! A render: the objects that a revision yields, before any change by us.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::digest;
use crate::id::Id;

/// The objects of one revision, by identity, and the digest that addresses them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Render {
    /// See [`Render::from_objects`].
    pub digest: String,
    /// In the order of their identities.
    #[serde(with = "pairs")]
    pub objects: BTreeMap<Id, Value>,
}

/// Why objects are no render.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("an object has no apiVersion, kind or metadata.name; every document needs all three")]
    NoIdentity,
    #[error("{0} occurs twice in the revision; keep one of the two documents")]
    Duplicate(Id),
}

impl Render {
    /// Joins objects into a render. The digest is over what Git says and nothing else: no label of ours, no
    /// defaulting, so that upgrading Sluice changes none.
    ///
    /// # Errors
    /// [`RenderError`] when an object has no identity or two have the same one.
    pub fn from_objects(objects: impl IntoIterator<Item = Value>) -> Result<Self, RenderError> {
        let mut by_id = BTreeMap::new();
        for object in objects {
            let id = Id::of(&object).ok_or(RenderError::NoIdentity)?;
            if by_id.contains_key(&id) {
                return Err(RenderError::Duplicate(id));
            }
            by_id.insert(id, object);
        }
        let list: Vec<Value> = by_id.values().cloned().collect();
        Ok(Self { digest: digest(&Value::Array(list)), objects: by_id })
    }

    /// The object of this identity.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&Value> {
        self.objects.get(id)
    }

    /// All objects of one kind.
    pub fn of_kind<'a>(&'a self, group: &'a str, kind: &'a str) -> impl Iterator<Item = (&'a Id, &'a Value)> {
        self.objects.iter().filter(move |(id, _)| id.is(group, kind))
    }
}

/// Maps with structured keys, as lists of pairs: JSON has only text keys.
pub mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// See the module.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(map: &BTreeMap<K, V>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map.iter())
    }

    /// See the module.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<K, V>, D::Error> {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}
