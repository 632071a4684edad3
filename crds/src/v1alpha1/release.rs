//! `Release`: one attempt to bring a revision in. Written by the controller; the durable record of what was decided,
//! when, why and by whom. Its status is the write-ahead log: what is not recorded here is not done.

use chrono::{DateTime, Utc};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_analysis::threshold::{ThresholdPlan, ThresholdState};
use sluice_analysis::{Judgement, Verdict};

use super::condition::Condition;
use super::gitsync::Revision;

/// One attempt to bring a revision in.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "Release",
    namespaced,
    status = "ReleaseStatus",
    derive = "PartialEq",
    category = "sluice",
    doc = "One attempt to bring a revision in: what was decided, when, why and by whom. Written by the controller.",
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.target.short"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".status.weightPercent"),
    printcolumn(name = "Waiting", type_ = "string", json_path = ".status.wait.reason"),
    printcolumn(name = "Cause", type_ = "string", json_path = ".status.cause.kind"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.epoch) || (has(self.status) && has(self.status.epoch) && self.status.epoch >= oldSelf.status.epoch)").message("the epoch never falls: this write comes from a deposed leader"),
    validation = Rule::new("self.spec == oldSelf.spec").message("a Release's spec is a record and does not change"),
)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSpec {
    /// The GitSync that it belongs to.
    pub git_sync: String,
    /// Its number; only grows.
    #[schemars(range(min = 1))]
    pub number: i64,
    /// The revision that it was started for.
    pub revision: Revision,
    /// The good revision that it goes back to; none on a first install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Revision>,
    /// The workloads that change in steps. Empty: everything is applied, health-gated and proven at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub rollouts: Vec<RolloutPlan>,
}

/// The steps of one workload, with everything that was resolved when the release began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutPlan {
    /// The Rollout.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The Deployment.
    pub deployment: String,
    /// The Service that users reach.
    pub service: String,
    /// Every Service that selects the Deployment's pods: all are pinned to the stable pods while canary pods exist.
    pub pinned_services: Vec<String>,
    /// The routes whose weights move.
    pub routes: Vec<String>,
    /// What is on trial: the digest over the pod template and all config that it references.
    pub rollout_digest: String,
    /// The pod-template-hash of the canary pods.
    pub canary_hash: String,
    /// The canary's ReplicaSet.
    pub canary_replica_set: String,
    /// The canary's Service.
    pub canary_service: String,
    /// The steps, the last one at 100 % with the bake time as its hold.
    pub steps: Vec<StepPlan>,
    /// What every step is judged by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricPlan>,
    /// Whether the release goes back when there has been nothing to judge by for too long.
    pub rollback_on_no_data: bool,
    /// How long a step may take to get its capacity, in seconds.
    pub progress_deadline_s: i64,
}

/// One position of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepPlan {
    /// Percent of requests that the canary gets, `1..=100`.
    pub weight_percent: i32,
    /// The least time in this step, in seconds.
    pub hold_s: i64,
    /// Whether a person must promote before the next step.
    #[serde(default)]
    pub approval: bool,
}

/// One metric, resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricPlan {
    /// PromQL with templates' arguments filled in; the stable hash is filled in when it is sent.
    pub query: String,
    /// Bounds, limits and schedule.
    pub threshold: ThresholdPlan,
}

/// Where a release stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// The term of the leader that wrote this. Never falls.
    pub epoch: i64,
    /// What the planner acts on. Its form is Sluice's own; programs should read conditions.
    pub state: State,
    /// When this state was entered.
    pub state_since: DateTime<Utc>,
    /// The revision on trial: the spec's, or a newer commit that changed nothing that is on trial.
    pub target: Revision,
    /// Healthy time in the present step.
    pub held: Held,
    /// Gates passed by a person: steps up to this index need no approval any more; -1 at first.
    pub approved_through: i32,
    /// One record for each of the spec's rollouts, in the same order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub rollouts: Vec<RolloutProgress>,
    /// Why the release goes or went back, or holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
    /// Commands of people, answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub commands: Vec<CommandRecord>,
    /// What happened, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub timeline: Vec<TimelineEntry>,
    /// Alerts: delivered at least once, one id for each transition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub alerts: Vec<Alert>,
    /// One word for the print column.
    #[serde(default)]
    pub phase: String,
    /// `2/4` for the print column.
    #[serde(default)]
    pub step: String,
    /// Percent of requests that the canary gets, for the print column.
    #[serde(default)]
    pub weight_percent: i32,
    /// One sentence.
    #[serde(default)]
    pub message: String,
    /// `Ready`, `Reconciling`, `Stalled` as kstatus reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// What a release does now. One value is one situation; the overlay over the render follows from it alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum State {
    /// What is new or changed and not part of a rollout is applied, in dependency stages with readiness between.
    Applying { stage: i32 },
    /// Services are pinned to the stable pods, canary Services and ReplicaSets are made.
    Preparing {},
    /// The canary gets the pods that the step's weight needs.
    Scaling { step: i32 },
    /// A backend that had no weight gets the smallest one, so that the proxy learns it before it counts.
    Warming { step: i32 },
    /// The step's weight is written and has to be accepted by the gateway.
    Shifting { step: i32 },
    /// The step is judged until its time is over.
    Judging { step: i32 },
    /// The judged ReplicaSet becomes the Deployment's.
    HandingOver { stage: Handover },
    /// Objects that left Git are deleted, through the brake.
    Pruning {},
    /// Everything goes back to the previous good revision, traffic first.
    RollingBack { stage: Rollback },
    /// Nothing to go back to, or `onFailure: Hold`: it stays as it is until a newer commit or a person.
    Holding {},
    /// In; the revision is good.
    Promoted {},
    /// Back at the previous good revision; quarantined.
    RolledBack {},
    /// Back at the previous good revision, because Git moved on.
    Superseded {},
    /// Given up without a way back.
    Failed {},
}

/// The handover, write by write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Handover {
    /// The Services select the canary pods, and the route gives the root Service the smallest weight: the proxy learns it
    /// anew, while the stable pods still answer what reaches them meanwhile.
    RepointServices,
    /// The route gives the root Service all but the smallest weight.
    ShiftToRoot,
    /// The route is as in Git.
    RouteAsGit,
    /// ReplicaSets of the history with the same template are removed: the Deployment would adopt the oldest.
    RemoveTwins,
    /// The Deployment gets the new template, paused, with full surge.
    PauseDeployment,
    /// The ReplicaSet's owner becomes the Deployment; the old one is scaled to 0 by it.
    ChangeOwner,
    /// The Deployment is as in Git.
    ReleaseDeployment,
    /// The Deployment cannot take the judged pods: it rolls natively, with the Services still pinned.
    NativeRollout,
    /// The Services are as in Git, canary Services go.
    Unpin,
}

/// The way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Rollback {
    /// Weight 0, in one write.
    Traffic,
    /// Requests in flight end.
    Drain,
    /// Every object is as in the good revision; Services stay pinned.
    Restore,
    /// The canary's ReplicaSets and Services go.
    RemoveCanary,
    /// Services are unpinned, what only the failed revision had is deleted.
    Unpin,
}

/// Time that counts towards a step's hold. Accumulated at checkpoints, so that no restart or clock jump shortens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Milliseconds so far.
    pub ms: i64,
    /// The last checkpoint.
    pub at: DateTime<Utc>,
}

/// Where one rollout of a release stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutProgress {
    /// The pod-template-hash of the stable pods.
    #[serde(default)]
    pub stable_hash: String,
    /// The canary ReplicaSet, once it exists. A new uid is a new object.
    #[serde(default)]
    pub canary_uid: String,
    /// When the canary had too few ready pods for its weight, first; empty while it has enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_since: Option<DateTime<Utc>>,
    /// One record for each of the plan's metrics, in the same order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub metrics: Vec<MetricProgress>,
}

/// Where one metric stands in the present step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricProgress {
    /// Its name.
    pub name: String,
    /// The judge's state.
    pub state: ThresholdState,
    /// The judge's last word.
    pub judgement: Judgement,
}

/// Why a release goes back or holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// One word, such as `MetricFailed`, `CrashLoop`, `Aborted`.
    pub kind: String,
    /// One sentence with the evidence.
    pub message: String,
    /// When it was found.
    pub at: DateTime<Utc>,
    /// The rollout that it was found at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    /// The metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The bound that it broke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<String>,
    /// The verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The step, from 0; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<i32>,
    /// Percent of requests that the canary had.
    pub weight_percent: i32,
    /// Whether the revision is quarantined for it.
    pub quarantine: bool,
}

/// What a release waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wait {
    /// One PascalCase word, stable for ever.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// When something else happens if it is still waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<DateTime<Utc>>,
}

/// A command and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommandRecord {
    /// The object that carried it, such as `Rollout/shop`.
    pub on: String,
    /// The annotation.
    pub annotation: String,
    /// Its value.
    #[schemars(length(max = 256))]
    pub value: String,
    /// Who asked: the user name that the API server stamped, or else the client's field manager, and which of the two.
    pub by: String,
    /// When it was answered.
    pub at: DateTime<Utc>,
    /// Whether it was carried out.
    pub accepted: bool,
    /// What was answered.
    pub answer: String,
    /// Whether the annotation has been removed; until then the same value is the same command.
    pub cleared: bool,
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimelineEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// One PascalCase word.
    pub what: String,
    /// One sentence.
    pub message: String,
}

/// An alert in the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Unique for the release and transition: receivers drop repeats by it.
    pub id: String,
    /// `RolledBack`, `WaitingForApproval`, `Holding`.
    pub kind: String,
    /// When it was raised.
    pub at: DateTime<Utc>,
    /// When a receiver took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<DateTime<Utc>>,
}
