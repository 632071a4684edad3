//! A string that cannot be printed by accident.

/// A password or token. It has no `Display`, and its `Debug` shows nothing of the content.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The content, named so that each use stands out in review.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_output_of_a_secret_does_not_hold_its_content() {
        assert!(!format!("{:?}", Secret::new("hunter2")).contains("hunter2"));
    }
}
