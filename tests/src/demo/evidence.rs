//! What the clients, the route and the audit log prove: failed requests and whose they were, shares, times.

use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, TimeDelta, Utc};

use super::stage::{Stage, seconds};
use crate::report::{Point, progress};
use crate::statistics::{CONFIDENCE, binomial_bounds};
use crate::tenant;

/// A weight that was written is in force at the gateway within this time; answers before it are not counted for a step.
const SETTLE_MS: i64 = 1200;
/// The clients are watched for so long after the last write: pods go, and connections to them end.
const AFTER: Duration = Duration::from_secs(3);
/// Requests that were sent before a weight of 0 arrived at the gateway still meet the canary.
const IN_FLIGHT_MS: i64 = 1000;
/// Failed requests that are told one by one.
const ERRORS_TOLD_MAX: usize = 5;

impl Stage {
    /// Checks, some time after the last write, that no request of either client failed since a time.
    pub async fn expect_no_errors(&self, point: &mut Point, from: DateTime<Utc>) -> Result<()> {
        tokio::time::sleep(AFTER).await;
        let (gateway, cluster_ip) = self.clients()?;
        let (through, beside) = (gateway.record().since(from), cluster_ip.record().since(from));
        let count = through.bad() + beside.bad();
        point.check(
            "no failed request of either client",
            format!("{count} of {}", through.good() + beside.good() + count),
            count == 0,
        );
        self.tell_errors(from)?;
        self.note_errors(point, from)
    }

    /// Checks, some time after the last write, that requests failed only while a bad canary had traffic.
    pub async fn expect_errors_of_canary_only(&mut self, point: &mut Point, pushed_at: DateTime<Utc>) -> Result<()> {
        tokio::time::sleep(AFTER).await;
        let first =
            self.routes()?.first(pushed_at, |shares| shares.beside(&self.app) > 0).context("the canary had no traffic")?;
        let zero = self.routes()?.first(first, |shares| shares.beside(&self.app) == 0).context("the weight never went to 0")?;
        self.excused.push((first, zero + TimeDelta::milliseconds(IN_FLIGHT_MS)));
        let bad = self.unexcused(pushed_at)?;
        point.check("no failed request but of the bad canary's share", bad.to_string(), bad == 0);
        if bad > 0 {
            self.tell_errors(pushed_at)?;
        }
        self.note_errors(point, pushed_at)
    }

    /// Failed requests since a time that no bad canary explains. None of the ClusterIP's is excused: its Service is pinned.
    pub fn unexcused(&self, from: DateTime<Utc>) -> Result<usize> {
        let (gateway, cluster_ip) = self.clients()?;
        let is_excused = |at: &DateTime<Utc>| self.excused.iter().any(|(from, to)| at >= from && at < to);
        let through = gateway.record().errors(usize::MAX).iter().filter(|(at, _)| *at >= from && !is_excused(at)).count();
        Ok(through + cluster_ip.record().errors(usize::MAX).iter().filter(|(at, _)| *at >= from).count())
    }

    fn tell_errors(&self, from: DateTime<Utc>) -> Result<()> {
        let (gateway, cluster_ip) = self.clients()?;
        for (name, record) in [("gateway", gateway.record()), ("ClusterIP", cluster_ip.record())] {
            for (at, error) in record.errors(usize::MAX).iter().filter(|(at, _)| *at >= from).take(ERRORS_TOLD_MAX) {
                progress(&format!("       {name} {} {error}", at.format("%H:%M:%S%.3f")));
            }
        }
        Ok(())
    }

    /// Notes what failed for whom since a time.
    fn note_errors(&self, point: &mut Point, from: DateTime<Utc>) -> Result<()> {
        let (gateway, cluster_ip) = self.clients()?;
        let text = |tally: crate::traffic::Tally| {
            let kinds: Vec<String> = tally.errors.iter().map(|(error, count)| format!("{error}: {count}")).collect();
            let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
            format!("{} of {}{kinds}", tally.bad(), tally.good() + tally.bad())
        };
        point.client_errors =
            format!("gateway {}, ClusterIP {}", text(gateway.record().since(from)), text(cluster_ip.record().since(from)));
        Ok(())
    }

    /// Checks the share of the canary at the gateway while the route asked for a weight.
    pub fn expect_share(&self, point: &mut Point, version: &str, percent: u64, from: DateTime<Utc>) -> Result<()> {
        let (gateway, _) = self.clients()?;
        let forms = self.routes()?.since(from);
        let windows = forms.iter().enumerate().filter(|(_, form)| form.beside(&self.app) == percent * 10 && form.at >= from);
        let mut longest: Option<(DateTime<Utc>, DateTime<Utc>)> = None;
        for (index, form) in windows {
            let start = form.at + TimeDelta::milliseconds(SETTLE_MS);
            let end = forms.get(index + 1).map_or_else(Utc::now, |next| next.at);
            if end > start && longest.is_none_or(|(from, to)| end - start > to - from) {
                longest = Some((start, end));
            }
        }
        let Some((start, end)) = longest else {
            point.check(&format!("{percent} % seen at the gateway"), "the route never had this weight", false);
            return Ok(());
        };
        let tally = gateway.record().tally(start, end);
        let (seen, all) = (tally.of(version), tally.good());
        #[allow(clippy::cast_precision_loss, reason = "a percentage")]
        let (low, high) = binomial_bounds(all, percent as f64 / 100.0, CONFIDENCE);
        let holds = all > 0 && (low..=high).contains(&seen);
        point.check(
            &format!("{percent} % of answers by {version}, within chance"),
            format!("{seen} of {all}, {low} to {high} allowed"),
            holds,
        );
        Ok(())
    }

    /// Notes the time from a commit, or what else begins it, to the first write to the application.
    pub fn first_write(&self, point: &mut Point, what: &str, from: DateTime<Utc>) -> Result<()> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let account = format!("system:serviceaccount:{}:{}", self.namespace, tenant::ACCOUNT);
        let first =
            audit.writes()?.into_iter().find(|write| write.answered_at > from && write.took_effect() && write.user() == account);
        if let Some(write) = first {
            point.time(&format!("{what} to first write"), seconds(write.answered_at - from));
        }
        Ok(())
    }

    /// The time from a verdict to the answer of the next write to the route.
    pub fn verdict_to_weight_0(&self, at: DateTime<Utc>) -> Result<Option<f64>> {
        let Some(audit) = &self.audit else { return Ok(None) };
        let write = audit.writes()?.into_iter().find(|write| {
            write.answered_at >= at
                && write.took_effect()
                && write.object_ref.resource == "httproutes"
                && write.object_ref.namespace == self.namespace
        });
        Ok(write.map(|write| seconds(write.answered_at - at)))
    }
}
