//! What the API server itself refuses, by the kinds' own rules; and what no longer decodes.

use anyhow::{Result, bail};
use serde_json::{Value, json};
use sluice_tests::case::{Case, SYNC, merge};
use sluice_tests::cluster::{Kind, kubectl};
use sluice_tests::tenant::git_sync;
use sluice_tests::wait::Look;

use crate::support::{Test, alone, ensure_that, test};

/// The CRD of GitSyncs, and the enumeration in it that gets a value of a later version.
const CRD: &str = "gitsyncs.sluice.dev";
const DRIFT: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/drift/enum";

pub fn all() -> Vec<Test> {
    vec![
        test("the API server refuses a GitSync that breaks a rule of its kind, and says which", git_sync_rules),
        test("the API server refuses a Rollout that breaks a rule of its kind, and says which", rollout_rules),
        test("kubectl shows what runs and what is waited for", columns),
        alone("a GitSync that no longer decodes is reported and harms no other", undecodable),
    ]
}

/// The API server refuses an object, with a part of the reason.
async fn refused(case: &Case, kind: Kind, object: &Value, part: &str) -> Result<()> {
    match case.cluster.apply(kind, &case.namespace, object).await {
        Ok(_) => bail!("the API server took {object}"),
        Err(error) => {
            let text = format!("{error:#}");
            ensure_that!(text.contains(part), "the refusal does not say {part:?}: {text}");
            Ok(())
        }
    }
}

async fn git_sync_rules(case: Case) -> Result<()> {
    let cases = [
        (json!({"interval": "9999999999h"}), "duration"),
        (json!({"interval": "500ms"}), "interval"),
        (json!({"interval": "0s"}), "at least 1s"),
        (json!({"drift": "Sometimes"}), "drift"),
        (json!({"onFailure": "Explode"}), "onFailure"),
        (json!({"path": "../other"}), "without .."),
        (json!({"path": "/etc"}), "relative"),
        (json!({"source": {"url": "file:///etc"}}), "http"),
        (json!({"source": {"url": "git@host:a.git"}}), "http"),
        (json!({"source": {"ref": {"branch": "main", "tag": "v1"}}}), "ref"),
        (json!({"source": {"ref": {"branch": null}}}), "ref"),
        (json!({"source": {"ref": {"branch": null, "commit": "HEAD"}}}), "commit"),
        (json!({"target": {"serviceAccountName": ""}}), "serviceAccountName"),
        (json!({"prune": {"brake": {"maxPercent": 101}}}), "maxPercent"),
    ];
    for (change, part) in cases {
        let mut sync = git_sync("wrong", &case.repository.svc_url(&case.env, "open"));
        merge(&mut sync["spec"], change);
        refused(&case, Kind::GitSync, &sync, part).await?;
    }
    let long = git_sync(&"a".repeat(53), &case.repository.svc_url(&case.env, "open"));
    refused(&case, Kind::GitSync, &long, "52").await
}

async fn rollout_rules(mut case: Case) -> Result<()> {
    let objects = case.tree.app()?.objects();
    let good = objects.into_iter().find(|object| object["kind"] == "Rollout").unwrap_or_default();
    let metric = |metric: Value| json!({"analysis": {"metrics": [metric]}});
    let steps = |steps: Value| json!({"strategy": {"canary": {"steps": steps}}});
    let cases = [
        (steps(json!([{"weight": 50}, {"weight": 25}])), "never fall"),
        (steps(json!([{"weight": 0}])), "weight"),
        (steps(json!([{"weight": 101}])), "weight"),
        (steps(json!([])), "steps"),
        (steps(json!([{"weight": 10, "hold": "1 minute"}])), "hold"),
        (json!({"strategy": {"canary": {"routes": []}}}), "routes"),
        (json!({"strategy": {"blueGreen": {"service": "shop"}}}), "blueGreen"),
        (json!({"workloadRef": {"kind": "DaemonSet"}}), "DaemonSet"),
        (json!({"progressDeadline": "0s"}), "at least 1s"),
        (metric(json!({"name": "a", "query": "vector(1)", "threshold": {}})), "at least one of min and max"),
        (metric(json!({"name": "a", "query": "vector(1)", "threshold": {"min": 2, "max": 1}})), "min must not be above max"),
        (metric(json!({"name": "A_b", "query": "vector(1)", "threshold": {"max": 1}})), "name"),
        (metric(json!({"name": "a", "query": "", "threshold": {"max": 1}})), "query"),
        (metric(json!({"name": "a", "query": "vector(1)", "threshold": {"max": 1}, "interval": "0s"})), "at least 1s"),
    ];
    for (change, part) in cases {
        let mut rollout = good.clone();
        merge(&mut rollout["spec"], change);
        refused(&case, Kind::Rollout, &rollout, part).await?;
    }
    case.cluster.apply(Kind::Rollout, &case.namespace, &good).await.map(|_| ())
}

async fn columns(mut case: Case) -> Result<()> {
    case.tree.app()?.rolling().steps = vec![(25, 1, true)];
    case.install().await?;
    let two = case.commit_message("two")?;
    case.wait_event("WaitingForApproval", "25 %").await?;
    let short: String = two.chars().take(12).collect();
    for (kind, words) in [
        ("rollouts.sluice.dev", vec!["READY", "STEP", "WEIGHT", "WAITING", "shop", "25", "WaitingForApproval"]),
        ("releases.sluice.dev", vec!["REVISION", "app-2", "WaitingForApproval", short.as_str()]),
        ("gitsyncs.sluice.dev", vec!["GOOD", "ATTEMPTED", "app", short.as_str()]),
    ] {
        let table = kubectl(&["-n", &case.namespace, "get", kind])?;
        for word in words {
            ensure_that!(table.contains(word), "kubectl get {kind} does not show {word}:\n{table}");
        }
    }
    Ok(())
}

async fn undecodable(mut case: Case) -> Result<()> {
    let one = case.install().await?;
    let before = case.pod_uids("shop").await?;
    let patch = |operation: Value| kubectl(&["patch", "crd", CRD, "--type=json", "-p", &json!([operation]).to_string()]);
    // as after a rollback of the controller: the kind knows a value that the program does not
    patch(json!({"op": "add", "path": format!("{DRIFT}/-"), "value": "OfALaterVersion"}))?;
    let outcome = with_later_value(&mut case, &one).await;
    case.edit_sync(json!({"drift": "Revert"})).await?;
    kubectl(&[
        "patch",
        "crd",
        CRD,
        "--type=json",
        "-p",
        &json!([{"op": "replace", "path": DRIFT, "value": ["Revert", "Report"]}]).to_string(),
    ])?;
    outcome?;
    ensure_that!(case.pod_uids("shop").await? == before, "pods changed");
    let two = case.commit_message("two")?;
    case.wait_good(&two).await
}

async fn with_later_value(case: &mut Case, one: &str) -> Result<()> {
    // the API server takes a moment to use the changed kind
    case.wait("the later value to be taken", async || {
        let taken = case.edit_sync(json!({"drift": "OfALaterVersion"})).await;
        Ok(Look::at(taken.is_ok(), format!("{:?}", taken.err())))
    })
    .await?;
    case.wait("the GitSync to say that it does not decode", async || {
        let sync = case.object(Kind::GitSync, SYNC).await?;
        let conditions = sync.pointer("/status/conditions").cloned().unwrap_or_default();
        let says = conditions.as_array().into_iter().flatten().any(|it| it["type"] == "Ready" && it["reason"] == "Undecodable");
        Ok(Look::at(says, conditions.to_string()))
    })
    .await?;
    case.wait_event("Undecodable", "OfALaterVersion").await?;
    let sync = case.object(Kind::GitSync, SYNC).await?;
    ensure_that!(sync.pointer("/status/good/sha").and_then(Value::as_str) == Some(one), "what is good was forgotten");
    // another application is not harmed
    let mut other = git_sync("other", &case.repository.svc_url(&case.env, "open"));
    merge(&mut other["spec"], json!({"path": "other"}));
    case.tree
        .file("other/flag.yaml", &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "flag"}}).to_string());
    case.tree.file("kustomization.yaml", "resources: [shop.yaml]\n");
    let sha = case.push("another application")?;
    case.cluster.apply(Kind::GitSync, &case.namespace, &other).await?;
    case.wait("the other GitSync to be good", async || {
        let good = case.cluster.sync(&case.namespace, "other").await?.status.unwrap_or_default().good;
        Ok(Look::at(good.as_ref().is_some_and(|good| good.sha == sha), format!("{good:?}")))
    })
    .await
}
