//! The whole revision against the API server, as the tenant, before the first write: immutable fields, quota, permissions,
//! admission and unknown fields are found here, while nothing has happened yet.

use std::collections::BTreeMap;

use futures::StreamExt;
use serde_json::Value;
use sluice_cluster::object::{ApplyOptions, WriteError};
use sluice_crds::gitsync::{GitSync, Refused};
use sluice_crds::names::{FIELD_MANAGER, GROUP, LABEL_GITSYNC, LABEL_GITSYNC_NAMESPACE};
use sluice_plan::check::bounded;
use sluice_plan::view::label;
use sluice_plan::{Id, Render};

use crate::tenant::{Identities, key};

/// Dry-runs under way at once for one GitSync.
const CONCURRENT: usize = 8;
/// Objects that a message names.
const NAMED_MAX: usize = 3;

/// What is wrong with a revision, if anything. `Err` is a failure of the moment: it says nothing about the revision.
///
/// # Errors
/// What kept the API server from answering.
pub async fn check(identities: &Identities, sync: &GitSync, render: &Render, sha: &str) -> Result<Option<Refused>, WriteError> {
    let desired = sluice_plan::effective::desired_of(sync, render);
    let made = Made::of(render);
    let mut answers: Vec<(Id, Outcome)> = futures::stream::iter(desired.into_iter().map(|(id, object)| {
        let made = &made;
        async move {
            let outcome = one(identities, sync, made, &id, &object).await;
            (id, outcome)
        }
    }))
    .buffer_unordered(CONCURRENT)
    .collect()
    .await;
    answers.sort_by(|a, b| a.0.cmp(&b.0));
    let mut problems = Vec::new();
    let mut reason = None;
    for (id, outcome) in answers {
        match outcome {
            Outcome::Fine => {}
            Outcome::Refused { reason: why, message } => {
                reason.get_or_insert(why);
                problems.push(format!("{id}: {message}"));
            }
            Outcome::Failed(error) => return Err(error),
        }
    }
    Ok(reason.map(|reason| {
        let more = problems.len().saturating_sub(NAMED_MAX);
        let mut message = problems.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
        if more > 0 {
            message.push_str(&format!("; and {more} more"));
        }
        Refused { sha: sha.to_owned(), reason: reason.to_owned(), message: bounded(&message) }
    }))
}

enum Outcome {
    Fine,
    Refused { reason: &'static str, message: String },
    Failed(WriteError),
}

/// Namespaces and kinds that the revision itself brings: objects in them cannot be tried on the server yet.
struct Made<'a> {
    namespaces: Vec<&'a str>,
    kinds: BTreeMap<(String, String), ()>,
}

impl<'a> Made<'a> {
    fn of(render: &'a Render) -> Self {
        let namespaces = render.of_kind("", "Namespace").map(|(id, _)| id.name.as_str()).collect();
        let kinds = render
            .of_kind("apiextensions.k8s.io", "CustomResourceDefinition")
            .map(|(_, crd)| {
                let text = |path: &str| crd.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
                ((text("/spec/group"), text("/spec/names/kind")), ())
            })
            .collect();
        Self { namespaces, kinds }
    }
}

async fn one(identities: &Identities, sync: &GitSync, made: &Made<'_>, id: &Id, object: &Value) -> Outcome {
    let key = key(id, Some(object));
    if id.group == GROUP && !matches!(id.kind.as_str(), "Rollout" | "AnalysisTemplate" | "ClusterAnalysisTemplate" | "GitSync") {
        return Outcome::Refused {
            reason: "NotAllowed",
            message: "this kind is written by the controller only; remove it from Git".to_owned(),
        };
    }
    if let Ok(Some(live)) = identities.tenant.get(&key).await {
        let owner = (label(&live, LABEL_GITSYNC_NAMESPACE), label(&live, LABEL_GITSYNC));
        let us = (sync.metadata.namespace.as_deref().unwrap_or(""), sync.metadata.name.as_deref().unwrap_or(""));
        if !owner.1.is_empty() && owner != us {
            let message = format!("it belongs to GitSync {}/{} already; remove it from one of the two", owner.0, owner.1);
            return Outcome::Refused { reason: "OwnedByOther", message };
        }
    }
    let options = ApplyOptions { manager: FIELD_MANAGER, force: true, dry_run: true, uid: None, resource_version: None };
    match identities.tenant.apply(&key, object, options).await {
        Ok(_) => Outcome::Fine,
        Err(WriteError::NotFound { .. })
            if id.namespace.as_deref().is_some_and(|namespace| made.namespaces.contains(&namespace)) =>
        {
            Outcome::Fine
        }
        Err(WriteError::Kind { .. }) if made.kinds.contains_key(&(id.group.clone(), id.kind.clone())) => Outcome::Fine,
        Err(WriteError::Kind { source, .. }) if source.is_transient() => {
            Outcome::Failed(WriteError::Kind { object: id.to_string(), source })
        }
        Err(error) if error.is_terminal() => Outcome::Refused { reason: error.reason(), message: error.message() },
        Err(
            error @ (WriteError::Denied { .. }
            | WriteError::NotFound { .. }
            | WriteError::Kind { .. }
            | WriteError::NamespaceTerminating { .. }),
        ) => Outcome::Refused { reason: error.reason(), message: error.message() },
        Err(error) => Outcome::Failed(error),
    }
}
