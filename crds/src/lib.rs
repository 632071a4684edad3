//! The kinds of `sluice.dev`: what people write (`GitSync`, `Rollout`, the analysis templates) and what the
//! controller records (`Release`, the statuses), with the validation that the API server carries out.
//!
//! No client and no runtime: these are types and their schemas.
//! Reading order: [`v1alpha1::rollout`], [`v1alpha1::gitsync`], [`v1alpha1::analysis`], [`v1alpha1::release`].

pub mod names;
pub mod reference;
pub mod v1alpha1;

pub use v1alpha1::duration::DurationText;
pub use v1alpha1::{analysis, crds, gitsync, release, rollout};
