//! What a reviewer reads: one line for each record, write, event and wait, in the words of people and not of patches.

use serde_json::Value;
use sluice_crds::release::State;
use sluice_plan::plan::Action;
use sluice_plan::view::{integer, list, text};
use sluice_plan::wait::Blocked;
use sluice_plan::{Effect, Id, Plan, World};

use super::controllers::{pinned, with_hash};
use super::execute::Witness;
use super::invariants::Watch;
use super::pods::image;
use super::store::{Store, WriteError};

/// See the module.
#[derive(Default)]
pub struct Teller {
    pub now_ms: i64,
    pub lines: Vec<String>,
    blocked: String,
}

impl Teller {
    pub fn say(&mut self, what: &str, text: &str) {
        let line = format!("{:>7}.{}s  {what:<7} {text}", self.now_ms / 1000, self.now_ms % 1000 / 100);
        self.lines.push(line);
    }

    pub fn tail(&self) -> String {
        self.lines[self.lines.len().saturating_sub(40)..].join("\n")
    }

    pub fn notes(&mut self, plan: &Plan) {
        for note in &plan.notes {
            let kind = if note.warning { "Warning " } else { "" };
            self.say("event", &format!("{kind}{}: {}", note.reason, note.message));
        }
    }

    pub fn blocked(&mut self, blocked: Option<&Blocked>) {
        let reason = blocked.map_or("", Blocked::reason);
        if reason != self.blocked {
            if let Some(blocked) = blocked {
                self.say("wait", &format!("{reason}: {blocked}"));
            }
            reason.clone_into(&mut self.blocked);
        }
    }

    /// The same refusal again and again is told once.
    pub fn failed(&mut self, object: Option<&Id>, error: &WriteError) {
        let object = object.map_or_else(|| "a record".to_owned(), name);
        let text = format!("refused {object}: {error:?}");
        if !self.lines.last().is_some_and(|line| line.ends_with(&text)) {
            self.say("refused", text.trim_start_matches("refused "));
        }
    }

    pub fn crashed(&mut self) {
        self.blocked.clear();
        self.say("crash", "the process ends before the next write");
    }
}

fn name(id: &Id) -> String {
    format!("{}/{}", id.kind, id.name)
}

/// A state as one word with its place.
pub fn state(state: &State) -> String {
    match state {
        State::Applying { stage } => format!("Applying, stage {stage}"),
        State::Scaling { step } => format!("Scaling, step {}", step + 1),
        State::Warming { step } => format!("Warming, step {}", step + 1),
        State::Shifting { step } => format!("Shifting, step {}", step + 1),
        State::Judging { step } => format!("Judging, step {}", step + 1),
        State::HandingOver { stage } => format!("HandingOver, {stage:?}"),
        State::RollingBack { stage } => format!("RollingBack, {stage:?}"),
        other => sluice_plan::show::word(other).to_owned(),
    }
}

fn record(world: &World, action: &Action) -> Option<String> {
    match action {
        Action::CreateRelease(spec) => {
            let rollouts: Vec<&str> = spec.rollouts.iter().map(|plan| plan.name.as_str()).collect();
            let steps = if rollouts.is_empty() { "no steps".to_owned() } else { format!("steps of {}", rollouts.join(", ")) };
            Some(format!("Release {} for {}: {steps}", spec.number, spec.revision.short))
        }
        Action::RecordRelease(after) => {
            let number = world.release.as_ref().map_or(0, |release| release.spec.number);
            let before = world.release.as_ref().and_then(|release| release.status.as_ref());
            let changed = before.is_none_or(|before| {
                before.state != after.state || before.target != after.target || before.approved_through != after.approved_through
            });
            let alerts = &after.alerts[before.map_or(0, |before| before.alerts.len()).min(after.alerts.len())..];
            let alerts: String = alerts.iter().map(|alert| format!(", alert {}", alert.id)).collect();
            (changed || !alerts.is_empty()).then(|| format!("Release {number}: {}{alerts}", state(&after.state)))
        }
        Action::RecordSync(after) => {
            let before = world.sync.status.clone().unwrap_or_default();
            let short = |revision: &Option<sluice_crds::gitsync::Revision>| {
                revision.as_ref().map_or("none", |it| it.short.as_str()).to_owned()
            };
            let mut changes = Vec::new();
            if before.good != after.good {
                changes.push(format!("good {}", short(&after.good)));
            }
            if before.attempted != after.attempted {
                changes.push(format!("attempted {}", short(&after.attempted)));
            }
            if before.release != after.release {
                changes.push(format!("release {}", after.release));
            }
            if before.applied != after.applied {
                changes.push(format!("inventory of {} revisions", after.applied.len()));
            }
            if before.quarantine != after.quarantine {
                let shas: Vec<&str> = after.quarantine.iter().map(|entry| &entry.sha[..7]).collect();
                changes.push(format!("quarantine [{}]", shas.join(" ")));
            }
            if before.refused.as_ref().map(|it| (&it.sha, &it.reason)) != after.refused.as_ref().map(|it| (&it.sha, &it.reason)) {
                changes.push(after.refused.as_ref().map_or("nothing refused".to_owned(), |it| format!("refused {}", it.reason)));
            }
            if before.prune_blocked != after.prune_blocked {
                changes.push(
                    after
                        .prune_blocked
                        .as_ref()
                        .map_or("no prune waits".to_owned(), |it| format!("prune of {} waits", it.objects)),
                );
            }
            (!changes.is_empty()).then(|| format!("GitSync: {}", changes.join(", ")))
        }
    }
}

/// Weights of a route as `shop 950, canary 50`.
pub fn weights(route: &Value) -> String {
    list(route, &["spec", "rules"])
        .iter()
        .flat_map(|rule| list(rule, &["backendRefs"]))
        .map(|backend| {
            let name = text(backend, &["name"]);
            let name = if name.contains("-canary-") { "canary" } else { name };
            match integer(backend, &["weight"]) {
                Some(weight) => format!("{name} {weight}"),
                None => name.to_owned(),
            }
        })
        .collect::<Vec<_>>()
        .join(", ")
}

/// The pods of a hash by the image that they run.
fn of_hash(store: &Store, namespace: &str, hash: &str) -> String {
    if hash.is_empty() {
        return "all pods".to_owned();
    }
    let set = with_hash(store, namespace, hash).map(|(_, set)| image(&set["spec"]["template"]).to_owned());
    format!("pods of {}", set.unwrap_or_else(|| "the canary to come".to_owned()))
}

fn applied(id: &Id, object: &Value, store: &Store) -> String {
    match id.kind.as_str() {
        "Service" => format!(" selects {}", of_hash(store, id.namespace_text(), pinned(object))),
        "HTTPRoute" => format!(" {}", weights(object)),
        "Deployment" => {
            let paused = if object.pointer("/spec/paused").is_some() { ", paused" } else { "" };
            let replicas = integer(object, &["spec", "replicas"]).map_or("left to the scaler".to_owned(), |it| it.to_string());
            format!(" image {}, replicas {replicas}{paused}", image(&object["spec"]["template"]))
        }
        "Rollout" if !list(object, &["metadata", "finalizers"]).is_empty() => " with finalizer".to_owned(),
        _ => String::new(),
    }
}

fn write(effect: &Effect, store: &Store) -> Option<String> {
    Some(match effect {
        Effect::Apply { id, object, .. } => format!("apply   {}{}", short(id), applied(id, object, store)),
        Effect::CoOwnReplicas { id, object, .. } => {
            format!("apply   {} replicas {} by a second manager", short(id), object["spec"]["replicas"])
        }
        Effect::Reclaim { id, .. } => format!("patch   {} fields of others reclaimed", short(id)),
        Effect::Create { id, object } => {
            format!("create  {} replicas {} of {}", short(id), object["spec"]["replicas"], image(&object["spec"]["template"]))
        }
        Effect::Patch { id, patch, .. } => {
            let owner = patch.pointer("/metadata/ownerReferences/0/kind").and_then(Value::as_str);
            let replicas = integer(patch, &["spec", "replicas"]).map(|it| format!(" replicas {it}")).unwrap_or_default();
            format!("patch   {}{replicas}{}", short(id), owner.map(|it| format!(" owner {it}")).unwrap_or_default())
        }
        Effect::Delete { id, .. } => format!("delete  {}", short(id)),
        Effect::Finalizer { present, .. } => format!("patch   GitSync finalizer {}", if *present { "set" } else { "lifted" }),
        Effect::ClearAnnotation { id, annotation, .. } => format!("patch   {} without {annotation}", short(id)),
        Effect::LiftFinalizer { id, .. } => format!("patch   {} finalizer lifted", short(id)),
        Effect::Show { .. } => return None,
    })
}

/// Names with a digest in them would hide what they are.
fn short(id: &Id) -> String {
    match id.kind.as_str() {
        "Service" if id.name.contains("-canary-") => {
            format!("Service of the canary of {}", id.name.split("-canary-").next().unwrap_or(""))
        }
        "ReplicaSet" => format!("ReplicaSet of {}", id.name.rsplit_once('-').map_or("", |(name, _)| name)),
        "ConfigMap" if id.name.len() > 9 && id.name.as_bytes()[id.name.len() - 9] == b'-' => {
            format!("ConfigMap copy of {}", &id.name[..id.name.len() - 9])
        }
        _ => name(id),
    }
}

/// Both look at every write: one judges, one tells.
impl Witness for (&mut Watch, &mut Teller) {
    fn recorded(&mut self, world: &World, action: &Action, store: &Store) {
        self.0.recorded(world, action, store);
        if let Some(text) = record(world, action) {
            self.1.say("record", &text);
        }
    }

    fn before(&mut self, world: &World, effect: &Effect, store: &Store) {
        self.0.before(world, effect, store);
    }

    fn written(&mut self, world: &World, effect: &Effect, store: &Store) {
        self.0.written(world, effect, store);
        if let Some(text) = write(effect, store) {
            self.1.say("write", &text);
        }
    }
}
