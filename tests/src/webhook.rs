//! A forge's webhook: tells the controller to look now, signed as GitHub signs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::cluster::{Cluster, Kind, text_at};
use crate::install;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Posts a signed webhook to the controller's Service; returns the status of the answer.
///
/// # Errors
/// The Service does not answer.
pub async fn send(cluster: &Cluster, secret: &str) -> Result<u16> {
    let service = cluster.expect(Kind::Service, install::NAMESPACE, install::RELEASE).await?;
    let url = format!("http://{}:8080/webhook", text_at(&service, "/spec/clusterIP"));
    let body = r#"{"ref":"refs/heads/main"}"#;
    let client = reqwest::Client::builder().timeout(TIMEOUT).build().context("no HTTP client")?;
    let answer = client.post(url).header("x-hub-signature-256", signature(secret, body)?).body(body).send().await;
    Ok(answer.context("the controller does not take webhooks")?.status().as_u16())
}

/// Posts a webhook that must be taken.
///
/// # Errors
/// It is not.
pub async fn look_now(cluster: &Cluster) -> Result<()> {
    let status = send(cluster, install::WEBHOOK_SECRET).await?;
    ensure!(status == 202, "the controller answered a webhook with {status}");
    Ok(())
}

fn signature(secret: &str, body: &str) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).context("a key of HMAC")?;
    mac.update(body.as_bytes());
    let bytes = mac.finalize().into_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sha256={hex}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    #[test]
    fn the_signature_is_that_of_the_documented_example() {
        // docs.github.com, "Validating webhook deliveries"
        assert_eq!(
            super::signature("It's a Secret to Everybody", "Hello, World!").unwrap(),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }
}
