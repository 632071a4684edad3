//! Everything of an application is done with its own account's rights, and refused as a whole where they do not suffice.

use anyhow::Result;
use serde_json::{Value, json};
use sluice_tests::audit::Audit;
use sluice_tests::case::Case;
use sluice_tests::cluster::{Kind, text_at};
use sluice_tests::tenant::{ACCOUNT, role};
use sluice_tests::wait::Look;

use crate::support::{Test, ensure_that, test};

pub fn all() -> Vec<Test> {
    vec![
        test("an account without a permission is refused before the first write", missing_permission),
        test("an account that does not exist is refused before the first write", missing_account),
        test("a quota that is too small is found before the first write", quota),
        test("rights that are taken away are said, and the application heals once they are back", taken_away),
        test("an account cannot bring objects into another namespace", other_namespace),
    ]
}

/// What an account may do, without one resource.
fn role_without(resource: &str) -> Value {
    let mut role = role(&["*"]);
    for rule in role["rules"].as_array_mut().into_iter().flatten() {
        if let Some(resources) = rule["resources"].as_array_mut() {
            resources.retain(|it| it != resource);
            if resources.is_empty() {
                resources.push(json!("none"));
            }
        }
    }
    role
}

/// Nothing of the app was written since.
async fn expect_nothing_written(case: &Case, audit: Option<&Audit>) -> Result<()> {
    for (kind, name) in [(Kind::Deployment, "shop"), (Kind::Service, "shop"), (Kind::ConfigMap, "shop")] {
        ensure_that!(case.cluster.get(kind, &case.namespace, name).await?.is_none(), "{kind:?} {name} was written");
    }
    let writes = audit.map(Audit::writes).transpose()?.unwrap_or_default();
    let tenant = format!("system:serviceaccount:{}:", case.namespace);
    let surplus: Vec<String> = writes
        .iter()
        .filter(|write| write.user().starts_with(&tenant) && write.took_effect())
        .map(|write| write.sentence())
        .collect();
    ensure_that!(surplus.is_empty(), "written: {surplus:?}");
    ensure_that!(case.cluster.releases(&case.namespace, "app").await?.is_empty(), "a release was started");
    Ok(())
}

async fn missing_permission(mut case: Case) -> Result<()> {
    let audit = case.env.audit_log.as_deref().map(Audit::from_now_on).transpose()?;
    case.cluster.apply(Kind::Role, &case.namespace, &role_without("httproutes")).await?;
    case.push("one")?;
    case.start_sync(json!({})).await?;
    let message = case.wait_refused("WriteDenied").await?;
    ensure_that!(message.contains("HTTPRoute") && message.contains(ACCOUNT), "the refusal does not say what and who: {message}");
    case.wait_event("WriteDenied", "HTTPRoute").await?;
    expect_nothing_written(&case, audit.as_ref()).await?;
    case.cluster.apply(Kind::Role, &case.namespace, &role(&["*"])).await?;
    // the rights are looked at again with the next commit at once, and with the same commit after a while
    let two = case.commit_message("two")?;
    case.wait_good(&two).await
}

async fn missing_account(mut case: Case) -> Result<()> {
    let audit = case.env.audit_log.as_deref().map(Audit::from_now_on).transpose()?;
    case.push("one")?;
    case.start_sync(json!({"target": {"serviceAccountName": "nobody-at-all"}})).await?;
    let message = case.wait_refused("WriteDenied|ReadDenied").await?;
    ensure_that!(message.contains("nobody-at-all"), "the refusal does not name the account: {message}");
    expect_nothing_written(&case, audit.as_ref()).await?;
    case.edit_sync(json!({"target": {"serviceAccountName": ACCOUNT}})).await?;
    let two = case.commit_message("two")?;
    case.wait_good(&two).await
}

async fn quota(mut case: Case) -> Result<()> {
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": {"count/services": "0"}}});
    case.cluster.apply(Kind::ResourceQuota, &case.namespace, &quota).await?;
    let audit = case.env.audit_log.as_deref().map(Audit::from_now_on).transpose()?;
    case.push("one")?;
    case.start_sync(json!({})).await?;
    let message = case.wait_refused("QuotaExceeded").await?;
    ensure_that!(message.contains("small"), "the refusal does not name the quota: {message}");
    expect_nothing_written(&case, audit.as_ref()).await?;
    case.cluster.delete(Kind::ResourceQuota, &case.namespace, "small").await?;
    let two = case.commit_message("two")?;
    case.wait_good(&two).await
}

async fn other_namespace(mut case: Case) -> Result<()> {
    let one = case.install().await?;
    let intruder = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "intruder", "namespace": "default"}});
    case.commit("into another namespace", |tree| {
        tree.file("intruder.yaml", &intruder.to_string());
        Ok(())
    })?;
    let message = case.wait_refused("WriteDenied|ReadDenied").await?;
    ensure_that!(message.contains("intruder"), "the refusal does not name the object: {message}");
    let found = case.cluster.get(Kind::ConfigMap, "default", "intruder").await?;
    ensure_that!(found.is_none(), "it was written into another namespace");
    let good = case.sync().await?.status.unwrap_or_default().good;
    ensure_that!(good.is_some_and(|good| good.sha == one), "another revision is good");
    let two = case.commit("out again", |tree| {
        tree.files.clear();
        tree.app()?.message = "two".to_owned();
        Ok(())
    })?;
    case.wait_good(&two).await
}

async fn taken_away(mut case: Case) -> Result<()> {
    let one = case.install().await?;
    let before = case.pod_uids("shop").await?;
    case.cluster.apply(Kind::Role, &case.namespace, &role(&["list"])).await?;
    let edit = json!({"data": {"message": "by hand"}});
    case.cluster.edit(Kind::ConfigMap, &case.namespace, "shop", &edit).await?;
    case.wait("the GitSync to say what it may not do", async || {
        let conditions = case.sync().await?.status.unwrap_or_default().conditions;
        let ready = conditions.into_iter().find(|it| it.kind == "Ready");
        let says = ready.as_ref().is_some_and(|it| it.status == "False" && it.message.contains(ACCOUNT));
        Ok(Look::at(says, format!("{ready:?}")))
    })
    .await?;
    case.wait_event("ReadDenied", ACCOUNT).await?;
    case.cluster.apply(Kind::Role, &case.namespace, &role(&["*"])).await?;
    case.wait_good(&one).await?;
    case.wait("the hand edit to be put back", async || {
        let config = case.object(Kind::ConfigMap, "shop").await?;
        Ok(Look::at(text_at(&config, "/data/message") == "one", config["data"].to_string()))
    })
    .await?;
    ensure_that!(case.pod_uids("shop").await? == before, "pods changed");
    let two = case.commit_message("two")?;
    case.wait_good(&two).await
}
