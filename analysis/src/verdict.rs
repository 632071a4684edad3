//! Verdicts, what goes with them, and which of several counts.

use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::{MESSAGE_BYTES_MAX, one_line};

/// What a judge says at one instant. They are different things with different effects and never stand for one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// Shown to be good enough; the step may end.
    Healthy,
    /// Nothing against it and nothing proven yet.
    Undecided,
    /// Suspicious: the weight stays, judging goes on.
    Hold,
    /// Bad: back to stable.
    RollBack,
    /// The time is over (the step's, or that of a hold), and it could not be decided.
    Inconclusive,
    /// There is nothing to judge by. Says nothing about the canary.
    NoData,
    /// The metrics could not be asked. Says nothing about the canary.
    QueryError,
}

impl Verdict {
    /// The verdict that counts of two about the same step, from several metrics or several judges.
    ///
    /// `RollBack > QueryError > Hold > NoData > Inconclusive > Undecided > Healthy`.
    /// * `RollBack` of any judge is enough; nothing another one says takes it back.
    /// * `QueryError` before `Hold` before `NoData`: while blind, say so first; a suspicion is still shown after traffic stops.
    /// * `NoData` before `Inconclusive`: the first never advances anything, the second may under a policy, and the
    ///   stricter of the two must win.
    /// * `Undecided` before `Healthy`: a step ends early only if every judge allows it. (Inside the comparison judge the
    ///   same two appear the other way round, because there `Undecided` means "none of the other".)
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        if other.severity() > self.severity() { other } else { self }
    }

    fn severity(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Undecided => 1,
            Self::Inconclusive => 2,
            Self::NoData => 3,
            Self::Hold => 4,
            Self::QueryError => 5,
            Self::RollBack => 6,
        }
    }

    /// The word that status, events and metric labels use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Undecided => "Undecided",
            Self::Hold => "Hold",
            Self::RollBack => "RollBack",
            Self::Inconclusive => "Inconclusive",
            Self::NoData => "NoData",
            Self::QueryError => "QueryError",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a judgement is [`Verdict::Inconclusive`]. The word alone is not enough to act on: what has merely not been proven
/// may go on by the timetable, what could not be seen may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum InconclusiveCause {
    /// The time is over, nothing was against it, and so little traffic could not show more.
    Unproven,
    /// Measured values lay where the conditions allow neither success nor failure, more often than tolerated.
    BetweenBounds,
    /// Fewer good measurements than the metric asks for.
    TooFewMeasurements,
    /// There was nothing to judge by for as long as that may last.
    NoData,
    /// The metrics could not be asked for as long as that may last.
    QueryError,
}

impl InconclusiveCause {
    /// Whether a plan that goes on by its timetable may do so. Only what was seen and merely not proven may; the others
    /// wait for data or for a person.
    pub fn allows_timetable(self) -> bool {
        matches!(self, Self::Unproven)
    }
}

/// A verdict with what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// What is to be done.
    pub verdict: Verdict,
    /// One line for people, at most [`MESSAGE_BYTES_MAX`] bytes.
    #[schemars(length(max = 512))]
    pub message: String,
    /// The value that decided; absent when there is none or when it is not finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What it was held against, such as `max 0.5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 192))]
    pub bound: Option<String>,
    /// The instant of the last measurement that it rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
    /// Why it is inconclusive; present with that verdict only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<InconclusiveCause>,
    /// Shown and never counted (a dry run, or a metric that is switched off). Its verdict is then `Healthy`, which is
    /// neutral among others; [`worst_judgement`] leaves it out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub advisory: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde's skip_serializing_if calls")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Judgement {
    /// A judgement with nothing but words; the message is made one bounded line.
    pub fn new(verdict: Verdict, message: impl AsRef<str>) -> Self {
        Self {
            verdict,
            message: one_line(message.as_ref(), MESSAGE_BYTES_MAX),
            value: None,
            bound: None,
            at: None,
            cause: None,
            advisory: false,
        }
    }
}

/// The judgement that counts among those of one step, advisory ones left out; `None` when none counts. Among equals the
/// first, except that an inconclusive one that bars the timetable goes before one that allows it.
pub fn worst_judgement<'a>(judgements: impl IntoIterator<Item = &'a Judgement>) -> Option<&'a Judgement> {
    let rank = |j: &Judgement| (j.verdict.severity(), j.cause.is_some_and(|cause| !cause.allows_timetable()));
    judgements.into_iter().filter(|j| !j.advisory).reduce(|worst, next| if rank(next) > rank(worst) { next } else { worst })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    const ASCENDING: [Verdict; 7] = [
        Verdict::Healthy,
        Verdict::Undecided,
        Verdict::Inconclusive,
        Verdict::NoData,
        Verdict::Hold,
        Verdict::QueryError,
        Verdict::RollBack,
    ];

    #[test]
    fn the_worse_of_two_verdicts_counts_in_either_order() {
        for (i, &low) in ASCENDING.iter().enumerate() {
            for &high in &ASCENDING[i..] {
                assert_eq!(low.worst(high), high);
                assert_eq!(high.worst(low), high);
            }
        }
    }

    #[test]
    fn a_verdict_is_stored_as_its_plain_word() {
        for verdict in ASCENDING {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.as_str());
        }
    }

    #[test]
    fn an_inconclusive_judgement_that_bars_the_timetable_is_not_hidden_by_one_that_allows_it() {
        let with = |cause| Judgement { cause: Some(cause), ..Judgement::new(Verdict::Inconclusive, "") };
        let all = [with(InconclusiveCause::Unproven), with(InconclusiveCause::NoData), Judgement::new(Verdict::Healthy, "")];
        assert_eq!(worst_judgement(&all), Some(&all[1]));
    }

    #[test]
    fn advisory_judgements_count_for_nothing() {
        let dry = Judgement { advisory: true, ..Judgement::new(Verdict::RollBack, "") };
        let fine = Judgement::new(Verdict::Undecided, "");
        assert_eq!(worst_judgement([&dry]), None);
        assert_eq!(worst_judgement([&dry, &fine]), Some(&fine));
    }
}
