//! What the API server says when it does not do what it is asked, as a `Status` object.

use serde_json::{Value, json};

/// One reason among several, with the field it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

impl Cause {
    #[must_use]
    pub fn new(reason: &str, field: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into(), field: field.to_owned() }
    }
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code} {reason}: {message}")]
pub struct Refusal {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    /// The resource in the plural, or the kind, as the server names it in details.
    pub kind: String,
    pub name: String,
    pub causes: Vec<Cause>,
}

impl Refusal {
    #[must_use]
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), kind: String::new(), name: String::new(), causes: Vec::new() }
    }

    #[must_use]
    pub fn about(mut self, kind: &str, name: &str) -> Self {
        kind.clone_into(&mut self.kind);
        name.clone_into(&mut self.name);
        self
    }

    #[must_use]
    pub fn because(mut self, causes: Vec<Cause>) -> Self {
        self.causes = causes;
        self
    }

    #[must_use]
    pub fn not_found(plural: &str, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{plural} \"{name}\" not found")).about(plural, name)
    }

    /// The resource itself is not served: the message names no object.
    #[must_use]
    pub fn no_such_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    #[must_use]
    pub fn stale(plural: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(plural, name, why)
    }

    #[must_use]
    pub fn conflict(plural: &str, name: &str, why: &str) -> Self {
        Self::new(409, "Conflict", format!("Operation cannot be fulfilled on {plural} \"{name}\": {why}")).about(plural, name)
    }

    #[must_use]
    pub fn already_exists(plural: &str, name: &str, deleting: bool) -> Self {
        let message = if deleting {
            format!("object is being deleted: {plural} \"{name}\" already exists")
        } else {
            format!("{plural} \"{name}\" already exists")
        };
        Self::new(409, "AlreadyExists", message).about(plural, name)
    }

    #[must_use]
    pub fn invalid(kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let all: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let all = if all.len() == 1 { all.concat() } else { format!("[{}]", all.join(", ")) };
        Self::new(422, "Invalid", format!("{kind} \"{name}\" is invalid: {all}")).about(kind, name).because(causes)
    }

    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// As the API server words a failure of its own; the reason is empty.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    #[must_use]
    pub fn to_status(&self) -> Value {
        let causes: Vec<Value> = self
            .causes
            .iter()
            .map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}))
            .collect();
        let mut details = json!({});
        for (field, text) in [("name", &self.name), ("kind", &self.kind)] {
            if !text.is_empty() {
                details[field] = json!(text);
            }
        }
        if !causes.is_empty() {
            details["causes"] = json!(causes);
        }
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "code": self.code, "reason": self.reason, "message": self.message, "details": details,
        })
    }
}
