//! The threshold judge: one number, measured now and then, against bounds.
//!
//! It keeps what users of analysis runs know (counts, limits, "in a row") and removes the traps: no data, NaN and query
//! errors are verdicts of their own, decided before any bound is looked at, so that no bound passes or fails on them.
//! [`plan`](ThresholdPlan) says what was asked, [`due`] when to measure, [`fold`] what a measurement changes, [`judge`]
//! and [`close`] what follows from it.

mod bounds;
mod fold;
mod judge;
mod measure;
mod plan;
mod schedule;
mod state;

pub use bounds::Bounds;
pub use fold::fold;
pub use judge::{close, judge};
pub use plan::{DURATION_S_MAX, NAME_BYTES_MAX, OnNoData, PlanError, Reduce, ThresholdPlan};
pub use schedule::{PERMANENT_RETRY_S, RETRY_AFTER_S_MAX, TRANSIENT_RETRY_S, due, next_due};
pub use state::{Ended, ThresholdState, start};
