//! What the tests of this crate share: a repository to push to, and servers to fetch it from.
#![allow(unreachable_pub, reason = "the parent is a test program, not a library")]
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

pub mod kustomize;
pub mod repository;
pub mod server;
