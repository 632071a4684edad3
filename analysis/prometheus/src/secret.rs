//! A text that is sent and never shown.

use std::fmt;

/// A token, password or header value. It prints as a placeholder; [`Secret::expose`] is the one way to its content.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `content`; surrounding white space (the newline that ends most token files) is not part of it.
    pub fn new(content: impl AsRef<str>) -> Self {
        Self(content.as_ref().trim().to_owned())
    }

    /// The content, for putting it into a request.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
