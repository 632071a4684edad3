//! Content-named config: a workload that is rolled out reads ConfigMaps and Secrets by names that carry the hash of
//! their content, as kustomize's generators do it. So a changed ConfigMap is a changed pod template, stable pods never
//! read the new one, and the judged ReplicaSet's template is the Deployment's to the letter.
//!
//! It is a function of the commit alone, the same at the first install and in every later release: any environment can be
//! rebuilt from Git. The originals are applied as well, for whoever reads them by name.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sluice_crds::names::LABEL_COPY_OF;

use crate::digest::{digest, short};
use crate::id::{APPS, CORE, Id};
use crate::render::Render;
use crate::view::{list, remove, set, text};

/// Characters of the content hash in a copy's name: 27^8 contents before two of one name are expected to meet.
const HASH_LENGTH: usize = 8;
/// The longest name that Kubernetes allows for config objects.
const NAME_LENGTH_MAX: usize = 253;

/// The render as the cluster shall see it: with copies of config for every Deployment that a Rollout names.
#[must_use]
pub fn with_content_names(render: &Render) -> BTreeMap<Id, Value> {
    let mut objects = render.objects.clone();
    for deployment in rolled_deployments(render) {
        let Some(object) = render.get(&deployment) else { continue };
        let namespace = deployment.namespace_text();
        let mut renamed = object.clone();
        let mut copies = Vec::new();
        if let Some(pod) = renamed.pointer_mut("/spec/template/spec") {
            for_each_reference(pod, &mut |kind, name| {
                let original = render.get(&Id::new(CORE, kind, namespace, name))?;
                let copy = copy_of(original, name);
                let name = text(&copy, &["metadata", "name"]).to_owned();
                copies.push(copy);
                Some(name)
            });
        }
        objects.insert(deployment, renamed);
        for copy in copies {
            if let Some(id) = Id::of(&copy) {
                objects.insert(id, copy);
            }
        }
    }
    objects
}

/// The Deployments that Rollouts of a render name.
#[must_use]
pub fn rolled_deployments(render: &Render) -> Vec<Id> {
    render
        .of_kind(sluice_crds::names::GROUP, "Rollout")
        .map(|(id, rollout)| Id::new(APPS, "Deployment", id.namespace_text(), text(rollout, &["spec", "workloadRef", "name"])))
        .filter(|id| render.get(id).is_some())
        .collect()
}

/// The ConfigMaps and Secrets of a render that a pod template names, originals only.
#[must_use]
pub fn referenced_config(render: &BTreeMap<Id, Value>, deployment: &Id) -> Vec<Id> {
    let mut found = Vec::new();
    let Some(object) = render.get(deployment) else { return found };
    let mut object = object.clone();
    if let Some(pod) = object.pointer_mut("/spec/template/spec") {
        for_each_reference(pod, &mut |kind, name| {
            let id = Id::new(CORE, kind, deployment.namespace_text(), name);
            if let Some(config) = render.get(&id) {
                let original = text(config, &["metadata", "labels", LABEL_COPY_OF]);
                let original = if original.is_empty() { name } else { original };
                found.push(Id::new(CORE, kind, deployment.namespace_text(), original));
            }
            None
        });
    }
    found.sort();
    found.dedup();
    found
}

fn copy_of(original: &Value, name: &str) -> Value {
    let content = json!({
        "data": original.get("data"), "binaryData": original.get("binaryData"),
        "stringData": original.get("stringData"), "type": original.get("type"),
    });
    let hash = short(&digest(&content), HASH_LENGTH);
    let mut copy = original.clone();
    let stem: String = name.chars().take(NAME_LENGTH_MAX - HASH_LENGTH - 1).collect();
    set(&mut copy, &["metadata", "name"], json!(format!("{stem}-{hash}")));
    set(&mut copy, &["metadata", "labels", LABEL_COPY_OF], json!(name.chars().take(63).collect::<String>()));
    remove(&mut copy, &["metadata", "annotations"]);
    set(&mut copy, &["immutable"], json!(true));
    copy
}

/// Calls `rename` with (kind, name) of every ConfigMap and Secret that a pod spec names; what it returns replaces the name.
fn for_each_reference(pod: &mut Value, rename: &mut impl FnMut(&str, &str) -> Option<String>) {
    let mut visit = |holder: Option<&mut Value>, kind: &str, field: &str| {
        let Some(holder) = holder else { return };
        let name = text(holder, &[field]).to_owned();
        if !name.is_empty()
            && let Some(new) = rename(kind, &name)
        {
            set(holder, &[field], json!(new));
        }
    };
    for volume in items(pod, "volumes") {
        visit(volume.get_mut("configMap"), "ConfigMap", "name");
        visit(volume.get_mut("secret"), "Secret", "secretName");
        if let Some(projected) = volume.get_mut("projected") {
            for source in items(projected, "sources") {
                visit(source.get_mut("configMap"), "ConfigMap", "name");
                visit(source.get_mut("secret"), "Secret", "name");
            }
        }
    }
    for containers in ["containers", "initContainers", "ephemeralContainers"] {
        for container in items(pod, containers) {
            for source in items(container, "envFrom") {
                visit(source.get_mut("configMapRef"), "ConfigMap", "name");
                visit(source.get_mut("secretRef"), "Secret", "name");
            }
            for variable in items(container, "env") {
                if let Some(from) = variable.get_mut("valueFrom") {
                    visit(from.get_mut("configMapKeyRef"), "ConfigMap", "name");
                    visit(from.get_mut("secretKeyRef"), "Secret", "name");
                }
            }
        }
    }
}

fn items<'a>(value: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

/// What is on trial: the pod template that Git sets, with its config by content name.
#[must_use]
pub fn rollout_digest(objects: &BTreeMap<Id, Value>, deployment: &Id) -> Option<String> {
    objects.get(deployment).and_then(|object| object.pointer("/spec/template")).map(digest)
}

/// Whether an autoscaler of the set targets a Deployment: then the number of replicas is its own.
#[must_use]
pub fn is_autoscaled(objects: &BTreeMap<Id, Value>, deployment: &Id) -> bool {
    objects.iter().any(|(id, object)| autoscales(id, object, deployment))
}

/// Whether an object is a HorizontalPodAutoscaler of a Deployment.
#[must_use]
pub fn autoscales(id: &Id, object: &Value, deployment: &Id) -> bool {
    id.is(crate::id::AUTOSCALING, "HorizontalPodAutoscaler")
        && id.namespace == deployment.namespace
        && text(object, &["spec", "scaleTargetRef", "kind"]) == "Deployment"
        && text(object, &["spec", "scaleTargetRef", "name"]) == deployment.name
}

/// Services of a set that select a Deployment's pods.
#[must_use]
pub fn selecting_services(objects: &BTreeMap<Id, Value>, deployment: &Id) -> Vec<String> {
    let Some(workload) = objects.get(deployment) else { return Vec::new() };
    let labels = crate::view::texts(workload, &["spec", "template", "metadata", "labels"]);
    objects
        .iter()
        .filter(|(id, _)| id.is(CORE, "Service") && id.namespace == deployment.namespace)
        .filter(|(_, service)| {
            let selector = crate::view::texts(service, &["spec", "selector"]);
            !selector.is_empty() && crate::view::contains_all(&labels, &selector)
        })
        .map(|(id, _)| id.name.clone())
        .collect()
}

/// Whether a route names a Service as a backend.
#[must_use]
pub fn routes_to(route: &Value, service: &str) -> bool {
    list(route, &["spec", "rules"])
        .iter()
        .flat_map(|rule| list(rule, &["backendRefs"]))
        .any(|backend| is_service(backend, service))
}

/// Whether a backend is this Service of the route's own namespace.
#[must_use]
pub fn is_service(backend: &Value, service: &str) -> bool {
    text(backend, &["name"]) == service
        && matches!(text(backend, &["kind"]), "" | "Service")
        && backend.get("namespace").is_none()
}
