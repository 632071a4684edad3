//! A metric that is measured on schedule, in virtual time.
#![allow(dead_code, reason = "each test file uses its part")]

use chrono::{DateTime, TimeDelta, Utc};
use sluice_analysis::threshold::{Bounds, ThresholdPlan, ThresholdState, due, fold, judge, next_due, start};
use sluice_analysis::{Answer, FailureKind, Judgement, QueryFailure, Sample};

pub fn t0() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 250_000_000).unwrap()
}

pub fn at(s: i64) -> DateTime<Utc> {
    t0() + TimeDelta::seconds(s)
}

pub fn plan(bounds: Bounds) -> ThresholdPlan {
    ThresholdPlan { interval_s: 60, ..ThresholdPlan::new("success-ratio", bounds).unwrap() }
}

pub fn value(v: f64) -> Answer {
    Answer::Values(vec![v])
}

pub fn failed(kind: FailureKind) -> Answer {
    Answer::Failed(QueryFailure::new(kind, "503 Service Unavailable"))
}

/// One metric and the clock of whoever measures it.
pub struct Run {
    pub plan: ThresholdPlan,
    pub state: ThresholdState,
    pub now: DateTime<Utc>,
}

impl Run {
    pub fn new(plan: ThresholdPlan) -> Self {
        plan.validate().unwrap();
        Self { state: start(&plan, t0()), plan, now: t0() }
    }

    /// Waits for the next measurement and gives it `answer`; false when there is none any more.
    pub fn measure(&mut self, answer: Answer) -> bool {
        let Some(next) = next_due(&self.plan, &self.state) else { return false };
        self.now = self.now.max(next);
        let due = due(&self.plan, &self.state, self.now).unwrap();
        self.state = fold(&self.plan, &self.state, &Sample { due, answer });
        true
    }

    pub fn measure_all(mut self, answers: impl IntoIterator<Item = Answer>) -> Self {
        for answer in answers {
            self.measure(answer);
        }
        self
    }

    pub fn judge(&self) -> Judgement {
        judge(&self.plan, &self.state, self.now)
    }
}
