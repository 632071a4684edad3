//! Reading: one object by quorum, or a list whose items are decoded each by itself.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::key::ObjectKey;
use super::read_error::ReadError;
use super::request::{Answer, Call};
use super::status::{ApiStatus, clip};
use super::{NoAddress, Objects, collection_path};

/// Objects a page: about 2 MiB of answer for objects of 4 KiB.
const PAGE_OBJECTS: usize = 500;
/// How often a list is begun again because its pages outlived the server's memory of them.
const RESTARTS_MAX: usize = 1;
/// Objects that could not be decoded, kept by name.
const UNREADABLE_MAX: usize = 32;

/// An object that is there but cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// `namespace/name`, as far as it could be found out.
    pub name: String,
    pub message: String,
}

/// What a list returned. Absence may be concluded from it only if it is [`Listing::is_complete`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    pub items: Vec<Value>,
    pub unreadable: Vec<Unreadable>,
    /// There are more objects than the limit allowed to read.
    pub truncated: bool,
    pub resource_version: String,
}

impl Listing {
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.truncated && self.unreadable.is_empty()
    }

    /// The items as `K`; those that do not fit join the unreadable ones.
    #[must_use]
    pub fn decode<K: DeserializeOwned>(self) -> (Vec<K>, Vec<Unreadable>) {
        let mut unreadable = self.unreadable;
        let mut decoded = Vec::with_capacity(self.items.len());
        for item in self.items {
            let name = name_of(&item["metadata"]);
            let secret = item["kind"] == "Secret";
            match serde_json::from_value(item) {
                Ok(object) => decoded.push(object),
                // the error may quote a value
                Err(_) if secret => note(&mut unreadable, name, &"the Secret does not fit its type"),
                Err(error) => note(&mut unreadable, name, &error),
            }
        }
        (decoded, unreadable)
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(default)]
    items: Option<Vec<Box<RawValue>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMeta {
    r#continue: String,
    resource_version: String,
}

impl Objects {
    /// The object as it is stored now, not as a cache has it; `None` if it does not exist.
    pub async fn get(&self, key: &ObjectKey) -> Result<Option<Value>, ReadError> {
        let address = self.address(key, None).await.map_err(|error| read_error(key, error))?;
        let answer = self.ask(key, Call::new(Method::GET, address)).await?;
        match answer.status {
            StatusCode::OK => {
                let object = serde_json::from_slice(&answer.body).map_err(|error| undecodable(key, &error))?;
                Ok(Some(object))
            }
            StatusCode::NOT_FOUND => {
                self.not_found(key, &answer).await?;
                Ok(None)
            }
            _ => Err(ReadError::of_answer(key, &answer)),
        }
    }

    /// At most `limit` objects of a kind, in one namespace or in all. A kind that is namespaced may be listed without a namespace.
    pub async fn list(
        &self,
        group: &str,
        version: &str,
        kind: &str,
        namespace: Option<&str>,
        labels: Option<&str>,
        limit: usize,
    ) -> Result<Listing, ReadError> {
        let key = ObjectKey::new(group, version, kind, namespace, "*");
        let served = self.kinds.resolve(group, version, kind).await.map_err(|error| read_error(&key, NoAddress::Kind(error)))?;
        if namespace.is_some() && !served.namespaced {
            return Err(read_error(&key, NoAddress::Invalid(format!("{kind} is cluster-scoped, but a namespace is given"))));
        }
        let path = collection_path(&served, namespace).map_err(|error| read_error(&key, error))?;
        let api_version = ObjectKey { version: served.version, ..key.clone() }.api_version();
        let mut restarts = 0;
        loop {
            match self.pages(&key, &api_version, &path, labels, limit).await? {
                Some(listing) => return Ok(listing),
                None if restarts < RESTARTS_MAX => restarts += 1,
                None => {
                    let message =
                        "its pages expired while it was being read; the cluster changes faster than the list is read".to_owned();
                    return Err(ReadError::Unavailable { object: key.to_string(), message });
                }
            }
        }
    }

    /// `None` if a page expired.
    async fn pages(
        &self,
        key: &ObjectKey,
        api_version: &str,
        path: &str,
        labels: Option<&str>,
        limit: usize,
    ) -> Result<Option<Listing>, ReadError> {
        let mut listing = Listing::default();
        let mut seen = 0;
        let mut token = String::new();
        loop {
            let page_size = PAGE_OBJECTS.min(limit.saturating_sub(seen)).max(1);
            let call = Call::new(Method::GET, path.to_owned())
                .maybe_query("labelSelector", labels)
                .query("limit", &page_size.to_string())
                .maybe_query("continue", (!token.is_empty()).then_some(token.as_str()));
            let answer = self.ask(key, call).await?;
            match answer.status {
                StatusCode::OK => {}
                StatusCode::GONE => return Ok(None),
                StatusCode::NOT_FOUND => {
                    self.not_found(key, &answer).await?;
                    return Err(ReadError::of_answer(key, &answer));
                }
                _ => return Err(ReadError::of_answer(key, &answer)),
            }
            let page: Page = serde_json::from_slice(&answer.body).map_err(|error| undecodable(key, &error))?;
            let items = page.items.unwrap_or_default();
            // a server that ignores the limit must not make us exceed it
            let room = limit.saturating_sub(seen);
            listing.truncated = items.len() > room;
            seen += items.len().min(room);
            for item in items.iter().take(room) {
                decode_item(item, key, api_version, &mut listing);
            }
            listing.resource_version = page.metadata.resource_version;
            token = page.metadata.r#continue;
            if token.is_empty() || listing.truncated {
                return Ok(Some(listing));
            }
            if seen >= limit {
                listing.truncated = true;
                return Ok(Some(listing));
            }
        }
    }

    async fn ask(&self, key: &ObjectKey, call: Call) -> Result<Answer, ReadError> {
        call.send(&self.client).await.map_err(|unanswered| ReadError::of_unanswered(key, unanswered))
    }

    /// An error if it is the kind that is not served, not the object that is missing: that would read as "gone".
    async fn not_found(&self, key: &ObjectKey, answer: &Answer) -> Result<(), ReadError> {
        if !ApiStatus::parse(&answer.body).names_no_object() {
            return Ok(());
        }
        self.kinds.forget(&key.group).await;
        let source = super::KindError::Unknown { group_version: key.api_version(), kind: key.kind.clone() };
        Err(ReadError::Kind { object: key.to_string(), source })
    }
}

fn decode_item(item: &RawValue, key: &ObjectKey, api_version: &str, listing: &mut Listing) {
    match serde_json::from_str::<Value>(item.get()) {
        Ok(Value::Object(mut object)) => {
            // built-in kinds leave them out in lists
            object.entry("apiVersion").or_insert_with(|| api_version.into());
            object.entry("kind").or_insert_with(|| key.kind.as_str().into());
            listing.items.push(Value::Object(object));
        }
        Ok(_) => note(&mut listing.unreadable, String::new(), &"the item is no object"),
        Err(error) => note(&mut listing.unreadable, name_of_raw(item), &error),
    }
}

/// The name of an object that cannot be decoded as a whole.
fn name_of_raw(item: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Named {
        metadata: Meta,
    }
    #[derive(Deserialize)]
    struct Meta {
        namespace: Option<String>,
        name: String,
    }
    match serde_json::from_str::<Named>(item.get()) {
        Ok(Named { metadata: Meta { namespace: Some(namespace), name } }) => format!("{namespace}/{name}"),
        Ok(Named { metadata: Meta { namespace: None, name } }) => name,
        Err(_) => String::new(),
    }
}

fn name_of(metadata: &Value) -> String {
    let part = |field: &str| metadata[field].as_str();
    match (part("namespace"), part("name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (None, Some(name)) => name.to_owned(),
        (_, None) => String::new(),
    }
}

fn note(unreadable: &mut Vec<Unreadable>, name: String, error: &dyn std::fmt::Display) {
    tracing::warn!(object = %name, %error, "an object of a list cannot be decoded and is left out");
    // the last one stands for all that follow, so that the list never counts as complete
    if unreadable.len() < UNREADABLE_MAX {
        unreadable.push(Unreadable { name, message: clip(&error.to_string()) });
    }
}

fn read_error(key: &ObjectKey, error: NoAddress) -> ReadError {
    let object = key.to_string();
    match error {
        NoAddress::Kind(source) => ReadError::Kind { object, source },
        NoAddress::Invalid(message) => ReadError::InvalidKey { object, message },
    }
}

fn undecodable(key: &ObjectKey, error: &serde_json::Error) -> ReadError {
    // serde_json quotes no values of untyped input, only positions
    ReadError::Undecodable { object: key.to_string(), message: clip(&error.to_string()) }
}
