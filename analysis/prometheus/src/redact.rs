//! Takes what we sent in confidence out of what a server says: some echo the request in their errors.

use std::sync::Arc;

use crate::secret::Secret;

/// Header values shorter than this are tenant numbers and switches, and taking them out would only garble messages.
const HEADER_VALUE_BYTES_MIN: usize = 6;

const PLACEHOLDER: &str = "[redacted]";

/// The texts that must not come back.
#[derive(Clone)]
pub(crate) struct Redactor(Arc<[String]>);

impl Redactor {
    pub(crate) fn new<'a>(credentials: impl IntoIterator<Item = String>, headers: impl IntoIterator<Item = &'a Secret>) -> Self {
        let headers = headers.into_iter().map(Secret::expose).filter(|v| v.len() >= HEADER_VALUE_BYTES_MIN).map(str::to_owned);
        let mut texts: Vec<String> = credentials.into_iter().chain(headers).filter(|text| !text.is_empty()).collect();
        // the longest first: one may be part of another
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self(texts.into())
    }

    pub(crate) fn clean(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), PLACEHOLDER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_the_longer_ones_first_and_short_header_values_stay() {
        let redactor =
            Redactor::new(["abc".into(), "abcdef".into(), String::new()], [&Secret::new("1"), &Secret::new("tenant-key")]);
        assert_eq!(redactor.clean("1 abcdef abc tenant-key"), "1 [redacted] [redacted] [redacted]");
    }
}
