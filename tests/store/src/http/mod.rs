//! The store as a REST API: addresses, discovery, content types, watches.

pub mod address;
mod answer;
mod discovery;
pub mod service;
mod watch;
