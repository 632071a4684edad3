//! An in-process, deterministic Kubernetes API store with modelled controllers, for tests.
//!
//! Virtual time ([`Clock`]), no randomness, ordered maps: the same calls give the same answers. [`Store::actor`] is the
//! synchronous API of tests, [`StoreService`] the REST API under the controller's own client stack.
//! [`Store::settle`] and [`Store::run_for`] let the modelled controllers work. [`faults`] makes writes fail, [`trace`] says who
//! asked for what.
//!
//! What is modelled and what is not is said in each module; [`schema::rules`] lists the CEL rules that are evaluated.

pub mod clock;
pub mod controllers;
pub mod faults;
pub mod fields;
pub mod http;
pub mod json;
pub mod key;
pub mod kinds;
pub mod refusal;
pub mod schema;
pub mod selector;
mod state;
mod store;
pub mod trace;

pub use clock::Clock;
pub use controllers::Settings;
pub use controllers::kubelet::{Outcome, PodRule};
pub use faults::{Attempt, Fault};
pub use http::service::StoreService;
pub use key::Key;
pub use refusal::{Cause, Refusal};
pub use store::{Actor, Deletion, Store};
pub use trace::{Line, Verb};
