//! Version `v1alpha1` of all kinds.

pub mod analysis;
pub mod condition;
pub mod duration;
pub mod gitsync;
pub mod release;
pub mod rollout;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::CustomResourceExt;

/// All CustomResourceDefinitions, in the order in which they are written out.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        gitsync::GitSync::crd(),
        rollout::Rollout::crd(),
        analysis::AnalysisTemplate::crd(),
        analysis::ClusterAnalysisTemplate::crd(),
        release::Release::crd(),
    ]
}
