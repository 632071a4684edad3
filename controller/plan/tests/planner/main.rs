//! The planner in a modelled cluster: transcripts, crashes at every write, and random histories.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../model/mod.rs"]
mod model;

mod crashes;
mod histories;
mod scenarios;
