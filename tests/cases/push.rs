//! Git webhooks: they only ever mean "look now".

use anyhow::{Context, Result};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use sluice_tests::case::Case;
use sluice_tests::install;
use sluice_tests::wait::{Look, stays_so};

use crate::support::controller::WEBHOOK_SECRET;
use crate::support::release::status;
use crate::support::{Test, ensure_that, say, test};

const BODY: &str = r#"{"ref":"refs/heads/main"}"#;

pub fn all() -> Vec<Test> {
    vec![test(
        "a signed webhook makes a commit seen at once, whichever replica gets it, and an unsigned one does nothing",
        webhook,
    )]
}

fn signature(secret: &str) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).context("a key of any length is fine")?;
    mac.update(BODY.as_bytes());
    Ok(format!("sha256={}", hex::encode(mac.finalize().into_bytes())))
}

/// Posts to one replica; returns the status of the answer.
async fn post(address: &str, signature: Option<String>) -> Result<u16> {
    let mut request = reqwest::Client::new().post(format!("http://{address}:8080/webhook")).body(BODY);
    if let Some(signature) = signature {
        request = request.header("x-hub-signature-256", signature);
    }
    Ok(request.send().await?.status().as_u16())
}

async fn webhook(mut case: Case) -> Result<()> {
    let one = case.push("one")?;
    case.start_sync(json!({"interval": "10m"})).await?;
    case.wait_good(&one).await?;
    let addresses: Vec<String> = install::pods(&case.cluster).await?.into_iter().filter_map(|pod| pod.status?.pod_ip).collect();
    ensure_that!(addresses.len() == 2, "the controller has {} replicas", addresses.len());
    let two = case.commit_message("two")?;
    for wrong in [None, Some(signature("another secret")?), Some("sha256=00".to_owned())] {
        let answer = post(&addresses[0], wrong).await?;
        ensure_that!(answer == 401, "a webhook without the right signature was answered {answer}");
    }
    stays_so("the commit", std::time::Duration::from_secs(3), async || {
        let attempted = case.sync().await?.status.unwrap_or_default().attempted;
        Ok(Look::at(attempted.is_some_and(|attempted| attempted.sha == one), "another commit was seen"))
    })
    .await?;
    let mut sha = two;
    for (index, address) in addresses.iter().enumerate() {
        if index > 0 {
            sha = case.commit_message(&format!("by replica {index}"))?;
        }
        let posted = chrono::Utc::now();
        let answer = post(address, Some(signature(WEBHOOK_SECRET)?)).await?;
        ensure_that!((200..300).contains(&answer), "a signed webhook was answered {answer}");
        let release = case.wait_state(&sha, "started", |_| true).await?;
        let started = status(&release)?.timeline.first().map(|line| line.at).context("the release has no history")?;
        let took_s = (started - posted).as_seconds_f64();
        say(&case, &format!("webhook to release: {took_s:.2} s"));
        ensure_that!(took_s < 30.0, "the commit was seen only after {took_s:.0} s");
        case.wait_good(&sha).await?;
    }
    Ok(())
}
