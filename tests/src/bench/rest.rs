//! At rest: hand edits put back, no write without a reason, memory.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use super::{Bench, Figure, PAUSE};
use crate::audit::Audit;
use crate::cluster::Kind;
use crate::install;
use crate::report::progress;
use crate::wait::{Look, wait_until};

/// A hand edit that stays so long is not put back at all.
const PUT_BACK_LIMIT: Duration = Duration::from_secs(30);
/// Several polls of every repository, and several passes, fall into this time.
const QUIET: Duration = Duration::from_secs(30);

impl Bench {
    pub(super) async fn at_rest(&mut self, rounds: usize) -> Result<Vec<Figure>> {
        let mut route = Figure::new("route edited by hand to put back", "s", 1.0);
        let mut service = Figure::new("Service edited by hand to put back", "s", 1.0);
        for _ in 0..rounds {
            let edit = json!({"spec": {"hostnames": ["elsewhere.test"]}});
            route.add(self.put_back(Kind::HttpRoute, "/spec/hostnames", &edit).await?);
            let edit = json!({"spec": {"selector": {"app": "another"}}});
            service.add(self.put_back(Kind::Service, "/spec/selector", &edit).await?);
        }
        let mut writes = Figure::new("writes of the controller in 30 s at rest", "", 0.0);
        if let Some(path) = self.audit.as_ref().map(Audit::path) {
            progress("30 s at rest");
            tokio::time::sleep(PAUSE).await;
            let audit = Audit::from_now_on(path)?;
            tokio::time::sleep(QUIET).await;
            let own = format!("system:serviceaccount:{}:{}", install::NAMESPACE, install::RELEASE);
            let found: Vec<_> = audit.writes()?.into_iter().filter(|write| write.client() == own).collect();
            found.iter().take(5).for_each(|write| progress(&format!("  {}", write.sentence())));
            writes.add(f64::from(u32::try_from(found.len())?));
        }
        let mut resident = Figure::new("resident memory of the leader, ten applications", "MiB", 30.0);
        let mut anonymous = Figure::new("  of it not shared with the file of the program", "MiB", 30.0);
        if let Some((all, own)) = memory_mib() {
            resident.add(all);
            anonymous.add(own);
        }
        Ok(vec![route, service, writes, resident, anonymous])
    }

    async fn put_back(&mut self, kind: Kind, pointer: &str, edit: &Value) -> Result<f64> {
        let case = self.case()?;
        let before = case.object(kind, "shop").await?.pointer(pointer).cloned();
        case.cluster.edit(kind, &case.namespace, "shop", edit).await?;
        let edited_at = Instant::now();
        wait_until("the hand edit to be put back", PUT_BACK_LIMIT, async || {
            let now = case.object(kind, "shop").await?.pointer(pointer).cloned();
            Ok(Look::at(now == before, format!("{now:?}")))
        })
        .await?;
        let time = edited_at.elapsed().as_secs_f64();
        tokio::time::sleep(PAUSE).await;
        Ok(time)
    }
}

/// Resident memory of the largest controller process on this machine: all of it, and what is its own. The leader is the largest.
fn memory_mib() -> Option<(f64, f64)> {
    let processes = std::fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let controllers = processes.filter(|entry| {
        std::fs::read(entry.path().join("cmdline")).is_ok_and(|command| command.starts_with(b"/sluice\0controller\0"))
    });
    let figures = controllers.filter_map(|entry| {
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        Some((kib(&status, "VmRSS:")? / 1024.0, kib(&status, "RssAnon:")? / 1024.0))
    });
    figures.max_by(|a, b| a.1.total_cmp(&b.1))
}

fn kib(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_read_from_the_status_of_a_process() {
        let status = "Name:\tsluice\nVmRSS:\t   20480 kB\nRssAnon:\t    8192 kB\n";
        assert_eq!(super::kib(status, "VmRSS:"), Some(20480.0));
        assert_eq!(super::kib(status, "VmSwap:"), None);
    }
}
