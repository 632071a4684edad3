//! What the demo, the cluster tests and the benchmark are made of: the contract with the test cluster, Git repositories,
//! clients that count every answer, and the eyes on what the controller writes.
//!
//! Reading order: [`env`] (what a cluster gives), [`wait`], [`cluster`], [`app`] and [`case`] (an application of a test),
//! [`traffic`] and [`weights`] (what users see), [`demo`].

pub mod app;
pub mod audit;
pub mod bench;
pub mod case;
pub mod cluster;
pub mod demo;
pub mod describe;
pub mod env;
pub mod git;
pub mod install;
pub mod manifests;
pub mod report;
pub mod sink;
pub mod statistics;
pub mod tenant;
pub mod traffic;
pub mod wait;
pub mod webhook;
pub mod weights;
