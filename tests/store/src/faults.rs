//! Faults of the way to the API server: answers that do not come, or come wrong, before or after a write was carried out.

use crate::key::Key;
use crate::trace::Verb;

/// One request, as a fault is chosen for it.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub user: String,
    pub verb: Verb,
    pub key: Key,
    pub subresource: String,
    pub is_dry_run: bool,
    /// How many writes came before it through the REST service; dry-runs do not count.
    pub writes_before: usize,
}

impl Attempt {
    #[must_use]
    pub fn is_write(&self) -> bool {
        !self.verb.is_read() && !self.is_dry_run
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks before the request is carried out.
    BreakBefore,
    /// It is carried out, and the connection breaks before the answer.
    BreakAfter,
    /// This status instead of carrying it out.
    Answer(u16),
    /// It is carried out, and answered with this status.
    AnswerAfter(u16),
    /// 409, as if somebody had written in between.
    Conflict,
    /// Never answered, not carried out.
    HangBefore,
    /// Carried out, never answered.
    HangAfter,
}

impl Fault {
    #[must_use]
    pub fn is_applied(self) -> bool {
        matches!(self, Self::BreakAfter | Self::AnswerAfter(_) | Self::HangAfter)
    }
}

pub(crate) type Chooser = Box<dyn FnMut(&Attempt) -> Option<Fault> + Send>;
