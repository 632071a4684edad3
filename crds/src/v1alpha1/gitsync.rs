//! `GitSync`: which commit of which repository the cluster shall be.

use chrono::{DateTime, Utc};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::duration::DurationText;

/// What is synced: one path of one reference of one Git repository, into one namespace, as one ServiceAccount.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "GitSync",
    namespaced,
    status = "GitSyncStatus",
    derive = "PartialEq",
    category = "sluice",
    shortname = "gs",
    doc = "What is synced from Git: one path of one reference of one repository, into one namespace, as one ServiceAccount.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Good", type_ = "string", json_path = ".status.good.short"),
    printcolumn(name = "Attempted", type_ = "string", json_path = ".status.attempted.short"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 52").message("the name of a GitSync has at most 52 characters"),
    // A deposed leader may not write here: its epoch is lower. At the root, since a rule on status is skipped when status is removed.
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.epoch) || (has(self.status) && has(self.status.epoch) && self.status.epoch >= oldSelf.status.epoch)").message("the epoch never falls: this write comes from a deposed leader"),
)]
#[serde(rename_all = "camelCase")]
pub struct GitSyncSpec {
    /// Where the manifests are.
    pub source: Source,
    /// The folder of the repository that is rendered, relative to its root.
    #[serde(default = "path_default")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("!self.startsWith('/') && !self.contains('\\\\') && !self.split('/').exists(p, p == '..')").message("must be a relative path without .."))]
    pub path: String,
    /// How often the repository is asked for a new commit.
    #[serde(default = "interval_default")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s')").message("must be at least 1s"))]
    pub interval: DurationText,
    /// How objects are made from files. Without it: kustomize where the path has a kustomization, else plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub render: Option<Render>,
    /// Where the objects go, and as whom.
    pub target: Target,
    /// What happens to objects that leave Git.
    #[serde(default)]
    pub prune: Prune,
    /// What happens when the cluster is changed by someone else.
    #[serde(default)]
    pub drift: Drift,
    /// What happens when a release fails.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How long workloads without a Rollout, and everything else, may take to become ready.
    #[serde(default = "progress_deadline_default")]
    pub progress_deadline: DurationText,
    /// Stops new revisions and promotions. Never stops a rollback.
    #[serde(default)]
    pub suspend: bool,
}

fn path_default() -> String {
    ".".to_owned()
}
fn interval_default() -> DurationText {
    DurationText("1m".to_owned())
}
fn progress_deadline_default() -> DurationText {
    DurationText("10m".to_owned())
}

/// A Git repository and the reference that is followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// `https://` or, where the operator allows it, `http://`. Without user name and password.
    #[schemars(length(min = 8, max = 2048))]
    #[x_kube(validation = Rule::new("self.startsWith('https://') || self.startsWith('http://')").message("must begin with https:// or http://"))]
    pub url: String,
    /// Exactly one of branch, tag and commit.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// How to authenticate; read as the target's ServiceAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Reference {
    /// The tip of this branch.
    Branch(#[schemars(length(min = 1, max = 255))] String),
    /// This tag.
    Tag(#[schemars(length(min = 1, max = 255))] String),
    /// This commit and no other: 40 hexadecimal digits.
    Commit(#[schemars(regex(pattern = "^[0-9a-f]{40}$"))] String),
}

/// Where the credentials are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// A Secret in the GitSync's namespace with `username` and `password`, or `token`; optionally `ca.crt`.
    pub secret_ref: LocalReference,
}

/// The name of an object in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How objects are made from files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Render {
    /// Every YAML and JSON file below the path.
    Plain {},
    /// `kustomize build` of the path, without remote bases.
    Kustomize {},
}

/// Where the objects go, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The namespace of objects that name none. Without it: the GitSync's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// A ServiceAccount in the GitSync's namespace. Everything of the application is read and written as this account.
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: String,
}

/// What happens to objects that leave Git.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prune {
    /// Whether they are deleted, once the revision without them has proved itself.
    #[serde(default = "enabled_default")]
    pub enabled: bool,
    /// The stop before a deletion that is too large or too dear.
    #[serde(default)]
    pub brake: Brake,
}

fn enabled_default() -> bool {
    true
}

impl Default for Prune {
    fn default() -> Self {
        Self { enabled: true, brake: Brake::default() }
    }
}

/// A prune beyond the larger of the two bounds waits for a person, as does any of a Namespace, a CRD, a
/// PersistentVolumeClaim or a StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Brake {
    /// Objects.
    #[serde(default = "max_objects_default")]
    #[schemars(range(min = 0, max = 10000))]
    pub max_objects: i32,
    /// Percent of the objects of the last good revision.
    #[serde(default = "max_percent_default")]
    #[schemars(range(min = 0, max = 100))]
    pub max_percent: i32,
}

fn max_objects_default() -> i32 {
    10
}
fn max_percent_default() -> i32 {
    20
}

impl Default for Brake {
    fn default() -> Self {
        Self { max_objects: max_objects_default(), max_percent: max_percent_default() }
    }
}

/// What happens when the cluster is changed by someone else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Drift {
    /// It is put back.
    #[default]
    Revert,
    /// At rest it is only reported. In motion what a release needs is put back all the same.
    Report,
}

/// What happens when a release fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// Everything goes back to the last good revision.
    #[default]
    Rollback,
    /// Traffic goes back to the stable pods; the rest holds for a person.
    Hold,
}

/// What a GitSync has reached, and what it has tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitSyncStatus {
    /// The generation that was acted on.
    #[serde(default)]
    pub observed_generation: i64,
    /// The term of the leader that wrote this. Never falls.
    #[serde(default)]
    pub epoch: i64,
    /// The newest revision that was applied whole, became healthy, passed its analysis and its bake time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<Revision>,
    /// The revision last tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempted: Option<Revision>,
    /// The number of the newest Release; 0 before the first.
    #[serde(default)]
    pub release: i64,
    /// Digests of all snapshots whose objects may exist in the cluster. Grows before a first write, shrinks after a prune.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub applied: Vec<String>,
    /// Revisions that failed and are not tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub quarantine: Vec<Quarantined>,
    /// What Git shows now and why it is not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// A deletion that waits for `sluice.dev/approve-prune`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune_blocked: Option<PruneBlocked>,
    /// `Ready`, `Reconciling`, `Stalled` (kstatus), and `SourceReady`, `Applied`, `Proven`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// A commit together with the digest of what it renders to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// The commit, 40 hexadecimal digits.
    pub sha: String,
    /// Its first twelve digits, for print columns.
    pub short: String,
    /// SHA-256 of the canonical render: its snapshot's address.
    pub digest: String,
    /// Who wrote the commit, as the commit says.
    #[serde(default)]
    pub author: String,
    /// The first line of its message.
    #[serde(default)]
    pub subject: String,
}

/// A revision that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quarantined {
    /// The commit that failed.
    pub sha: String,
    /// What it rendered to: the same content under another commit stays quarantined.
    pub digest: String,
    /// The Release that found out.
    pub release: String,
    /// One word.
    pub reason: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Why what Git shows is not tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// The commit, empty when Git could not be read at all.
    #[serde(default)]
    pub sha: String,
    /// One word.
    pub reason: String,
    /// What is wrong, where, and what to do.
    pub message: String,
}

/// A deletion that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PruneBlocked {
    /// The value that `sluice.dev/approve-prune` must have.
    pub digest: String,
    /// How many objects would go.
    pub objects: i32,
    /// The first of them.
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub names: Vec<String>,
}
