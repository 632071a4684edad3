//! The controller goes, and the applications stay.

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use sluice_tests::case::Case;
use sluice_tests::cluster::Kind;
use sluice_tests::install;

use crate::support::controller::{self, ALERT_SECRET_NAME};
use crate::support::release::expect_nothing_left;
use crate::support::traffic::expect_no_failure;
use crate::support::{Test, alone, ensure_that};

pub fn all() -> Vec<Test> {
    vec![alone("uninstalling the controller leaves pods and routes as they are, and a new one goes on from there", uninstall)]
}

async fn uninstall(mut case: Case) -> Result<()> {
    let one = case.install().await?;
    let traffic = case.steady_traffic(20).await?;
    let before = case.pod_uids("shop").await?;
    install::uninstall(&case.env)?;
    let left = install::pods(&case.cluster).await?;
    ensure_that!(left.is_empty(), "{} pods of the controller are left", left.len());
    case.expect_at_rest("shop").await?;
    expect_nothing_left(&case, "shop").await?;
    ensure_that!(case.pod_uids("shop").await? == before, "pods changed");
    let good = case.sync().await?.status.unwrap_or_default().good;
    ensure_that!(good.is_some_and(|good| good.sha == one), "the GitSync or its status went with the controller");
    // it comes back as it was installed, with the same receiver of alerts
    let secret = case.cluster.expect(Kind::Secret, install::NAMESPACE, ALERT_SECRET_NAME).await?;
    let url: ByteString = serde_json::from_value(secret["data"]["url"].clone()).context("the receiver's URL")?;
    controller::install(&case.cluster, &case.env, &String::from_utf8(url.0)?).await?;
    ensure_that!(case.pod_uids("shop").await? == before, "a new controller changed pods");
    let two = case.commit_message("two")?;
    case.wait_good(&two).await?;
    case.expect_at_rest("shop").await?;
    expect_no_failure(traffic).await.map(|_| ())
}
