//! People: approvals, pauses, aborts; each command bound to a commit, answered once, recorded with who.

use anyhow::Result;
use serde_json::{Value, json};
use sluice_crds::release::State;
use sluice_tests::case::{Case, SYNC};
use sluice_tests::cluster::{Kind, text_at};
use sluice_tests::wait::{Look, stays_so};

use crate::support::release::{cause, expect_judged_pods, status, step_times};
use crate::support::{Test, ensure_that, people, test};

/// How long something is watched that must not happen.
const WATCHED: std::time::Duration = std::time::Duration::from_secs(3);

pub fn all() -> Vec<Test> {
    vec![
        test("a step with approval waits, refuses another commit's promotion and takes its own", approval),
        test("promote-full passes all gates, and holds stay", promote_full),
        test("a pause holds the release, and its removal lets it go on", pause),
        test("a suspended GitSync starts nothing, holds what runs, and goes on after it", suspend),
        test("an abort on the GitSync takes the release back and is answered once", abort),
        test("commands that are malformed or come at rest are answered and change nothing", stray_commands),
    ]
}

async fn approval(mut case: Case) -> Result<()> {
    case.tree.app()?.rolling().steps = vec![(25, 1, true), (50, 1, false)];
    let one = case.install().await?;
    let two = case.commit_message("two")?;
    case.wait_event("WaitingForApproval", &format!("sluice.dev/promote={two}")).await?;
    let alert = case.wait_alert("WaitingForApproval").await?;
    ensure_that!(alert.text("/command").contains(&two), "the alert does not say what to do: {}", alert.body);
    people::command(&case, "shop", "promote", &one)?;
    let refused = people::answered(&case, "promote", false, &two).await?;
    ensure_that!(text_at(&refused, "/value") == one, "another command was refused: {refused}");
    case.wait_event("CommandRefused", &one).await?;
    stays_so("the gate", WATCHED, async || {
        let state = status(&case.release_of(&two).await?)?.state.clone();
        Ok(Look::at(matches!(state, State::Judging { step: 0 }), format!("{state:?}")))
    })
    .await?;
    people::command(&case, "shop", "promote", &two)?;
    let taken = people::answered(&case, "promote", true, "step 1").await?;
    ensure_that!(text_at(&taken, "/by").starts_with("user "), "the record does not name the user: {taken}");
    case.wait_event("CommandAccepted", &two).await?;
    case.wait_good(&two).await?;
    expect_judged_pods(&case, &case.release_of(&two).await?, "shop").await?;
    let rollout = case.object(Kind::Rollout, "shop").await?;
    let annotations = rollout.pointer("/metadata/annotations").cloned().unwrap_or_default();
    ensure_that!(annotations.get("sluice.dev/promote").is_none(), "the command is still there: {annotations}");
    let waiting = case.alerts().iter().filter(|alert| alert.text("/kind") == "WaitingForApproval").count();
    ensure_that!(waiting == 1, "{waiting} alerts for one wait");
    case.expect_at_rest("shop").await
}

async fn promote_full(mut case: Case) -> Result<()> {
    case.tree.app()?.rolling().steps = vec![(25, 3, true), (50, 3, true)];
    case.install().await?;
    let two = case.commit_message("two")?;
    case.wait_judging(&two, 0).await?;
    people::command(&case, "shop", "promote-full", &two.chars().take(8).collect::<String>())?;
    people::answered(&case, "promote-full", true, "holds stay").await?;
    case.wait_good(&two).await?;
    let release = case.release_of(&two).await?;
    for (line, took_s) in step_times(&release).iter().take(2) {
        ensure_that!(*took_s >= 2.95, "{line}: {took_s:.2} s of 3 s");
    }
    ensure_that!(case.alerts().is_empty(), "somebody was asked though all gates had been passed");
    case.expect_at_rest("shop").await
}

async fn pause(mut case: Case) -> Result<()> {
    case.install().await?;
    let two = case.commit_message("two")?;
    case.wait_judging(&two, 0).await?;
    people::command(&case, "shop", "pause", "true")?;
    case.wait_event("Paused", "sluice.dev/pause").await?;
    let held = status(&case.release_of(&two).await?)?.state.clone();
    stays_so("the step", WATCHED, async || {
        let state = status(&case.release_of(&two).await?)?.state.clone();
        Ok(Look::at(state == held, format!("{held:?} became {state:?}")))
    })
    .await?;
    people::remove_annotation(&case, Kind::Rollout, "shop", "pause")?;
    case.wait_good(&two).await?;
    case.expect_at_rest("shop").await
}

async fn suspend(mut case: Case) -> Result<()> {
    let one = case.install().await?;
    case.edit_sync(json!({"suspend": true})).await?;
    let two = case.commit_message("two")?;
    tokio::time::sleep(WATCHED).await;
    ensure_that!(case.release().await?.spec.revision.sha == one, "a suspended GitSync started a release");
    case.edit_sync(json!({"suspend": false})).await?;
    case.wait_judging(&two, 0).await?;
    case.edit_sync(json!({"suspend": true})).await?;
    case.wait_event("Suspended", "suspended").await?;
    let held = status(&case.release_of(&two).await?)?.state.clone();
    stays_so("the step", WATCHED, async || {
        let state = status(&case.release_of(&two).await?)?.state.clone();
        Ok(Look::at(state == held, format!("{held:?} became {state:?}")))
    })
    .await?;
    // suspension never stops the way back
    people::command(&case, "shop", "abort", &two)?;
    case.wait_rolled_back(&two).await?;
    case.edit_sync(json!({"suspend": false})).await?;
    let three = case.commit_message("three")?;
    case.wait_good(&three).await?;
    case.expect_at_rest("shop").await
}

async fn abort(mut case: Case) -> Result<()> {
    case.tree.app()?.rolling().steps = vec![(50, 60, false)];
    case.install().await?;
    let before = case.pod_uids("shop").await?;
    let two = case.commit_message("two")?;
    case.wait_judging(&two, 0).await?;
    people::command_sync(&case, "abort", &two)?;
    let release = case.wait_rolled_back(&two).await?;
    ensure_that!(cause(&release) == "Aborted", "the cause is {:?}", status(&release)?.cause);
    let by = status(&release)?.cause.as_ref().map(|cause| cause.message.clone()).unwrap_or_default();
    ensure_that!(by.contains("user "), "the Release does not say who aborted: {by}");
    case.expect_at_rest("shop").await?;
    ensure_that!(case.pod_uids("shop").await? == before, "the stable pods are others");
    case.wait_refused("Quarantined").await?;
    let records = status(&case.release_of(&two).await?)?.commands.clone();
    ensure_that!(
        records.iter().filter(|record| record.annotation == "sluice.dev/abort").count() == 1,
        "not one answer: {records:?}"
    );
    Ok(())
}

async fn stray_commands(mut case: Case) -> Result<()> {
    let one = case.install().await?;
    let number = case.release().await?.spec.number;
    people::command(&case, "shop", "promote", "not-a-commit")?;
    case.wait_event("CommandRefused", "not-a-commit").await?;
    people::command(&case, "shop", "abort", &one)?;
    case.wait_event("CommandRefused", "no release is in motion").await?;
    people::command_sync(&case, "retry", &one)?;
    case.wait_event("CommandRefused", "is not quarantined").await?;
    people::command_sync(&case, "approve-prune", "0123456789ab")?;
    case.wait_event("CommandRefused", "no deletion waits").await?;
    case.wait("all commands to be taken off", async || {
        let mut left = Vec::new();
        for (kind, name) in [(Kind::GitSync, SYNC), (Kind::Rollout, "shop")] {
            let object = case.object(kind, name).await?;
            let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object).cloned().unwrap_or_default();
            left.extend(annotations.into_iter().filter(|(name, _)| name.starts_with("sluice.dev/") && !name.ends_with("-by")));
        }
        Ok(Look::at(left.is_empty(), format!("{left:?}")))
    })
    .await?;
    ensure_that!(case.release().await?.spec.number == number, "a command without a meaning started a release");
    case.expect_at_rest("shop").await
}
