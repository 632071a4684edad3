//! Who made a commit, and what it says, in text that cannot do harm where it is shown.

use chrono::{DateTime, Utc};

use crate::error::printable;

/// A commit. Author and subject are written by whoever pushed, so they are escaped and short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    pub sha: String,
    pub author: String,
    pub subject: String,
    pub committed_at: DateTime<Utc>,
}

const MAX_AUTHOR_BYTES: usize = 120;
const MAX_SUBJECT_BYTES: usize = 200;

impl Revision {
    pub(super) fn of(commit: &git2::Commit<'_>) -> Self {
        let message = String::from_utf8_lossy(commit.message_raw_bytes()).into_owned();
        let subject = message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        Self {
            sha: commit.id().to_string(),
            author: printable(String::from_utf8_lossy(commit.author().name_bytes()).trim(), MAX_AUTHOR_BYTES),
            subject: printable(subject, MAX_SUBJECT_BYTES),
            committed_at: DateTime::from_timestamp(commit.time().seconds(), 0).unwrap_or(DateTime::UNIX_EPOCH),
        }
    }
}
