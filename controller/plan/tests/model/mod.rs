//! A small pure cluster around the planner: an API server that keeps its rules of writing, the controllers and the gateway that
//! a rollout meets, a Git tree, a Prometheus that answers as it is told, and one virtual clock. Nothing in it is random.
//!
//! Reading order: [`store`] (the API server), [`controllers`] (what else writes), [`app`] (what Git says), [`observe`] and
//! [`execute`] (what stands around the planner in production), [`sim`] (the clock and the loop), [`invariants`] (what may
//! never be seen), [`tell`] and [`script`] (transcripts).

pub mod app;
pub mod controllers;
pub mod execute;
pub mod fields;
pub mod gateway;
pub mod invariants;
pub mod observe;
pub mod pods;
pub mod script;
pub mod sim;
pub mod store;
pub mod tell;

pub use app::{App, Git};
pub use pods::Fate;
pub use sim::{Reply, Sim};
