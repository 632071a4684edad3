//! The points of the demo, in their order.

mod approval;
mod bad;
mod config;
mod crash;
mod good;
mod install;
mod outage;

use anyhow::Result;
use serde_json::Value;

use super::stage::Stage;
use crate::manifests::Manifests;
use crate::report::Point;

/// One point.
#[derive(Clone, Copy, Debug)]
pub enum Play {
    Install,
    Good,
    Bad,
    Crash,
    Approval,
    Outage,
    Config,
}

/// All of them, with their titles.
pub const ALL: [(&str, Play); 7] = [
    ("The application is installed from Git alone", Play::Install),
    ("A good commit goes in step by step", Play::Good),
    ("A bad commit takes itself back", Play::Bad),
    ("A commit that crashes goes back before any traffic", Play::Crash),
    ("The fix waits for a person at 25 %", Play::Approval),
    ("Git and Prometheus fail during a bad release", Play::Outage),
    ("A change of configuration alone goes the same way", Play::Config),
];

/// Plays one point.
pub async fn play(point: Play, stage: &mut Stage, report: &mut Point) -> Result<()> {
    match point {
        Play::Install => install::play(stage, report).await,
        Play::Good => good::play(stage, report).await,
        Play::Bad => bad::play(stage, report).await,
        Play::Crash => crash::play(stage, report).await,
        Play::Approval => approval::play(stage, report).await,
        Play::Outage => outage::play(stage, report).await,
        Play::Config => config::play(stage, report).await,
    }
}

/// Sets what answers say, and with it the version that clients see. It is in the ConfigMap.
fn set_message(manifests: &mut Manifests, message: &str) -> Result<()> {
    manifests.at("ConfigMap", "/data").map(|data| data["PODINFO_UI_MESSAGE"] = message.into())
}

/// Lets a third of all answers fail, or not.
fn set_random_error(manifests: &mut Manifests, fails: bool) -> Result<()> {
    manifests.at("ConfigMap", "/data").map(|data| data["PODINFO_RANDOM_ERROR"] = if fails { "true" } else { "false" }.into())
}

/// The container's command.
fn command(manifests: &mut Manifests) -> Result<&mut Vec<Value>> {
    let command = manifests.at("Deployment", "/spec/template/spec/containers/0/command")?;
    command.as_array_mut().ok_or_else(|| anyhow::anyhow!("the Deployment's command is no list"))
}
