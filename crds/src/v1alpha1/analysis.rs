//! Metrics, and the templates that hold reusable ones.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::DurationText;

/// Reusable metrics, for Rollouts of the same namespace and commit.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "AnalysisTemplate",
    namespaced,
    derive = "PartialEq",
    category = "sluice",
    doc = "Reusable metrics for the Rollouts of the same namespace and commit.",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisTemplateSpec {
    /// What a Rollout passes in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub args: Vec<Argument>,
    /// The metrics.
    #[schemars(length(min = 1, max = 16))]
    pub metrics: Vec<Metric>,
}

/// Reusable metrics, for Rollouts of every namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "ClusterAnalysisTemplate",
    derive = "PartialEq",
    category = "sluice",
    doc = "Reusable metrics for the Rollouts of every namespace.",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterAnalysisTemplateSpec {
    /// What a Rollout passes in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub args: Vec<Argument>,
    /// The metrics.
    #[schemars(length(min = 1, max = 16))]
    pub metrics: Vec<Metric>,
}

/// A template that a Rollout uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its kind.
    #[serde(default)]
    pub kind: TemplateKind,
}

/// The kinds of templates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TemplateKind {
    /// In the Rollout's namespace and commit.
    #[default]
    AnalysisTemplate,
    /// In the cluster.
    ClusterAnalysisTemplate,
}

/// A named value that queries use as `{{args.NAME}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Argument {
    /// Its name.
    #[schemars(regex(pattern = "^[A-Za-z][A-Za-z0-9_-]{0,62}$"))]
    pub name: String,
    /// Its value; in a template, the default. A template's argument without one must be given by the Rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub value: Option<String>,
}

/// One number from Prometheus against bounds.
///
/// Queries may use `{{namespace}}`, `{{rollout}}`, `{{canary.service}}`, `{{canary.hash}}`, `{{stable.service}}`,
/// `{{stable.hash}}` and `{{args.NAME}}`; values are escaped for a PromQL string.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metric {
    /// Its name, unique in the Rollout.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub name: String,
    /// PromQL that answers with one number.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
    /// What the number must be.
    pub threshold: Threshold,
    /// Time between measurements.
    #[serde(default = "interval_default")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s')").message("must be at least 1s"))]
    pub interval: DurationText,
    /// Time from the start of a step to its first measurement. Without it: the longest range in the query, so that no
    /// measurement reaches back before the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_delay: Option<DurationText>,
    /// How many measurements end the metric in a step. Without it: it is measured until the step ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub count: Option<i32>,
    /// How many failures are tolerated in a step.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10000))]
    pub failure_limit: i32,
    /// How many inconclusive measurements are tolerated in a step.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10000))]
    pub inconclusive_limit: i32,
    /// How many query errors in a row are tolerated.
    #[serde(default = "consecutive_error_limit_default")]
    #[schemars(range(min = 0, max = 10000))]
    pub consecutive_error_limit: i32,
    /// How many successes a step needs at least.
    #[serde(default = "min_measurements_default")]
    #[schemars(range(min = 1, max = 10000))]
    pub min_measurements: i32,
    /// How long no data, NaN or infinity may last.
    #[serde(default = "no_data_limit_default")]
    pub no_data_limit: DurationText,
    /// How several series become one number.
    #[serde(default)]
    pub reduce: Reduce,
    /// Measured and shown, never counted.
    #[serde(default)]
    pub dry_run: bool,
}

fn interval_default() -> DurationText {
    DurationText("30s".to_owned())
}
fn no_data_limit_default() -> DurationText {
    DurationText("10m".to_owned())
}
fn consecutive_error_limit_default() -> i32 {
    4
}
fn min_measurements_default() -> i32 {
    1
}

/// What the number must be: within `min..=max` it passes, else it fails. With `failBelow` or `failAbove`, only beyond
/// those it fails, and between it is inconclusive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.min) || has(self.max)").message("at least one of min and max is needed"))]
#[x_kube(validation = Rule::new("!has(self.min) || !has(self.max) || self.min <= self.max").message("min must not be above max"))]
pub struct Threshold {
    /// Passes at or above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Passes at or below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Fails below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_below: Option<f64>,
    /// Fails above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_above: Option<f64>,
}

/// How several series become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Reduce {
    /// There must be exactly one.
    #[default]
    Only,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// Their sum.
    Sum,
    /// Their mean.
    Avg,
}
