//! From samples to verdicts. Pure: no clock, no I/O, no async, no Kubernetes.
//!
//! Every judge is a fold: the caller takes a measurement when the judge says that one is due, folds the answer into a
//! small state that it stores, and asks for a [`Judgement`] at an instant that it passes in. The same samples give the
//! same judgements wherever the process was restarted in between.
//!
//! [`Verdict`], [`Judgement`] and the precedence between them are shared by all judges; [`threshold`] judges one number
//! against bounds. Read `verdict` first, then `sample`, then `threshold`.
//! Absent on purpose: asking Prometheus (the client's crate), deadlines of a step, and what a rollout does about a
//! verdict (the planner's).

mod sample;
mod text;
pub mod threshold;
mod verdict;

pub use sample::{Answer, FailureKind, QueryFailure, Sample};
pub use text::{MESSAGE_BYTES_MAX, one_line};
pub use verdict::{InconclusiveCause, Judgement, Verdict, worst_judgement};
