//! `Rollout`: how a workload changes. It lives in Git beside the Deployment that it names.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::analysis::{Argument, Metric, TemplateReference};
use super::condition::Condition;
use super::duration::DurationText;

/// How a Deployment changes: in which steps, judged by what.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "Rollout",
    namespaced,
    status = "RolloutStatus",
    derive = "PartialEq",
    category = "sluice",
    // `ro` is Argo's, and both live in one cluster during a migration
    shortname = "slr",
    doc = "How a Deployment changes: in which weighted steps, judged by which metrics. Lives in Git beside the Deployment.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".status.weightPercent"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.revision"),
    printcolumn(name = "Waiting", type_ = "string", json_path = ".status.waiting"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 52").message("the name of a Rollout has at most 52 characters"),
)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// The workload. It stays the user's own; at rest nothing of a rollout lies over it.
    pub workload_ref: WorkloadReference,
    /// How it changes.
    pub strategy: Strategy,
    /// What every step is judged by.
    #[serde(default, skip_serializing_if = "Analysis::is_empty")]
    pub analysis: Analysis,
    /// How long new pods may take to become ready, and a step to get its capacity.
    #[serde(default = "progress_deadline_default")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s')").message("must be at least 1s"))]
    pub progress_deadline: DurationText,
}

fn progress_deadline_default() -> DurationText {
    DurationText("10m".to_owned())
}

/// The workload of a Rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadReference {
    /// `Deployment`.
    pub kind: WorkloadKind,
    /// Its name, in the same namespace and the same commit.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Workloads that can be rolled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadKind {
    /// `apps/v1` Deployment.
    Deployment,
}

/// How a workload changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Strategy {
    /// New pods beside the old ones get a growing share of requests.
    Canary(Canary),
}

/// New pods beside the old ones get a growing share of requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Canary {
    /// The Service that users reach, in the same commit.
    #[schemars(length(min = 1, max = 63))]
    pub service: String,
    /// The Gateway API routes that name the Service, in the same commit.
    #[schemars(length(min = 1, max = 8))]
    pub routes: Vec<RouteReference>,
    /// The steps, in order. After the last, all requests go to the new pods for the bake time.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("self.map(s, s.weight).isSorted()").message("weights never fall from one step to the next"))]
    pub steps: Vec<Step>,
    /// Time at 100 % before the old pods go: how long the way back is warm.
    #[serde(default = "bake_default")]
    pub bake: DurationText,
}

fn bake_default() -> DurationText {
    DurationText("1m".to_owned())
}

/// A route whose weights are moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteReference {
    /// `HTTPRoute`.
    pub kind: RouteKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Routes whose weights can be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RouteKind {
    /// `gateway.networking.k8s.io` HTTPRoute.
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
}

/// One position of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Percent of requests that the new pods get.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,
    /// The least time in this step.
    #[serde(default = "hold_default")]
    pub hold: DurationText,
    /// Whether a person must promote before the next step.
    #[serde(default)]
    pub approval: bool,
}

fn hold_default() -> DurationText {
    DurationText("0s".to_owned())
}

/// What every step is judged by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    /// Metrics of this Rollout.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub metrics: Vec<Metric>,
    /// Metrics from templates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub templates: Vec<TemplateReference>,
    /// Values for the templates' arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub args: Vec<Argument>,
    /// What happens when a metric has had no data, or could not be asked for, past its limit.
    #[serde(default)]
    pub on_no_data: OnNoData,
}

impl Analysis {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What happens when there has been nothing to judge by for too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnNoData {
    /// The step holds, and an alert says so.
    #[default]
    Hold,
    /// The release goes back.
    Rollback,
}

/// Where a Rollout stands. Written for people; decisions rest on the Release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The generation that was acted on.
    #[serde(default)]
    pub observed_generation: i64,
    /// One word for the print column; not for programs.
    #[serde(default)]
    pub phase: String,
    /// `2/4`.
    #[serde(default)]
    pub step: String,
    /// Percent of requests that the new pods get.
    #[serde(default)]
    pub weight_percent: i32,
    /// The worst verdict of its metrics.
    #[serde(default)]
    pub verdict: String,
    /// The commit on trial or at rest, twelve digits.
    #[serde(default)]
    pub revision: String,
    /// The Release in motion, or the last.
    #[serde(default)]
    pub release: String,
    /// What it waits for, as one word.
    #[serde(default)]
    pub waiting: String,
    /// `Ready`, `Reconciling`, `Stalled` as kstatus reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}
