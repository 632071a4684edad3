//! The API server's audit log: who wrote what, to the millisecond.

use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde::Deserialize;

/// One write, as it was answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Write {
    pub verb: String,
    user: User,
    /// Who the request was made as, where it was made as somebody else.
    #[serde(default)]
    impersonated_user: Option<User>,
    #[serde(default)]
    pub object_ref: ObjectRef,
    #[serde(default)]
    pub response_status: ResponseStatus,
    #[serde(rename = "requestURI", default)]
    pub request_uri: String,
    #[serde(rename = "stageTimestamp")]
    pub answered_at: DateTime<Utc>,
}

#[derive(Clone, Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub subresource: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResponseStatus {
    pub code: u16,
}

impl Write {
    /// Whose rights it used.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.impersonated_user.as_ref().unwrap_or(&self.user).username
    }

    /// Who sent it.
    #[must_use]
    pub fn client(&self) -> &str {
        &self.user.username
    }

    /// Whether it changed something: dry-runs and refused writes did not.
    #[must_use]
    pub fn took_effect(&self) -> bool {
        (200..300).contains(&self.response_status.code) && !self.request_uri.contains("dryRun=")
    }

    /// `verb resource/name by user`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let slash = if self.object_ref.subresource.is_empty() { "" } else { "/" };
        format!(
            "{} {} {}/{}/{}{slash}{} by {}: {}",
            self.answered_at.format("%H:%M:%S%.3f"),
            self.verb,
            self.object_ref.namespace,
            self.object_ref.resource,
            self.object_ref.name,
            self.object_ref.subresource,
            self.user(),
            self.response_status.code
        )
    }
}

/// The log, from where it was opened on.
pub struct Audit {
    path: PathBuf,
    offset: u64,
}

impl Audit {
    /// The log from its present end on.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn from_now_on(path: &std::path::Path) -> Result<Self> {
        let offset = std::fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?.len();
        Ok(Self { path: path.to_owned(), offset })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// All writes since it was opened, whole lines only.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn writes(&self) -> Result<Vec<Write>> {
        let mut file = std::fs::File::open(&self.path).with_context(|| format!("{} cannot be read", self.path.display()))?;
        // the API server begins a new file when this one is full
        let offset = if file.metadata()?.len() < self.offset { 0 } else { self.offset };
        file.seek(SeekFrom::Start(offset))?;
        let mut writes = Vec::new();
        for line in BufReader::new(file).lines() {
            if let Ok(write) = serde_json::from_str(&line?) {
                writes.push(write);
            }
        }
        Ok(writes)
    }
}
