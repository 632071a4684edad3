//! Watches: the changes after a version, as lines of JSON, until the client leaves.
//!
//! From a version that is not reached yet: silence. From one that is forgotten: 410 in the stream. Bookmarks come once, after the
//! initial events of a streaming list.

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tower::BoxError;

use super::answer::Body;
use crate::kinds::Kind;
use crate::refusal::Refusal;
use crate::state::read::Filter;
use crate::store::Store;

struct Watching {
    store: Store,
    changed: tokio::sync::watch::Receiver<u64>,
    kind: Kind,
    filter: Filter,
    /// The last version that was looked at.
    seen: u64,
    ready: std::collections::VecDeque<Value>,
    is_over: bool,
}

/// `from`: the version after which changes are wanted; `None`: the present objects first.
pub fn watch(store: Store, kind: Kind, filter: Filter, from: Option<u64>, wants_end_mark: bool) -> Body {
    let changed = store.subscribe();
    let mut watching =
        Watching { store, changed, kind, filter, seen: 0, ready: std::collections::VecDeque::new(), is_over: false };
    watching.begin(from, wants_end_mark);
    let lines = stream::unfold(watching, |mut watching| async move {
        let line = watching.next().await?;
        Some((Ok::<_, BoxError>(Frame::data(Bytes::from(format!("{line}\n")))), watching))
    });
    StreamBody::new(lines).boxed_unsync()
}

impl Watching {
    fn begin(&mut self, from: Option<u64>, wants_end_mark: bool) {
        let state = self.store.state();
        match from {
            Some(version) if version < state.compacted => {
                let message = format!("too old resource version: {version} ({})", state.compacted);
                self.ready.push_back(json!({"type": "ERROR", "object": Refusal::new(410, "Expired", message).to_status()}));
                self.is_over = true;
            }
            Some(version) => self.seen = version,
            None => {
                self.seen = state.version;
                for object in state.of_kind(&self.kind.group, &self.kind.kind, &self.filter.namespace) {
                    if self.filter.matches(&self.kind, &crate::key::Key::of(&object), &object) {
                        self.ready.push_back(json!({"type": "ADDED", "object": object.as_ref()}));
                    }
                }
                if wants_end_mark {
                    let mark = json!({
                        "kind": self.kind.kind, "apiVersion": self.kind.api_version(),
                        "metadata": {"resourceVersion": state.version.to_string(), "annotations": {"k8s.io/initial-events-end": "true"}},
                    });
                    self.ready.push_back(json!({"type": "BOOKMARK", "object": mark}));
                }
            }
        }
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.is_over {
                return None;
            }
            self.changed.mark_unchanged();
            self.collect();
            if self.ready.is_empty() {
                self.changed.changed().await.ok()?;
            }
        }
    }

    fn collect(&mut self) {
        let state = self.store.state();
        for change in state.changes.iter().filter(|change| change.version > self.seen) {
            let matches = |object: &Option<std::sync::Arc<Value>>| {
                object.as_ref().is_some_and(|object| self.filter.matches(&self.kind, &change.key, object))
            };
            let (what, object) = match (matches(&change.old), matches(&change.new)) {
                (false, true) => ("ADDED", &change.new),
                (true, true) => ("MODIFIED", &change.new),
                // also an object whose labels left the selector
                (true, false) => ("DELETED", &change.old),
                (false, false) => continue,
            };
            let Some(object) = object else { continue };
            let mut object = object.as_ref().clone();
            crate::json::set(&mut object, &["metadata", "resourceVersion"], change.version.to_string());
            self.ready.push_back(json!({"type": what, "object": object}));
        }
        self.seen = self.seen.max(state.version);
    }
}
