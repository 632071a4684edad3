//! The controller: what it observes, plans and carries out, for each GitSync by a worker of its own.
//!
//! Reading order: [`worker`] (the loop of one GitSync), [`observe`] (how a world is read), [`execute`] (how a plan is
//! carried out), [`source`] (from Git to a checked snapshot), [`manager`] (one worker for each GitSync), [`start`] (the process).

pub mod config;
pub mod events;
pub mod execute;
pub mod housekeeping;
pub mod manager;
pub mod notify;
pub mod observe;
pub mod preflight;
pub mod query;
pub mod serve;
pub mod settled;
pub mod snapshot;
pub mod source;
pub mod start;
pub mod tenant;
pub mod trouble;
pub mod watch;
pub mod worker;
