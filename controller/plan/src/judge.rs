//! From a Rollout's metrics to the judge's plan, from due times to queries, from answers to verdicts.

use chrono::{DateTime, Utc};
use sluice_analysis::threshold::{self, Bounds, ThresholdPlan};
use sluice_analysis::{InconclusiveCause, Judgement, Verdict};
use sluice_crds::analysis::{Metric, Reduce};
use sluice_crds::release::{Cause, MetricPlan, MetricProgress, ReleaseSpec, ReleaseStatus, RolloutPlan, RolloutProgress, State};

use crate::world::MetricSample;

/// Stands in a resolved query for the stable pods' hash, which is known only once the release prepares.
pub const STABLE_HASH_PLACEHOLDER: &str = "SLUICE_STABLE_HASH";

/// A query that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct DueQuery {
    pub rollout: String,
    pub metric: String,
    pub query: String,
    /// Evaluation time.
    pub at: DateTime<Utc>,
}

/// The judge's plan for a metric as it was written.
///
/// # Errors
/// A sentence that says which field is wrong.
pub fn threshold_plan(metric: &Metric) -> Result<ThresholdPlan, String> {
    let seconds = |field: &str, text: &sluice_crds::DurationText| text.seconds().map_err(|error| format!("{field}: {error}"));
    let bounds = Bounds {
        min: metric.threshold.min,
        max: metric.threshold.max,
        fail_below: metric.threshold.fail_below,
        fail_above: metric.threshold.fail_above,
    };
    let interval_s = seconds("interval", &metric.interval)?;
    if interval_s < 1 {
        return Err("interval: must be at least 1s".to_owned());
    }
    let mut plan = ThresholdPlan::new(metric.name.clone(), bounds).map_err(|error| error.to_string())?;
    plan.interval_s = interval_s;
    plan.count = metric.count;
    plan.initial_delay_s = match &metric.initial_delay {
        Some(delay) => seconds("initialDelay", delay)?,
        None => lookback_s(&metric.query),
    };
    plan.failure_limit = metric.failure_limit;
    plan.inconclusive_limit = metric.inconclusive_limit;
    plan.consecutive_error_limit = metric.consecutive_error_limit;
    plan.min_measurements = metric.min_measurements;
    plan.no_data_limit_s = seconds("noDataLimit", &metric.no_data_limit)?;
    plan.reduce = match metric.reduce {
        Reduce::Only => threshold::Reduce::Only,
        Reduce::Min => threshold::Reduce::Min,
        Reduce::Max => threshold::Reduce::Max,
        Reduce::Sum => threshold::Reduce::Sum,
        Reduce::Avg => threshold::Reduce::Avg,
    };
    plan.dry_run = metric.dry_run;
    plan.validate().map_err(|error| error.to_string())?;
    Ok(plan)
}

/// The longest range selector of a query (`[5m]`, `[90s]`), in seconds, 0 without one: how far a measurement reaches back.
#[must_use]
pub fn lookback_s(query: &str) -> i64 {
    query
        .split('[')
        .skip(1)
        .filter_map(|rest| rest.split([']', ':']).next())
        .filter_map(|range| sluice_crds::DurationText(range.trim().to_owned()).seconds().ok())
        .max()
        .unwrap_or(0)
}

/// The state of all metrics at the start of a step.
#[must_use]
pub fn start(plan: &RolloutPlan, now: DateTime<Utc>) -> Vec<MetricProgress> {
    plan.metrics
        .iter()
        .map(|metric| {
            let state = threshold::start(&metric.threshold, now);
            let judgement = threshold::judge(&metric.threshold, &state, now);
            MetricProgress { name: metric.threshold.name.clone(), state, judgement }
        })
        .collect()
}

/// Queries that are due now. None outside of a judged step.
#[must_use]
pub fn due(spec: &ReleaseSpec, status: &ReleaseStatus, now: DateTime<Utc>) -> Vec<DueQuery> {
    if !matches!(status.state, State::Judging { .. }) {
        return Vec::new();
    }
    each(spec, status)
        .filter_map(|(plan, progress, metric, record)| {
            Some(DueQuery {
                rollout: plan.name.clone(),
                metric: record.name.clone(),
                query: metric.query.replace(STABLE_HASH_PLACEHOLDER, &progress.stable_hash),
                at: threshold::due(&metric.threshold, &record.state, now)?,
            })
        })
        .collect()
}

/// When the next query will be due.
#[must_use]
pub fn next_due(spec: &ReleaseSpec, status: &ReleaseStatus) -> Option<DateTime<Utc>> {
    if !matches!(status.state, State::Judging { .. }) {
        return None;
    }
    each(spec, status).filter_map(|(_, _, metric, record)| threshold::next_due(&metric.threshold, &record.state)).min()
}

fn each<'a>(
    spec: &'a ReleaseSpec,
    status: &'a ReleaseStatus,
) -> impl Iterator<Item = (&'a RolloutPlan, &'a RolloutProgress, &'a MetricPlan, &'a MetricProgress)> {
    spec.rollouts.iter().zip(&status.rollouts).flat_map(|(plan, progress)| {
        plan.metrics.iter().zip(&progress.metrics).map(move |(metric, record)| (plan, progress, metric, record))
    })
}

/// Takes answers in. Answers are used once: a sample that is not newer than the last of its metric changes nothing.
/// Returns whether anything changed.
pub fn fold(spec: &ReleaseSpec, status: &mut ReleaseStatus, samples: &[MetricSample], now: DateTime<Utc>) -> bool {
    if !matches!(status.state, State::Judging { .. }) {
        return false;
    }
    let mut changed = false;
    for (plan, progress) in spec.rollouts.iter().zip(&mut status.rollouts) {
        for (metric, record) in plan.metrics.iter().zip(&mut progress.metrics) {
            for sample in samples.iter().filter(|sample| sample.rollout == plan.name && sample.metric == record.name) {
                let state = threshold::fold(&metric.threshold, &record.state, &sample.sample);
                changed |= state != record.state;
                record.state = state;
            }
            record.judgement = threshold::judge(&metric.threshold, &record.state, now);
        }
    }
    changed
}

/// Whether the time of the step counts: while Prometheus cannot be asked it does not.
#[must_use]
pub fn time_counts(spec: &ReleaseSpec, status: &ReleaseStatus) -> bool {
    each(spec, status)
        .filter(|(_, _, metric, _)| !metric.threshold.dry_run)
        .all(|(_, _, _, record)| record.state.consecutive_errors == 0 && record.judgement.verdict != Verdict::QueryError)
}

/// What the judges say against the canary: the first metric that asks to go back.
#[must_use]
pub fn against(spec: &ReleaseSpec, status: &ReleaseStatus, now: DateTime<Utc>) -> Option<Cause> {
    each(spec, status)
        .filter(|(_, _, metric, _)| !metric.threshold.dry_run)
        .find(|(plan, _, _, record)| {
            record.judgement.verdict == Verdict::RollBack || (plan.rollback_on_no_data && is_blind(&record.judgement))
        })
        .map(|(plan, _, _, record)| Cause {
            kind: "MetricFailed".to_owned(),
            message: crate::check::bounded(&format!(
                "metric {} of Rollout {}: {}",
                record.name, plan.name, record.judgement.message
            )),
            at: now,
            rollout: Some(plan.name.clone()),
            metric: Some(record.name.clone()),
            value: record.judgement.value,
            bound: record.judgement.bound.clone(),
            verdict: Some(record.judgement.verdict),
            step: None,
            weight_percent: 0,
            quarantine: true,
        })
}

/// Whether there was nothing to judge by for as long as that may last.
fn is_blind(judgement: &Judgement) -> bool {
    matches!(judgement.cause, Some(InconclusiveCause::NoData | InconclusiveCause::QueryError))
}

/// At the end of a step's time: the first rollout that is not proven, and what its judge says.
#[must_use]
pub fn unproven(spec: &ReleaseSpec, status: &ReleaseStatus, now: DateTime<Utc>) -> Option<(String, Judgement)> {
    each(spec, status)
        .filter(|(_, _, metric, _)| !metric.threshold.dry_run)
        .find(|(_, _, metric, record)| threshold::close(&metric.threshold, &record.state, now).verdict != Verdict::Healthy)
        // What is merely not measured often enough yet is undecided: the step waits for it.
        .map(|(plan, _, metric, record)| (plan.name.clone(), threshold::judge(&metric.threshold, &record.state, now)))
}

/// The worst verdict of a rollout, for people.
#[must_use]
pub fn worst(progress: &RolloutProgress) -> Option<Verdict> {
    progress.metrics.iter().map(|metric| metric.judgement.verdict).reduce(Verdict::worst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_range_of_a_query_is_its_lookback() {
        assert_eq!(lookback_s("sum(rate(a[1m])) / sum(rate(b[5m:10s]))"), 300);
        assert_eq!(lookback_s("sum(a) / sum(b)"), 0);
        assert_eq!(lookback_s("a[7"), 0);
    }
}
