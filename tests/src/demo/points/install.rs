//! 1. The chart, a repository, a GitSync: the application appears.

use anyhow::Result;
use chrono::Utc;

use super::set_message;
use crate::demo::stage::{Stage, seconds};
use crate::install;
use crate::report::{Point, progress};

pub async fn play(stage: &mut Stage, point: &mut Point) -> Result<()> {
    progress("  installing the chart");
    stage.was_installed = install::is_installed(&stage.env)?;
    let began = Utc::now();
    install::install(&stage.cluster, &stage.env, &stage.sink.url()).await?;
    let pods = install::pods(&stage.cluster).await?.len();
    point.check("the chart installs the controller, two replicas", format!("{pods} pods, one leads"), pods == 2);
    point.time("chart", seconds(Utc::now() - began));

    set_message(&mut stage.manifests, "one")?;
    let (sha, _) = stage.commit("The shop, first version").await?;
    stage.apply_tenant_and_sync().await?;
    let synced_at = Utc::now();
    stage.good(&sha).await?;
    point.time("GitSync to good", seconds(Utc::now() - synced_at));
    let pods = stage.pods(None).await?.len();
    point.check("4 pods from Git alone", pods.to_string(), pods == 4);
    stage.first_write(point, "GitSync", synced_at)?;
    stage.start_clients().await?;
    let from = Utc::now();
    stage.expect_no_errors(point, from).await?;
    let (gateway, cluster_ip) = stage.clients()?;
    let (through, beside) = (gateway.record().since(from), cluster_ip.record().since(from));
    point.check("answers through the gateway", through.to_string(), through.of("one") > 0);
    point.check("answers through the ClusterIP", beside.to_string(), beside.of("one") > 0);
    stage.good.push(sha);
    Ok(())
}
