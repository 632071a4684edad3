//! What is known of one GitSync when a plan is made. A value: it can be stored, replayed and compared.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_analysis::Sample;
use sluice_crds::gitsync::{GitSync, Refused, Revision};
use sluice_crds::release::Release;

use crate::id::Id;
use crate::render::{Render, pairs};

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct World {
    /// The one clock of a plan.
    pub now: DateTime<Utc>,
    /// The term of the leader that plans.
    pub epoch: i64,
    pub sync: GitSync,
    /// The newest Release, open or ended: number `sync.status.release`.
    pub release: Option<Release>,
    pub candidate: Candidate,
    /// Every render that a digest in the sync, the release or the candidate names, as far as its snapshot was found.
    pub renders: BTreeMap<String, Render>,
    /// Every object that any of the renders or the release names, and those that only the release made.
    #[serde(with = "pairs")]
    pub live: BTreeMap<Id, Live>,
    /// ReplicaSets in the namespaces of the release's rollouts.
    pub replica_sets: Vec<Value>,
    /// Pods of the release's rollouts.
    pub pods: Vec<Value>,
    /// For each rollout whose canary has to be made: the pod template that a dry-run apply of its Deployment returned.
    pub templates: BTreeMap<String, Template>,
    /// ClusterAnalysisTemplates that the candidate's Rollouts name.
    pub cluster_templates: BTreeMap<String, Value>,
    /// Whether the admission policy of the chart stamps user names on commands.
    pub commands_are_stamped: bool,
    /// Answers from Prometheus since the last pass.
    pub samples: Vec<MetricSample>,
    /// Alerts that a receiver took since the last pass.
    pub delivered: Vec<String>,
}

/// What Git shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Candidate {
    /// Not looked at yet, or unchanged and not needed.
    Unknown {},
    /// It cannot be had, or not be applied: nothing of it is written.
    Refused(Refused),
    /// Rendered, checked by a dry-run of every object, and stored as a snapshot.
    Ready(Revision),
}

/// One object as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// `None`: it does not exist.
    pub object: Option<Value>,
    /// The digest of the desired object that this one was proven to equal: applying it would change nothing.
    pub settled: Option<String>,
    /// Why a write of it was last refused.
    pub refused: Option<String>,
}

/// The answer of a dry-run apply of a Deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Template {
    Deployment(Value),
    Refused(String),
}

/// One answer to one metric's query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricSample {
    pub rollout: String,
    pub metric: String,
    pub sample: Sample,
}

impl World {
    /// A live object; `None` when it does not exist.
    #[must_use]
    pub fn object(&self, id: &Id) -> Option<&Value> {
        self.live.get(id).and_then(|live| live.object.as_ref())
    }

    /// The render of a revision.
    #[must_use]
    pub fn render_of(&self, revision: Option<&Revision>) -> Option<&Render> {
        self.renders.get(&revision?.digest)
    }

    /// The namespace that objects of this GitSync go to when they name none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.sync.metadata.namespace.as_deref().unwrap_or("default")
    }
}
