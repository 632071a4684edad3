//! What is known to be as desired. A memory of answers of the API server: this desired object, applied over this live one, changes
//! nothing. Losing it costs one dry-run for each object, never a different decision.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::Value;
use sluice_plan::Id;
use sluice_plan::view::proof_digest;

/// See the module.
#[derive(Default)]
pub struct Settled {
    /// Identity → digest of the desired object, and of the intent of the live one that it was proven against.
    proven: Mutex<BTreeMap<Id, (String, String)>>,
}

impl Settled {
    /// The digest of the desired object that the live one is proven to equal.
    #[must_use]
    pub fn of(&self, id: &Id, live: &Value) -> Option<String> {
        let proven = self.proven.lock().ok()?;
        let (desired, intent) = proven.get(id)?;
        (*intent == proof_digest(live)).then(|| desired.clone())
    }

    /// Remembers what an apply or a dry-run answered.
    pub fn proven(&self, id: &Id, desired_digest: &str, answer: &Value) {
        if let Ok(mut proven) = self.proven.lock() {
            proven.insert(id.clone(), (desired_digest.to_owned(), proof_digest(answer)));
        }
    }

    /// Forgets objects that are of no interest any more, so that the memory is bounded by what exists.
    pub fn retain(&self, wanted: impl Fn(&Id) -> bool) {
        if let Ok(mut proven) = self.proven.lock() {
            proven.retain(|id, _| wanted(id));
        }
    }
}
