//! From a Git repository to a checked set of Kubernetes objects, synchronously and without touching a cluster.
//!
//! [`git`] finds and fetches one commit, [`tree`] reads what the application's path needs out of it, [`render`] turns that into
//! objects by the real kustomize in a [`jail`]. Everything that is read here is hostile until proven otherwise: each stage has
//! caps, refuses with a stable reason, and never repeats content, credentials or paths of the controller in a message.

mod error;
pub mod git;
pub mod jail;
pub mod render;
mod secret;
pub mod tree;
pub mod yaml;

pub use error::Category;
pub use secret::Secret;
