//! Objects that leave Git are deleted only after proof, and through the brake.

use anyhow::{Context, Result};
use serde_json::json;
use sluice_tests::case::Case;
use sluice_tests::cluster::{Kind, text_at};
use sluice_tests::wait::{Look, stays_so};

use crate::support::{Test, ensure_that, people, test};

pub fn all() -> Vec<Test> {
    vec![
        test("a commit that deletes most objects meets the brake, and only its own digest lets it go on", braked),
        test("an object that leaves Git goes only after the release without it has proved itself", after_proof),
        test("with prune off, what leaves Git stays", switched_off),
        test("what somebody else made is never deleted", not_ours),
    ]
}

const NAMES: [&str; 5] = ["one", "two", "three", "four", "five"];

fn with_configs(case: &mut Case) {
    for name in NAMES {
        case.tree.config_map(name, name);
    }
}

async fn configs_left(case: &Case) -> Result<Vec<String>> {
    let all = case.cluster.list(Kind::ConfigMap, &case.namespace, "").await?;
    Ok(all.iter().map(|it| text_at(it, "/metadata/name").to_owned()).filter(|name| NAMES.contains(&name.as_str())).collect())
}

async fn braked(mut case: Case) -> Result<()> {
    with_configs(&mut case);
    case.push("one")?;
    case.start_sync(json!({"prune": {"brake": {"maxObjects": 2, "maxPercent": 10}}})).await?;
    case.wait_good(&case.repository.head()?).await?;
    let two = case.commit("most of it goes", |tree| {
        NAMES.iter().take(4).for_each(|name| {
            tree.files.remove(&format!("{name}.yaml"));
        });
        Ok(())
    })?;
    case.wait_event("PruneBlocked", "sluice.dev/approve-prune=").await?;
    let blocked = case.sync().await?.status.unwrap_or_default().prune_blocked.context("the status does not name the prune")?;
    ensure_that!(blocked.objects == 4 && blocked.names.iter().any(|name| name.contains("three")), "the status names {blocked:?}");
    people::command_sync(&case, "approve-prune", "0123456789ab")?;
    case.wait_event("CommandRefused", &blocked.digest).await?;
    stays_so("the objects", std::time::Duration::from_secs(3), async || {
        let left = configs_left(&case).await?;
        Ok(Look::at(left.len() == NAMES.len(), format!("{left:?}")))
    })
    .await?;
    people::command_sync(&case, "approve-prune", &blocked.digest)?;
    case.wait_good(&two).await?;
    case.wait("the objects to go", async || {
        let left = configs_left(&case).await?;
        Ok(Look::at(left == ["five"], format!("{left:?}")))
    })
    .await?;
    let record = people::answered(&case, "approve-prune", true, "4 objects").await?;
    ensure_that!(text_at(&record, "/by").starts_with("user "), "the record does not name the user: {record}");
    case.expect_at_rest("shop").await
}

async fn after_proof(mut case: Case) -> Result<()> {
    with_configs(&mut case);
    case.tree.app()?.rolling().steps = vec![(50, 1, true)];
    case.install().await?;
    let two = case.commit("less, and a new version", |tree| {
        tree.files.remove("one.yaml");
        tree.app()?.message = "two".to_owned();
        Ok(())
    })?;
    case.wait_event("WaitingForApproval", "50 %").await?;
    ensure_that!(configs_left(&case).await?.len() == NAMES.len(), "it was deleted while the commit was on trial");
    people::command(&case, "shop", "promote", &two)?;
    case.wait_good(&two).await?;
    let left = configs_left(&case).await?;
    ensure_that!(!left.contains(&"one".to_owned()) && left.len() == NAMES.len() - 1, "left: {left:?}");
    // one copy of the app's config is left: the one that is in use
    let copies = case.cluster.list(Kind::ConfigMap, &case.namespace, "sluice.dev/copy-of=shop").await?;
    ensure_that!(copies.len() == 1, "{} copies of the config are left", copies.len());
    Ok(())
}

async fn switched_off(mut case: Case) -> Result<()> {
    with_configs(&mut case);
    case.push("one")?;
    case.start_sync(json!({"prune": {"enabled": false}})).await?;
    case.wait_good(&case.repository.head()?).await?;
    let two = case.commit("less", |tree| {
        tree.files.remove("one.yaml");
        Ok(())
    })?;
    case.wait_good(&two).await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    ensure_that!(configs_left(&case).await?.len() == NAMES.len(), "it was deleted though prune is off");
    Ok(())
}

async fn not_ours(mut case: Case) -> Result<()> {
    with_configs(&mut case);
    case.install().await?;
    // somebody takes an object over by taking our labels off while drift is only reported
    case.edit_sync(json!({"drift": "Report"})).await?;
    let labels = json!({"metadata": {"labels": {"sluice.dev/gitsync": null, "sluice.dev/gitsync-namespace": null}}});
    case.cluster.edit(Kind::ConfigMap, &case.namespace, "one", &labels).await?;
    let stranger = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "stranger"}});
    case.cluster.apply(Kind::ConfigMap, &case.namespace, &stranger).await?;
    let two = case.commit("less", |tree| {
        tree.files.remove("one.yaml");
        tree.files.remove("two.yaml");
        Ok(())
    })?;
    case.wait_event("Promoted", &two.chars().take(12).collect::<String>()).await?;
    let left = configs_left(&case).await?;
    ensure_that!(left.contains(&"one".to_owned()), "an object without our labels was deleted");
    ensure_that!(!left.contains(&"two".to_owned()), "an object of ours is still there");
    ensure_that!(
        case.cluster.get(Kind::ConfigMap, &case.namespace, "stranger").await?.is_some(),
        "a stranger's object was deleted"
    );
    Ok(())
}
