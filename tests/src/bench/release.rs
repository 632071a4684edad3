//! Releases: bad ones until the weight is 0, crashing ones, good ones.

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use sluice_crds::release::State;

use super::{Bench, Figure, PAUSE};
use crate::report::progress;
use crate::tenant::ACCOUNT;
use crate::traffic::Traffic;
use crate::webhook;
use crate::weights::RouteWatch;

/// Requests per second through the gateway, as in the published measurements of others.
const RPS: u32 = 150;

struct Figures {
    first_write: Figure,
    bad: Figure,
    bad_answers: Figure,
    verdict: Figure,
    crash: Figure,
    good: Figure,
    replaced: Figure,
    failed: Figure,
}

impl Bench {
    pub(super) async fn releases(&mut self, rounds: usize) -> Result<Vec<Figure>> {
        let mut figures = Figures {
            first_write: Figure::new("webhook after a commit to the first write", "s", 1.0),
            bad: Figure::new("first bad answer to weight 0, at 5 %", "s", 5.0),
            bad_answers: Figure::new("bad answers of a bad release", "", 50.0),
            verdict: Figure::new("verdict to weight 0 accepted", "s", 0.2),
            crash: Figure::new("second exit of a crash loop to rolled back", "s", 10.0),
            good: Figure::new("good commit through 5, 25, 50 % of 10 s to promoted", "s", 40.0),
            replaced: Figure::new("pods replaced or restarted after they were judged", "", 0.0),
            failed: Figure::new("failed requests of a good release", "", 0.0),
        };
        let traffic = self.case()?.steady_traffic(RPS).await?;
        let (namespace, cluster) = (self.case()?.namespace.clone(), self.cluster.clone());
        let routes = RouteWatch::start(&cluster, &namespace, "shop");
        for round in 1..=rounds {
            progress(&format!("round {round} of {rounds}: a bad, a crashing and a good release"));
            self.bad(round, &mut figures, &traffic, &routes).await?;
            tokio::time::sleep(PAUSE).await;
            self.crash(round, &mut figures).await?;
            tokio::time::sleep(PAUSE).await;
            self.good(round, &mut figures, &traffic).await?;
            tokio::time::sleep(PAUSE).await;
        }
        traffic.stop().await?;
        let Figures { first_write, bad, bad_answers, verdict, crash, good, replaced, failed } = figures;
        Ok(vec![first_write, bad, bad_answers, verdict, crash, good, replaced, failed])
    }

    async fn push(&mut self, message: &str, args: &[&str], figures: &mut Figures) -> Result<(String, DateTime<Utc>)> {
        let cluster = self.cluster.clone();
        let case = self.case()?;
        let sha = case.commit(message, |tree| {
            let app = tree.app()?;
            app.message = message.to_owned();
            app.args = args.iter().map(|arg| (*arg).to_owned()).collect();
            Ok(())
        })?;
        let pushed_at = Utc::now();
        webhook::look_now(&cluster).await?;
        self.case()?.wait_state(&sha, "in motion", |_| true).await?;
        tokio::time::sleep(PAUSE).await;
        if let Some(write) = self.write_of_tenant(pushed_at, None)? {
            figures.first_write.add((write - pushed_at).as_seconds_f64());
        }
        Ok((sha, pushed_at))
    }

    /// When the first write to the application, or to one kind of its objects, was answered.
    fn write_of_tenant(&self, from: DateTime<Utc>, resource: Option<&str>) -> Result<Option<DateTime<Utc>>> {
        let Some(audit) = &self.audit else { return Ok(None) };
        let namespace = self.cases.first().map(|case| case.namespace.clone()).unwrap_or_default();
        let tenant = format!("system:serviceaccount:{namespace}:{ACCOUNT}");
        let writes = audit.writes()?;
        let mut found = writes.iter().filter(|write| write.answered_at >= from && write.took_effect() && write.user() == tenant);
        Ok(found
            .find(|write| resource.is_none_or(|resource| write.object_ref.resource == resource))
            .map(|write| write.answered_at))
    }

    async fn bad(&mut self, round: usize, figures: &mut Figures, traffic: &Traffic, routes: &RouteWatch) -> Result<()> {
        let (sha, pushed_at) = self.push(&format!("bad-{round}"), &["--random-error=true"], figures).await?;
        let release = self.case()?.wait_rolled_back(&sha).await?;
        let cause = release.status.and_then(|status| status.cause).context("a release went back without a cause")?;
        let tally = traffic.record().since(pushed_at);
        let first_bad = tally.first_error_at.context("no client saw a bad answer")?;
        let zero = routes.first(first_bad, |shares| shares.beside("shop") == 0).context("the weight never went to 0")?;
        figures.bad.add((zero - first_bad).as_seconds_f64());
        figures.bad_answers.add(f64::from(u32::try_from(tally.bad())?));
        if let Some(write) = self.write_of_tenant(cause.at, Some("httproutes"))? {
            figures.verdict.add((write - cause.at).as_seconds_f64());
        }
        Ok(())
    }

    async fn crash(&mut self, round: usize, figures: &mut Figures) -> Result<()> {
        let (sha, _) = self.push(&format!("crash-{round}"), &["--no-such-flag"], figures).await?;
        let case = self.case()?;
        let mut exit: Option<DateTime<Utc>> = None;
        let is_back = |state: &State| matches!(state, State::RolledBack {});
        let release = case
            .wait("the crashing release to go back", async || {
                let release = case.release_of(&sha).await?;
                let hash = release.spec.rollouts.first().map(|plan| plan.canary_hash.clone()).unwrap_or_default();
                // the pods go with the rollback, and with them what they say
                exit = case.cluster.last_exit(&case.namespace, &format!("pod-template-hash={hash}")).await?.max(exit);
                Ok(match &release.status {
                    Some(status) if is_back(&status.state) => crate::wait::Look::Done(release),
                    status => crate::wait::Look::NotYet(format!("{:?}", status.as_ref().map(|status| &status.state))),
                })
            })
            .await?;
        let status = release.status.context("a Release has no status")?;
        if let Some(exit) = exit {
            figures.crash.add((status.state_since - exit).as_seconds_f64());
        }
        Ok(())
    }

    async fn good(&mut self, round: usize, figures: &mut Figures, traffic: &Traffic) -> Result<()> {
        let (sha, pushed_at) = self.push(&format!("good-{round}"), &[], figures).await?;
        let case = self.case()?;
        let release = case.wait_judging(&sha, 3).await?;
        let hash = release.spec.rollouts.first().map(|plan| plan.canary_hash.clone()).unwrap_or_default();
        let judged = uids(case, &hash).await?;
        case.wait_good(&sha).await?;
        let promoted = case.wait_state(&sha, "promoted", |state| matches!(state, State::Promoted {})).await?;
        let promoted_at = promoted.status.context("a Release has no status")?.state_since;
        figures.good.add((promoted_at - pushed_at).as_seconds_f64());
        tokio::time::sleep(PAUSE).await;
        let now = case.pod_uids("shop").await?;
        figures.replaced.add(f64::from(u32::try_from(now.symmetric_difference(&judged).count())?));
        figures.failed.add(f64::from(u32::try_from(traffic.record().since(pushed_at).bad())?));
        Ok(())
    }
}

async fn uids(case: &crate::case::Case, hash: &str) -> Result<std::collections::BTreeSet<String>> {
    let pods = case.cluster.pods(&case.namespace, &format!("pod-template-hash={hash}")).await?;
    Ok(pods.into_iter().filter_map(|pod| pod.metadata.uid).collect())
}
