//! Who asked for what, and what came of it: like the audit log of an API server.

use std::fmt;

use crate::key::Key;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Apply,
    MergePatch,
    JsonPatch,
    Delete,
}

impl Verb {
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// One request and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub at_ms: i64,
    /// The user, after impersonation.
    pub user: String,
    pub verb: Verb,
    pub key: Key,
    pub subresource: String,
    pub manager: String,
    pub is_dry_run: bool,
    /// Through the REST service, as opposed to a test's direct call or a modelled controller.
    pub is_rest: bool,
    /// 0: no answer was given.
    pub code: u16,
    /// The object is another one than before.
    pub changed: bool,
    /// The store's version after it.
    pub version: u64,
}

impl Line {
    /// A write request, whatever came of it. Dry-runs are none.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !self.verb.is_read() && !self.is_dry_run
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", crate::clock::instant(self.at_ms).format("%T%.3f"), self.verb, self.key)?;
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        let dry = if self.is_dry_run { " dry-run" } else { "" };
        let same = if self.changed { "" } else { " unchanged" };
        write!(f, " by {} as {:?}{dry} → {}{same}, version {}", self.user, self.manager, self.code, self.version)
    }
}
