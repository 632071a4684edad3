//! Decides. Pure: no client, no clock, no async, no randomness, no unordered iteration.
//!
//! [`plan()`] takes a [`World`] (everything that was observed of one GitSync) and answers with a [`Plan`]: at most one record,
//! the effects that bring the cluster to what the recorded state prescribes, the reason for every wait, and when to look
//! again. The executor adds no judgement: if you ask why a weight moved, the answer is here or nowhere.
//!
//! Reading order: [`mod@world`] (what is known), [`mod@motion`] (the next state), [`mod@effective`] (what the cluster shall be in a
//! state), [`mod@effects`] (the writes that are missing), [`mod@plan`] (how they join), [`mod@lint`] (what no plan may do).

mod advance;
pub mod canary;
pub mod check;
pub mod command;
pub mod digest;
pub mod effective;
pub mod effects;
pub mod evidence;
pub mod foreign;
pub mod health;
pub mod id;
pub mod inventory;
pub mod judge;
pub mod lint;
pub mod motion;
pub mod naming;
pub mod overlay;
pub mod plan;
mod prune;
pub mod record;
pub mod render;
pub mod rest;
pub mod retreat;
pub mod show;
pub mod view;
pub mod wait;
pub mod world;

pub use id::Id;
pub use plan::{Action, Effect, Plan, plan};
pub use render::Render;
pub use world::World;
