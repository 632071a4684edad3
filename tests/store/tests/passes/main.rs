//! The controller's passes (observe, plan, carry out) over the store, in virtual time, until rest.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod app;
mod commands;
mod crash;
mod drift;
mod engine;
mod promotion;
mod rollback;
mod traffic;
