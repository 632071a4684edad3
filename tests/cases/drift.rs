//! Hand edits are put back, at rest and in the middle of a release.

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sluice_tests::audit::{Audit, Write};
use sluice_tests::case::Case;
use sluice_tests::cluster::{Kind, text_at};
use sluice_tests::tenant::ACCOUNT;
use sluice_tests::wait::{Look, stays_so};
use sluice_tests::weights::canary_thousandths;

use crate::support::release::{expect_judged_pods, workload};
use crate::support::{Test, ensure_that, people, say, test};

/// How long nothing may be written: some looks at Git, which come each second.
const QUIET: std::time::Duration = std::time::Duration::from_secs(6);

pub fn all() -> Vec<Test> {
    vec![
        test("hand edits at rest are put back: Deployment, Service, route, config, and a deleted Service", at_rest),
        test("hand edits in the middle of a release are put back and the release goes on", in_motion),
        test("drift that is only reported is reported, and stays", reported),
        test("at rest nothing is written", quiet),
    ]
}

/// How long after a hand edit the tenant's account wrote the object, as the API server's own log has it.
fn put_back_after(case: &Case, audit: Option<&Audit>, resource: &str, edited_at: DateTime<Utc>) -> Result<()> {
    let Some(audit) = audit else { return Ok(()) };
    let tenant = format!("system:serviceaccount:{}:{ACCOUNT}", case.namespace);
    let writes = audit.writes()?;
    let of_object =
        writes.iter().filter(|write| write.object_ref.namespace == case.namespace && write.object_ref.resource == resource);
    let of_object: Vec<_> = of_object.filter(|write| write.took_effect() && write.answered_at >= edited_at).collect();
    let edit = of_object.iter().find(|write| write.client() == write.user()).map(|write| write.answered_at);
    let back = of_object.iter().find(|write| write.user() == tenant).map(|write| write.answered_at);
    if let (Some(edit), Some(back)) = (edit, back) {
        say(case, &format!("{resource} put back {:.2} s after the hand edit", (back - edit).as_seconds_f64()));
    }
    Ok(())
}

fn audit(case: &Case) -> Result<Option<Audit>> {
    case.env.audit_log.as_deref().map(Audit::from_now_on).transpose()
}

/// Edits an object by hand and waits until a part of it is as before.
async fn edited(case: &Case, kind: Kind, pointer: &str, edit: Value) -> Result<()> {
    let audit = audit(case)?;
    let before = case.object(kind, "shop").await?.pointer(pointer).cloned();
    let edited_at = Utc::now();
    let after = case.cluster.edit(kind, &case.namespace, "shop", &edit).await?;
    ensure_that!(after.pointer(pointer) != before.as_ref(), "the edit of {kind:?} changed nothing at {pointer}");
    case.wait(&format!("{kind:?} to have its own {pointer} again"), async || {
        let now = case.object(kind, "shop").await?.pointer(pointer).cloned();
        Ok(Look::at(now == before, format!("{now:?} instead of {before:?}")))
    })
    .await?;
    let resource = kind.kubectl_name();
    put_back_after(case, audit.as_ref(), resource.split('.').next().unwrap_or(&resource), edited_at)
}

/// An annotation in the pod template: the smallest edit that is a rollout of its own.
fn template_edit() -> Value {
    json!({"spec": {"template": {"metadata": {"annotations": {"by-hand": "yes"}}}}})
}

async fn at_rest(mut case: Case) -> Result<()> {
    case.install().await?;
    let before = workload(&case, "shop").await?;
    edited(&case, Kind::HttpRoute, "/spec/rules", json!({"spec": {"rules": [{"backendRefs": [{"name": "shop", "port": 80, "weight": 7}, {"name": "other", "port": 80, "weight": 3}]}]}})).await?;
    edited(&case, Kind::Service, "/spec/selector", json!({"spec": {"selector": {"app": "shop", "by-hand": "yes"}}})).await?;
    edited(&case, Kind::Deployment, "/spec/template", template_edit()).await?;
    edited(&case, Kind::ConfigMap, "/data", json!({"data": {"message": "by hand", "more": "by hand"}})).await?;
    case.wait_event("DriftReverted", "HTTPRoute").await?;
    case.cluster.delete(Kind::Service, &case.namespace, "shop").await?;
    case.wait("the deleted Service to come back", async || {
        let service = case.cluster.get(Kind::Service, &case.namespace, "shop").await?;
        Ok(Look::at(service.is_some_and(|service| service.pointer("/metadata/deletionTimestamp").is_none()), "it is gone"))
    })
    .await?;
    ensure_that!(workload(&case, "shop").await? == before, "the Deployment or its config is not as before");
    case.expect_at_rest("shop").await?;
    let two = case.commit_message("two")?;
    case.wait_good(&two).await
}

async fn in_motion(mut case: Case) -> Result<()> {
    case.tree.app()?.rolling().steps = vec![(50, 1, true)];
    case.install().await?;
    let two = case.commit_message("two")?;
    case.wait_event("WaitingForApproval", "50 %").await?;
    let route = case.object(Kind::HttpRoute, "shop").await?;
    let mut rules = route.pointer("/spec/rules").cloned().context("the route has no rules")?;
    for (index, weight) in [(0, 10), (1, 990)] {
        rules[0]["backendRefs"][index]["weight"] = json!(weight);
    }
    edited(&case, Kind::HttpRoute, "/spec/rules", json!({"spec": {"rules": rules}})).await?;
    edited(&case, Kind::Service, "/spec/selector", json!({"spec": {"selector": {"pod-template-hash": null}}})).await?;
    edited(&case, Kind::Deployment, "/spec/template", template_edit()).await?;
    // two writers at once must not end the wait or shift the weight
    stays_so("the weight", std::time::Duration::from_secs(2), async || {
        let share = canary_thousandths(&case.cluster, &case.namespace, "shop", "shop").await?;
        Ok(Look::at(share == 500, format!("{share} thousandths")))
    })
    .await?;
    people::command(&case, "shop", "promote", &two)?;
    case.wait_good(&two).await?;
    expect_judged_pods(&case, &case.release_of(&two).await?, "shop").await?;
    case.expect_at_rest("shop").await
}

async fn reported(mut case: Case) -> Result<()> {
    let one = case.install().await?;
    case.edit_sync(json!({"drift": "Report"})).await?;
    let by_hand = json!({"data": {"message": "by hand"}});
    case.cluster.edit(Kind::ConfigMap, &case.namespace, "shop", &by_hand).await?;
    case.wait("the GitSync to say so", async || {
        let conditions = case.sync().await?.status.unwrap_or_default().conditions;
        let said = conditions.iter().any(|it| it.kind == "Ready" && it.status == "False" && it.message.contains("ConfigMap"));
        Ok(Look::at(said, format!("{conditions:?}")))
    })
    .await?;
    let config = case.object(Kind::ConfigMap, "shop").await?;
    ensure_that!(text_at(&config, "/data/message") == "by hand", "what should only be reported was put back");
    case.edit_sync(json!({"drift": "Revert"})).await?;
    case.wait_good(&one).await?;
    case.wait("the ConfigMap to be put back", async || {
        let config = case.object(Kind::ConfigMap, "shop").await?;
        let message = text_at(&config, "/data/message");
        Ok(Look::at(message == "one", message.to_owned()))
    })
    .await?;
    Ok(())
}

async fn quiet(mut case: Case) -> Result<()> {
    case.install().await?;
    case.expect_at_rest("shop").await?;
    // events are written beside the work, and the collection of old snapshots comes after it
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let Some(audit) = audit(&case)? else { return Ok(()) };
    // a commit without a change: seen, and recorded
    case.push("nothing changed")?;
    case.wait("the commit to be good", async || {
        let status = case.sync().await?.status.unwrap_or_default();
        Ok(Look::at(status.good.is_some_and(|good| good.subject == "nothing changed"), "it is not"))
    })
    .await?;
    // the record, what the GitSync's and the Rollout's columns show
    tokio::time::sleep(QUIET).await;
    let ours = |writes: Vec<Write>| -> Vec<String> {
        let of_case = |write: &Write| write.object_ref.namespace == case.namespace && write.client().contains("sluice-system");
        let lasting =
            writes.iter().filter(|write| of_case(write) && write.took_effect() && write.object_ref.resource != "events");
        lasting.map(Write::sentence).collect()
    };
    let written = ours(audit.writes()?);
    ensure_that!(written.len() <= 3, "a commit without a change cost {written:?}");
    let Some(audit) = self::audit(&case)? else { return Ok(()) };
    tokio::time::sleep(QUIET).await;
    let written = ours(audit.writes()?);
    ensure_that!(written.is_empty(), "written at rest: {written:?}");
    Ok(())
}
