//! Revisions that contradict themselves or another GitSync: refused whole, with a reason, while the good one runs on.

use anyhow::Result;
use serde_json::{Value, json};
use sluice_tests::case::{Case, Tree};
use sluice_tests::cluster::Kind;
use sluice_tests::tenant::git_sync;
use sluice_tests::wait::Look;

use crate::support::release::workload;
use crate::support::{Test, ensure_that, test};

pub fn all() -> Vec<Test> {
    vec![
        test("a Rollout that names a missing Deployment, Service or route is refused", |case| each(case, missing())),
        test("two Rollouts that claim one Deployment are refused", |case| each(case, two_claims())),
        test("a Rollout spec that breaks a rule of its kind is refused", |case| each(case, against_the_schema())),
        test("a Rollout that carries a command in Git is refused", |case| each(case, command_in_git())),
        test("two GitSyncs that bring one object: the second is refused", two_syncs),
        test("an object that the API server would not take is refused before anything is written", not_taken),
    ]
}

/// What makes a tree wrong.
pub type Change = Box<dyn Fn(&mut Tree) -> Result<()>>;

/// Something that is wrong with a commit.
pub struct Wrong {
    /// The reason's word, or several with `|` between.
    pub reason: &'static str,
    /// What the message has to name.
    pub names: &'static str,
    pub change: Change,
}

/// Something wrong with the app's Rollout.
fn rollout(reason: &'static str, names: &'static str, pointer: &'static str, value: Value) -> Wrong {
    Wrong {
        reason,
        names,
        change: Box::new(move |tree| {
            let mut objects = tree.app()?.objects();
            for object in objects.iter_mut().filter(|object| object["kind"] == "Rollout") {
                if let Some(at) = object.pointer_mut(pointer) {
                    *at = value.clone();
                }
            }
            tree.apps.clear();
            tree.file("shop.yaml", &sluice_tests::manifests::stream(&objects)?);
            Ok(())
        }),
    }
}

/// Each wrong commit is refused with its reason, in status and Event, while the good one stays; a good commit clears it.
pub async fn each(mut case: Case, wrongs: Vec<Wrong>) -> Result<()> {
    let one = case.install().await?;
    let (before, pods) = (workload(&case, "shop").await?, case.pod_uids("shop").await?);
    let releases = case.release().await?.spec.number;
    let good_tree = case.tree.clone();
    for wrong in wrongs {
        case.tree = good_tree.clone();
        // so that the commit would change the app if it were taken
        case.tree.app()?.message = "wrong".to_owned();
        let sha = case.commit(&format!("wrong: {}", wrong.names), |tree| (wrong.change)(tree))?;
        expect_refused(&case, &sha, &wrong).await?;
        let good = case.sync().await?.status.unwrap_or_default().good;
        ensure_that!(good.is_some_and(|good| good.sha == one), "another revision is good after {}", wrong.names);
    }
    ensure_that!(case.release().await?.spec.number == releases, "a refused commit started a release");
    ensure_that!(workload(&case, "shop").await? == before && case.pod_uids("shop").await? == pods, "the running app changed");
    case.tree = good_tree;
    let good = case.commit_message("two")?;
    case.wait_good(&good).await?;
    let status = case.sync().await?.status.unwrap_or_default();
    ensure_that!(status.refused.is_none(), "something is still refused after a good commit: {:?}", status.refused);
    let source = status.conditions.iter().find(|it| it.kind == "SourceReady");
    ensure_that!(source.is_some_and(|it| it.status == "True"), "SourceReady is {source:?}");
    Ok(())
}

async fn expect_refused(case: &Case, sha: &str, wrong: &Wrong) -> Result<()> {
    let message = case
        .wait(&format!("a refusal as {} that names {:?}", wrong.reason, wrong.names), async || {
            let refused = case.sync().await?.status.unwrap_or_default().refused;
            let fits = refused.as_ref().is_some_and(|refused| {
                (refused.sha == sha || refused.sha.is_empty())
                    && wrong.reason.split('|').any(|reason| reason == refused.reason)
                    && refused.message.contains(wrong.names)
            });
            Ok(match refused {
                Some(refused) if fits => Look::Done(refused),
                other => Look::NotYet(format!("{other:?}")),
            })
        })
        .await?;
    case.wait_event(&message.reason, wrong.names).await?;
    case.wait("SourceReady to be false with the reason", async || {
        let conditions = case.sync().await?.status.unwrap_or_default().conditions;
        let source = conditions.iter().find(|it| it.kind == "SourceReady").cloned();
        let says = source.as_ref().is_some_and(|it| it.status == "False" && it.reason == message.reason);
        Ok(Look::at(says, format!("{source:?}")))
    })
    .await
}

fn missing() -> Vec<Wrong> {
    vec![
        rollout("ReferenceMissing", "absent-deployment", "/spec/workloadRef/name", json!("absent-deployment")),
        rollout("ReferenceMissing", "absent-service", "/spec/strategy/canary/service", json!("absent-service")),
        rollout("ReferenceMissing", "absent-route", "/spec/strategy/canary/routes/0/name", json!("absent-route")),
    ]
}

fn two_claims() -> Vec<Wrong> {
    let second = |tree: &mut Tree| -> Result<()> {
        let objects = tree.app()?.objects();
        let claim = objects.iter().find(|object| object["kind"] == "Rollout").cloned();
        let mut claim = claim.unwrap_or_default();
        claim["metadata"]["name"] = json!("second");
        tree.file("second.yaml", &claim.to_string());
        Ok(())
    };
    vec![Wrong { reason: "TwoClaims", names: "second", change: Box::new(second) }]
}

fn command_in_git() -> Vec<Wrong> {
    let labelled = json!({"name": "shop", "annotations": {"sluice.dev/promote-full": "0123456789"}});
    vec![rollout("InvalidRollout", "sluice.dev/promote-full", "/metadata", labelled)]
}

fn against_the_schema() -> Vec<Wrong> {
    let steps = |steps: Value| ("/spec/strategy/canary/steps", steps);
    let (at, falling) = steps(json!([{"weight": 50}, {"weight": 25}]));
    vec![
        rollout("Invalid|InvalidRollout", "weight", at, falling),
        rollout("Invalid|InvalidRollout", "weight", at, json!([{"weight": 0}])),
        rollout("Invalid|InvalidRollout", "hold", at, json!([{"weight": 25, "hold": "9999999999h"}])),
        rollout("Invalid|Undecodable", "Ingress", "/spec/strategy/canary/routes/0/kind", json!("Ingress")),
        rollout(
            "Invalid|InvalidRollout",
            "min",
            "/spec/analysis",
            json!({"metrics": [{"name": "a", "query": "vector(1)", "threshold": {}}]}),
        ),
    ]
}

async fn two_syncs(mut case: Case) -> Result<()> {
    let one = case.install().await?;
    let mut second = git_sync("second", &case.repository.svc_url(&case.env, "open"));
    second["metadata"]["namespace"] = json!(case.namespace);
    case.cluster.apply(Kind::GitSync, &case.namespace, &second).await?;
    let refused = case
        .wait("the second GitSync to be refused", async || {
            let status = case.cluster.sync(&case.namespace, "second").await?.status.unwrap_or_default();
            Ok(match status.refused {
                Some(refused) => Look::Done(refused),
                None => Look::NotYet("it is not".to_owned()),
            })
        })
        .await?;
    ensure_that!(refused.reason == "OwnedByOther", "it is refused as {refused:?}");
    ensure_that!(refused.message.contains(&format!("{}/app", case.namespace)), "the owner is not named: {}", refused.message);
    case.wait_good(&one).await?;
    let two = case.commit_message("two")?;
    case.wait_good(&two).await?;
    case.expect_at_rest("shop").await?;
    // once the first one is gone, its objects still carry its labels, and the second says so
    let releases = case.cluster.releases(&case.namespace, "second").await?;
    ensure_that!(releases.is_empty(), "the second GitSync started a release");
    Ok(())
}

async fn not_taken(case: Case) -> Result<()> {
    let object = |name: &'static str, object: Value| -> Change {
        Box::new(move |tree| {
            tree.config_map("beside", "must not be written");
            tree.file(name, &object.to_string());
            Ok(())
        })
    };
    let unknown = object("unknown.yaml", json!({"apiVersion": "apps/v1", "kind": "Deploymint", "metadata": {"name": "a"}}));
    let version = object("version.yaml", json!({"apiVersion": "apps/v9", "kind": "Deployment", "metadata": {"name": "a"}}));
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b"}, "spec": {"porst": [{"port": 80}], "ports": [{"port": 80}]}});
    let invalid = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "c"}, "spec": {"ports": [{"port": 99999}]}});
    let selector = |tree: &mut Tree| -> Result<()> {
        let mut objects = tree.app()?.objects();
        for object in objects.iter_mut().filter(|object| object["kind"] == "Deployment") {
            object["spec"]["selector"]["matchLabels"] = json!({"app": "shop", "more": "of it"});
            object["spec"]["template"]["metadata"]["labels"] = json!({"app": "shop", "more": "of it"});
        }
        tree.apps.clear();
        tree.file("shop.yaml", &sluice_tests::manifests::stream(&objects)?);
        Ok(())
    };
    let wrongs = vec![
        Wrong { reason: "UnknownKind", names: "Deploymint", change: unknown },
        Wrong { reason: "UnknownVersion|UnknownKind", names: "v9", change: version },
        Wrong { reason: "FieldsPruned|Invalid|RequestRefused", names: "porst", change: object("b.yaml", service) },
        Wrong { reason: "Invalid", names: "99999", change: object("c.yaml", invalid) },
        Wrong { reason: "ImmutableField", names: "selector", change: Box::new(selector) },
    ];
    let (cluster, namespace) = (case.cluster.clone(), case.namespace.clone());
    each(case, wrongs).await?;
    let beside = cluster.get(Kind::ConfigMap, &namespace, "beside").await?;
    ensure_that!(beside.is_none(), "another object of a refused commit was written");
    Ok(())
}
