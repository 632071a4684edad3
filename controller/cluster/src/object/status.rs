//! The `Status` objects in which the API server explains a refusal.

use serde::Deserialize;

use super::key::ObjectKey;

/// Longest message taken over from the API server, in bytes: it goes into conditions and events.
pub const MESSAGE_MAX_BYTES: usize = 1024;
const CAUSES_MAX: usize = 16;
const ELLIPSIS: &str = "…";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ApiStatus {
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) reason: String,
    pub(crate) details: Details,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Details {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) causes: Vec<Cause>,
    pub(crate) retry_after_seconds: u64,
}

/// One reason among several, with the field it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

impl ApiStatus {
    /// A body that is no `Status` (a proxy's page, a webhook's text) becomes its message.
    pub(crate) fn parse(body: &[u8]) -> Self {
        match serde_json::from_slice::<ApiStatus>(body) {
            Ok(status) if status.kind == "Status" => status,
            _ => Self {
                message: String::from_utf8_lossy(&body[..body.len().min(MESSAGE_MAX_BYTES)]).into_owned(),
                ..Self::default()
            },
        }
    }

    /// The server does not serve this kind at all, as opposed to: it has no such object.
    pub(crate) fn names_no_object(&self) -> bool {
        self.details.name.is_empty()
    }

    /// The message as it may be shown.
    pub(crate) fn shown_message(&self, key: &ObjectKey) -> String {
        if self.is_about_secrets(key) {
            // the server quotes rejected values: "Invalid value: …"
            return format!(
                "the API server's message about this Secret is not shown, since it may quote its data (reason {:?})",
                clip(&self.reason)
            );
        }
        clip(&self.message)
    }

    pub(crate) fn shown_causes(&self, key: &ObjectKey) -> Vec<Cause> {
        let hidden = self.is_about_secrets(key);
        let shown = |cause: &Cause| Cause {
            reason: clip(&cause.reason),
            message: if hidden { String::new() } else { clip(&cause.message) },
            field: clip(&cause.field),
        };
        self.details.causes.iter().take(CAUSES_MAX).map(shown).collect()
    }

    fn is_about_secrets(&self, key: &ObjectKey) -> bool {
        key.is_secret() || matches!(self.details.kind.as_str(), "secrets" | "Secret")
    }
}

/// Shortens to [`MESSAGE_MAX_BYTES`] at a character.
pub(crate) fn clip(text: &str) -> String {
    if text.len() <= MESSAGE_MAX_BYTES {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MESSAGE_MAX_BYTES - ELLIPSIS.len());
    format!("{}{ELLIPSIS}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let clipped = clip(&"ä".repeat(MESSAGE_MAX_BYTES));
        assert!(clipped.len() <= MESSAGE_MAX_BYTES && clipped.ends_with("ä…"));
        assert_eq!(clip("short"), "short");
    }

    #[test]
    fn a_body_that_is_no_status_becomes_the_message() {
        assert_eq!(ApiStatus::parse(b"404 page not found\n").message, "404 page not found\n");
        assert_eq!(ApiStatus::parse(br#"{"kind":"Pod"}"#).message, r#"{"kind":"Pod"}"#);
        assert_eq!(ApiStatus::parse(b"\xff\xfe").reason, "");
    }
}
