//! Checks that need the whole revision, and what they make of it: the plan of every workload that changes in steps.
//! Nothing of a revision that fails here is written.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sluice_crds::DurationText;
use sluice_crds::analysis::{AnalysisTemplateSpec, Argument, Metric, TemplateKind};
use sluice_crds::names::COMMANDS;
use sluice_crds::release::{MetricPlan, RolloutPlan, StepPlan};
use sluice_crds::rollout::{OnNoData, RolloutSpec, Strategy};

use crate::digest::short;
use crate::id::{APPS, CORE, GATEWAY, Id};
use crate::naming::{rollout_digest, routes_to, selecting_services};
use crate::render::Render;
use crate::view::{annotation, contains_all, integer, list, text, texts};

/// Messages in status and events are cut here, so that no input of a user fills an object.
pub const MESSAGE_BYTES_MAX: usize = 1024;
/// Rollouts of one commit move behind one barrier and are recorded in one Release.
pub const ROLLOUTS_MAX: usize = 32;
/// A route's weights are multiplied by 1,000, and the Gateway API allows 1,000,000.
const ROUTE_WEIGHT_MAX: i64 = 1000;
/// Characters of the canary's pod-template-hash.
const HASH_LENGTH: usize = 10;
/// The longest name of a Service.
const SERVICE_NAME_MAX: usize = 63;

/// What is wrong with a revision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    #[error("{object} cannot be read: {message}; correct it in Git")]
    Undecodable { object: String, message: String },
    #[error("Rollout {rollout} names {missing}, which is not in the same commit; add it or correct the name")]
    Missing { rollout: String, missing: String },
    #[error("Rollout {rollout}: {message}")]
    Invalid { rollout: String, message: String },
    #[error("Rollouts {first} and {second} both name Deployment {deployment}; keep one of them")]
    TwoClaims { first: String, second: String, deployment: String },
    #[error("a commit may have at most {ROLLOUTS_MAX} Rollouts, this one has {0}; split it over several GitSyncs")]
    TooMany(usize),
}

impl CheckError {
    /// One word, stable for ever.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Undecodable { .. } => "Undecodable",
            Self::Missing { .. } => "ReferenceMissing",
            Self::Invalid { .. } => "InvalidRollout",
            Self::TwoClaims { .. } => "TwoClaims",
            Self::TooMany(_) => "TooManyRollouts",
        }
    }
}

/// Cuts a message at a character boundary, and puts what does not belong on one line out of it.
#[must_use]
pub fn bounded(message: &str) -> String {
    let mut out: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if out.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX - '…'.len_utf8();
        while !out.is_char_boundary(end) {
            end -= 1;
        }
        out.truncate(end);
        out.push('…');
    }
    out
}

/// The plans of all Rollouts of a revision, whether their workloads change or not.
///
/// `objects` are content-named ([`crate::naming::with_content_names`]); `number` is the release's.
///
/// # Errors
/// The first [`CheckError`] in the order of names.
pub fn compile(
    objects: &BTreeMap<Id, Value>,
    cluster_templates: &BTreeMap<String, Value>,
    number: i64,
) -> Result<Vec<RolloutPlan>, CheckError> {
    let rollouts: Vec<_> = objects.iter().filter(|(id, _)| id.is(sluice_crds::names::GROUP, "Rollout")).collect();
    if rollouts.len() > ROLLOUTS_MAX {
        return Err(CheckError::TooMany(rollouts.len()));
    }
    let mut claimed: BTreeMap<Id, String> = BTreeMap::new();
    let mut plans = Vec::new();
    for (id, object) in rollouts {
        let plan = compile_one(objects, cluster_templates, number, id, object)?;
        let deployment = Id::new(APPS, "Deployment", &plan.namespace, &plan.deployment);
        if let Some(first) = claimed.insert(deployment, plan.name.clone()) {
            return Err(CheckError::TwoClaims { first, second: plan.name, deployment: plan.deployment });
        }
        plans.push(plan);
    }
    Ok(plans)
}

/// The plans of those workloads that change between two revisions and have stable pods to change from, with as many steps each.
#[must_use]
pub fn on_trial(plans: Vec<RolloutPlan>, good: &BTreeMap<Id, Value>) -> Vec<RolloutPlan> {
    let mut plans: Vec<RolloutPlan> = plans
        .into_iter()
        .filter(|plan| {
            let deployment = Id::new(APPS, "Deployment", &plan.namespace, &plan.deployment);
            rollout_digest(good, &deployment).is_some_and(|digest| digest != plan.rollout_digest)
        })
        .collect();
    let step_count = plans.iter().map(|plan| plan.steps.len()).max().unwrap_or(0);
    plans.iter_mut().for_each(|plan| wait_for_others(&mut plan.steps, step_count));
    plans
}

/// Behind one barrier a rollout with fewer steps waits in the last one before 100 %, so that all get there together.
fn wait_for_others(steps: &mut Vec<StepPlan>, step_count: usize) {
    let Some(waiting) = steps.iter().rev().nth(1).cloned() else { return };
    let waiting = StepPlan { hold_s: 0, approval: false, ..waiting };
    while steps.len() < step_count {
        steps.insert(steps.len() - 1, waiting.clone());
    }
}

fn compile_one(
    objects: &BTreeMap<Id, Value>,
    cluster_templates: &BTreeMap<String, Value>,
    number: i64,
    id: &Id,
    object: &Value,
) -> Result<RolloutPlan, CheckError> {
    let spec: RolloutSpec = decode(id, object)?;
    let namespace = id.namespace_text();
    let invalid = |message: String| CheckError::Invalid { rollout: id.name.clone(), message: bounded(&message) };
    let missing = |what: &Id| CheckError::Missing { rollout: id.name.clone(), missing: what.to_string() };
    let seconds = |field: &str, text: &DurationText| text.seconds().map_err(|error| invalid(format!("{field}: {error}")));

    let deployment_id = Id::new(APPS, "Deployment", namespace, &spec.workload_ref.name);
    let deployment = objects.get(&deployment_id).ok_or_else(|| missing(&deployment_id))?;
    let labels = texts(deployment, &["spec", "template", "metadata", "labels"]);
    let match_labels = texts(deployment, &["spec", "selector", "matchLabels"]);
    if match_labels.is_empty() || !contains_all(&labels, &match_labels) {
        return Err(invalid(format!("the selector of {deployment_id} has to be matchLabels that its pod template carries")));
    }
    if deployment.pointer("/spec/paused").and_then(Value::as_bool) == Some(true) {
        return Err(invalid(format!("{deployment_id} is paused in Git; remove spec.paused, a Rollout is paused by annotation")));
    }
    if let Some(command) = COMMANDS.iter().find(|command| !annotation(object, command).is_empty()) {
        return Err(invalid(format!("{command} is a command and does not belong in Git; remove the annotation")));
    }
    let Strategy::Canary(canary) = &spec.strategy;

    let service_id = Id::new(CORE, "Service", namespace, &canary.service);
    let service = objects.get(&service_id).ok_or_else(|| missing(&service_id))?;
    let selector = texts(service, &["spec", "selector"]);
    if selector.is_empty() || !contains_all(&labels, &selector) {
        return Err(invalid(format!("{service_id} does not select the pods of {deployment_id}")));
    }
    for route in &canary.routes {
        let route_id = Id::new(GATEWAY, "HTTPRoute", namespace, &route.name);
        let route = objects.get(&route_id).ok_or_else(|| missing(&route_id))?;
        check_route(&route_id, route, &canary.service).map_err(invalid)?;
    }

    let mut steps = Vec::new();
    let mut weight_before = 0;
    for (index, step) in canary.steps.iter().enumerate() {
        if !(1..=100).contains(&step.weight) || step.weight < weight_before {
            return Err(invalid(format!("step {}: weights are 1 to 100 and never fall", index + 1)));
        }
        weight_before = step.weight;
        let hold_s = seconds(&format!("step {}: hold", index + 1), &step.hold)?;
        steps.push(StepPlan { weight_percent: step.weight, hold_s, approval: step.approval });
    }
    let bake_s = seconds("bake", &canary.bake)?;
    match steps.last_mut() {
        Some(last) if last.weight_percent == 100 => last.hold_s += bake_s,
        _ => steps.push(StepPlan { weight_percent: 100, hold_s: bake_s, approval: false }),
    }

    let rollout_digest = rollout_digest(objects, &deployment_id).unwrap_or_default();
    let canary_hash = short(&rollout_digest, HASH_LENGTH);
    let canary_service = canary_service_name(&canary.service, &rollout_digest, number);
    let values = placeholders(namespace, &id.name, &canary.service, &canary_service, &canary_hash);
    let metrics = metrics(objects, cluster_templates, id, &spec, &values)?;
    Ok(RolloutPlan {
        name: id.name.clone(),
        namespace: namespace.to_owned(),
        deployment: spec.workload_ref.name.clone(),
        service: canary.service.clone(),
        pinned_services: selecting_services(objects, &deployment_id),
        routes: canary.routes.iter().map(|route| route.name.clone()).collect(),
        canary_replica_set: format!("{}-{canary_hash}", spec.workload_ref.name),
        rollout_digest,
        canary_hash,
        canary_service,
        steps,
        metrics,
        rollback_on_no_data: spec.analysis.on_no_data == OnNoData::Rollback,
        progress_deadline_s: seconds("progressDeadline", &spec.progress_deadline)?,
    })
}

fn decode(id: &Id, object: &Value) -> Result<RolloutSpec, CheckError> {
    let spec = object.get("spec").cloned().unwrap_or_default();
    serde_json::from_value(spec)
        .map_err(|error| CheckError::Undecodable { object: id.to_string(), message: bounded(&error.to_string()) })
}

fn check_route(id: &Id, route: &Value, service: &str) -> Result<(), String> {
    if !routes_to(route, service) {
        return Err(format!("{id} has no backend {service}"));
    }
    let too_heavy = list(route, &["spec", "rules"])
        .iter()
        .flat_map(|rule| list(rule, &["backendRefs"]))
        .any(|backend| integer(backend, &["weight"]).is_some_and(|weight| weight > ROUTE_WEIGHT_MAX));
    if too_heavy { Err(format!("{id}: weights of backends may be at most {ROUTE_WEIGHT_MAX}")) } else { Ok(()) }
}

/// The canary Service's name carries the rollout digest and the attempt: gateways keep counters by Service, and a fixed name
/// would let the errors of the last release judge this one.
fn canary_service_name(service: &str, rollout_digest: &str, number: i64) -> String {
    let suffix = format!("-canary-{}-{number}", short(rollout_digest, 6));
    let stem: String = service.chars().take(SERVICE_NAME_MAX - suffix.len()).collect();
    format!("{}{suffix}", stem.trim_end_matches('-'))
}

fn placeholders(
    namespace: &str,
    rollout: &str,
    service: &str,
    canary_service: &str,
    canary_hash: &str,
) -> BTreeMap<String, String> {
    [
        ("namespace", namespace),
        ("rollout", rollout),
        ("stable.service", service),
        ("canary.service", canary_service),
        ("canary.hash", canary_hash),
        // known only when the release prepares; filled in when the query is sent
        ("stable.hash", crate::judge::STABLE_HASH_PLACEHOLDER),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

fn metrics(
    objects: &BTreeMap<Id, Value>,
    cluster_templates: &BTreeMap<String, Value>,
    id: &Id,
    spec: &RolloutSpec,
    values: &BTreeMap<String, String>,
) -> Result<Vec<MetricPlan>, CheckError> {
    let invalid = |message: String| CheckError::Invalid { rollout: id.name.clone(), message: bounded(&message) };
    let given: BTreeMap<&str, &str> =
        spec.analysis.args.iter().filter_map(|arg| Some((arg.name.as_str(), arg.value.as_deref()?))).collect();
    let mut all: Vec<(Metric, Vec<Argument>)> =
        spec.analysis.metrics.iter().map(|metric| (metric.clone(), spec.analysis.args.clone())).collect();
    for reference in &spec.analysis.templates {
        let template = match reference.kind {
            TemplateKind::AnalysisTemplate => {
                let template_id = Id::new(sluice_crds::names::GROUP, "AnalysisTemplate", id.namespace_text(), &reference.name);
                objects
                    .get(&template_id)
                    .ok_or_else(|| CheckError::Missing { rollout: id.name.clone(), missing: template_id.to_string() })?
            }
            TemplateKind::ClusterAnalysisTemplate => cluster_templates
                .get(&reference.name)
                .ok_or_else(|| invalid(format!("ClusterAnalysisTemplate {} is not in the cluster", reference.name)))?,
        };
        let template: AnalysisTemplateSpec = serde_json::from_value(template.get("spec").cloned().unwrap_or_default())
            .map_err(|error| invalid(format!("template {}: {error}", reference.name)))?;
        all.extend(template.metrics.iter().map(|metric| (metric.clone(), template.args.clone())));
    }
    let mut names = BTreeSet::new();
    let mut plans = Vec::new();
    for (metric, declared) in all {
        if !names.insert(metric.name.clone()) {
            return Err(invalid(format!("two metrics are named {}", metric.name)));
        }
        let mut values = values.clone();
        for arg in &declared {
            let value = given.get(arg.name.as_str()).copied().or(arg.value.as_deref());
            let value = value.ok_or_else(|| invalid(format!("argument {} has no value", arg.name)))?;
            values.insert(format!("args.{}", arg.name), value.to_owned());
        }
        let query = fill(&metric.query, &values).map_err(|message| invalid(format!("metric {}: {message}", metric.name)))?;
        let threshold =
            crate::judge::threshold_plan(&metric).map_err(|message| invalid(format!("metric {}: {message}", metric.name)))?;
        plans.push(MetricPlan { query, threshold });
    }
    Ok(plans)
}

/// Fills `{{name}}` in a query; values are escaped for a PromQL string, so that none can leave its quotes.
fn fill(query: &str, values: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::with_capacity(query.len());
    let mut rest = query;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, tail) = after.split_once("}}").ok_or_else(|| "a {{ has no }}".to_owned())?;
        let name = name.trim();
        let value = values.get(name).ok_or_else(|| format!("{{{{{name}}}}} is not known"))?;
        out.push_str(before);
        for character in value.chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\'' => out.push_str("\\'"),
                '\n' => out.push_str("\\n"),
                other => out.push(other),
            }
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// Whether two releases would try the same: then a newer commit is taken into the running release.
#[must_use]
pub fn same_trial(a: &[RolloutPlan], b: &[RolloutPlan]) -> bool {
    a == b
}

/// The render with content names, or nothing.
#[must_use]
pub fn named(render: Option<&Render>) -> BTreeMap<Id, Value> {
    render.map(crate::naming::with_content_names).unwrap_or_default()
}

/// The route's kind and group, for messages and lookups.
#[must_use]
pub fn route_id(plan: &RolloutPlan, name: &str) -> Id {
    Id::new(GATEWAY, "HTTPRoute", &plan.namespace, name)
}

/// The Deployment of a plan.
#[must_use]
pub fn deployment_id(plan: &RolloutPlan) -> Id {
    Id::new(APPS, "Deployment", &plan.namespace, &plan.deployment)
}

/// A Service of a plan.
#[must_use]
pub fn service_id(plan: &RolloutPlan, name: &str) -> Id {
    Id::new(CORE, "Service", &plan.namespace, name)
}

/// The Rollout of a plan.
#[must_use]
pub fn rollout_id(plan: &RolloutPlan) -> Id {
    Id::new(sluice_crds::names::GROUP, "Rollout", &plan.namespace, &plan.name)
}

/// The canary's ReplicaSet of a plan.
#[must_use]
pub fn canary_id(plan: &RolloutPlan) -> Id {
    Id::new(APPS, "ReplicaSet", &plan.namespace, &plan.canary_replica_set)
}

/// One word of text of an object, for callers that hold only JSON.
#[must_use]
pub fn name_of(object: &Value) -> &str {
    text(object, &["metadata", "name"])
}
