//! The repository cannot be reached, read or found: said with a reason, while what is good is kept.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sluice_tests::case::Case;
use sluice_tests::cluster::{Kind, text_at};
use sluice_tests::wait::Look;

use crate::support::{Test, ensure_that, test};

const SECRET: &str = "git-credentials";

pub fn all() -> Vec<Test> {
    vec![
        test("credentials that are missing or wrong are refused, and right ones heal it", credentials),
        test("a host that does not exist is named", unknown_host),
        test("a server that never answers is given up in time, and hand edits are put back meanwhile", silent_server),
        test("a reference that does not exist is named", missing_reference),
        test("a repository that does not exist, or is no repository, is named", missing_repository),
        test("a force-push that drops the deployed commit keeps it running and goes to the new tip", force_push),
        test("a tag and a commit are followed as they are", fixed_references),
    ]
}

/// The source is refused for a reason while the good revision stays; then it is right again, and the next commit gets in.
async fn wrong_source(mut case: Case, wrong: Value, right: Value, reason: &str, names: &str) -> Result<()> {
    let one = case.install().await?;
    case.edit_sync(json!({"source": wrong})).await?;
    let message = case.wait_refused(reason).await?;
    ensure_that!(message.contains(names), "{names} is not named: {message}");
    case.wait_event(reason, names).await?;
    let good = case.sync().await?.status.unwrap_or_default().good;
    ensure_that!(good.is_some_and(|good| good.sha == one), "another revision is good");
    case.edit_sync(json!({"source": right})).await?;
    let two = case.commit_message("two")?;
    case.wait_good(&two).await?;
    let refused = case.sync().await?.status.unwrap_or_default().refused;
    ensure_that!(refused.is_none(), "it is still refused: {refused:?}");
    Ok(())
}

fn url(case: &Case, door: &str) -> Value {
    json!(case.repository.svc_url(&case.env, door))
}

async fn secret(case: &Case, user: &str, password: &str) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "stringData": {"username": user, "password": password},
    });
    case.cluster.apply(Kind::Secret, &case.namespace, &secret).await.map(|_| ())
}

async fn credentials(mut case: Case) -> Result<()> {
    let (user, password) = case.env.git_user.clone().context("SLUICE_GIT_USER and SLUICE_GIT_PASSWORD are not set")?;
    let private = url(&case, "private");
    case.install().await?;
    case.edit_sync(json!({"source": {"url": private}})).await?;
    case.wait_refused("CredentialsMissing").await?;
    case.edit_sync(json!({"source": {"credentials": {"secretRef": {"name": SECRET}}}})).await?;
    let message = case.wait_refused("CredentialsMissing").await?;
    case.wait_event("CredentialsMissing", SECRET).await.with_context(|| format!("the refusal was {message:?}"))?;
    secret(&case, &user, "a-wrong-password").await?;
    let message = case.wait_refused("AuthenticationFailed").await?;
    ensure_that!(!message.contains("a-wrong-password"), "the refusal shows the password: {message}");
    secret(&case, &user, &password).await?;
    let two = case.commit_message("two")?;
    case.wait_good(&two).await?;
    let text = serde_json::to_string(&case.cluster.list(Kind::Event, &case.namespace, "").await?)?;
    ensure_that!(!text.contains(&password) && !text.contains("a-wrong-password"), "an Event shows a password");
    Ok(())
}

async fn unknown_host(case: Case) -> Result<()> {
    let (wrong, right) = (json!({"url": "http://git.nowhere.invalid/a.git"}), json!({"url": url(&case, "open")}));
    wrong_source(case, wrong, right, "HostNotFound", "git.nowhere.invalid").await
}

async fn silent_server(mut case: Case) -> Result<()> {
    case.install().await?;
    let wrong = json!({"source": {"url": url(&case, "slow/60")}});
    case.edit_sync(wrong).await?;
    // what is kept does not wait for Git
    case.cluster.edit(Kind::ConfigMap, &case.namespace, "shop", &json!({"data": {"message": "by hand"}})).await?;
    let edited = std::time::Instant::now();
    case.wait("the hand edit to be put back", async || {
        let config = case.object(Kind::ConfigMap, "shop").await?;
        Ok(Look::at(text_at(&config, "/data/message") == "one", config["data"].to_string()))
    })
    .await?;
    ensure_that!(edited.elapsed().as_secs() < 9, "the hand edit was put back only after {} s", edited.elapsed().as_secs());
    let message = case.wait_refused("TimedOut").await?;
    ensure_that!(message.contains("in time"), "{message}");
    case.edit_sync(json!({"source": {"url": url(&case, "open")}})).await?;
    let two = case.commit_message("two")?;
    case.wait_good(&two).await
}

async fn missing_reference(case: Case) -> Result<()> {
    let (wrong, right) = (json!({"ref": {"branch": "no-such-branch"}}), json!({"ref": {"branch": "main"}}));
    wrong_source(case, wrong, right, "RefMissing", "no-such-branch").await
}

async fn missing_repository(mut case: Case) -> Result<()> {
    case.install().await?;
    let base = case.env.git_svc_url.clone();
    case.edit_sync(json!({"source": {"url": format!("{base}/open/there-is-none.git")}})).await?;
    case.wait_refused("RepositoryNotFound|NotGit").await?;
    case.edit_sync(json!({"source": {"url": format!("{base}/open/")}})).await?;
    case.wait_refused("RepositoryNotFound|NotGit").await?;
    // Prometheus answers HTML and JSON, and is no Git server
    case.edit_sync(json!({"source": {"url": format!("{}/a.git", case.env.prometheus_svc_url)}})).await?;
    case.wait_refused("RepositoryNotFound|NotGit").await?;
    case.edit_sync(json!({"source": {"url": url(&case, "open")}})).await?;
    let two = case.commit_message("two")?;
    case.wait_good(&two).await
}

async fn force_push(mut case: Case) -> Result<()> {
    case.install().await?;
    let two = case.commit_message("two")?;
    case.wait_good(&two).await?;
    let before = case.pod_uids("shop").await?;
    // another history without either commit; its first tip cannot be read
    case.repository.git(&["checkout", "-q", "--orphan", "another"])?;
    case.commit("broken", |tree| {
        tree.file("broken.yaml", "a: [");
        Ok(())
    })?;
    case.wait_refused("YamlInvalid").await?;
    let status = case.sync().await?.status.unwrap_or_default();
    ensure_that!(status.good.is_some_and(|good| good.sha == two), "the dropped commit is not good any more");
    ensure_that!(case.pod_uids("shop").await? == before, "pods changed");
    let three = case.commit("three", |tree| {
        tree.files.clear();
        tree.app()?.message = "three".to_owned();
        Ok(())
    })?;
    case.wait_good(&three).await?;
    case.expect_at_rest("shop").await
}

async fn fixed_references(mut case: Case) -> Result<()> {
    let one = case.push("one")?;
    case.repository.git(&["tag", "v1"])?;
    case.repository.git(&["push", "-q", "origin", "v1"])?;
    let two = case.commit_message("two")?;
    case.start_sync(json!({"source": {"ref": {"branch": null, "tag": "v1"}}})).await?;
    case.wait_good(&one).await?;
    case.edit_sync(json!({"source": {"ref": {"tag": null, "commit": two}}})).await?;
    case.wait_good(&two).await?;
    case.commit_message("three")?;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let good = case.sync().await?.status.unwrap_or_default().good;
    ensure_that!(good.is_some_and(|good| good.sha == two), "another commit than the fixed one got in");
    Ok(())
}
