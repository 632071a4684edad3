//! Every answer of one client, in memory, and counts of parts of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answer { version: String, pod: String },
    Status(u16),
    Broken(String),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it was sent.
    pub at: DateTime<Utc>,
    pub took: Duration,
    /// Index into the versions, none for a bad answer.
    version: Option<u32>,
    pod: u32,
    error: Option<String>,
}

/// Counts over some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Good answers by version.
    pub versions: BTreeMap<String, u64>,
    /// Bad answers by what was wrong.
    pub errors: BTreeMap<String, u64>,
    /// When the first bad one was sent.
    pub first_error_at: Option<DateTime<Utc>>,
}

impl Tally {
    /// Good answers of one version.
    #[must_use]
    pub fn of(&self, version: &str) -> u64 {
        self.versions.get(version).copied().unwrap_or(0)
    }

    /// All good answers.
    #[must_use]
    pub fn good(&self) -> u64 {
        self.versions.values().sum()
    }

    /// All bad answers.
    #[must_use]
    pub fn bad(&self) -> u64 {
        self.errors.values().sum()
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = self.versions.iter().chain(&self.errors).map(|(name, count)| format!("{name}: {count}"));
        let text: Vec<String> = parts.collect();
        if text.is_empty() { write!(f, "no answers") } else { write!(f, "{}", text.join(", ")) }
    }
}

#[derive(Default)]
struct Inner {
    names: Vec<String>,
    samples: Vec<Sample>,
}

impl Inner {
    fn name(&mut self, text: String) -> u32 {
        let index = self.names.iter().position(|name| *name == text).unwrap_or_else(|| {
            self.names.push(text);
            self.names.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }
}

/// Every answer of one client.
#[derive(Default)]
pub struct Record {
    inner: Mutex<Inner>,
}

impl Record {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn add(&self, at: DateTime<Utc>, took: Duration, outcome: Outcome) {
        let mut inner = self.lock();
        let (version, pod, error) = match outcome {
            Outcome::Answer { version, pod } => (Some(inner.name(version)), inner.name(pod), None),
            Outcome::Status(status) => (None, u32::MAX, Some(format!("HTTP {status}"))),
            Outcome::Broken(error) => (None, u32::MAX, Some(error)),
        };
        inner.samples.push(Sample { at, took, version, pod, error });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts of the requests that were sent in `from..to`.
    #[must_use]
    pub fn tally(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Tally {
        let inner = self.lock();
        let mut tally = Tally::default();
        for sample in inner.samples.iter().filter(|sample| sample.at >= from && sample.at < to) {
            match (sample.version.and_then(|index| inner.names.get(index as usize)), &sample.error) {
                (Some(version), _) => *tally.versions.entry(version.clone()).or_default() += 1,
                (None, error) => {
                    *tally.errors.entry(error.clone().unwrap_or_default()).or_default() += 1;
                    tally.first_error_at = Some(tally.first_error_at.map_or(sample.at, |before| before.min(sample.at)));
                }
            }
        }
        tally
    }

    /// Counts of everything since a time.
    #[must_use]
    pub fn since(&self, from: DateTime<Utc>) -> Tally {
        self.tally(from, Utc::now() + TimeDelta::hours(1))
    }

    /// Pods that gave good answers since a time, with the version that they gave.
    #[must_use]
    pub fn pods_since(&self, from: DateTime<Utc>) -> BTreeMap<String, String> {
        let inner = self.lock();
        let name = |index: u32| inner.names.get(index as usize).cloned().unwrap_or_default();
        let recent = inner.samples.iter().filter(|sample| sample.at >= from);
        recent.filter_map(|sample| Some((name(sample.pod), name(sample.version?)))).collect()
    }

    /// When a version was first and last seen.
    #[must_use]
    pub fn seen(&self, version: &str) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let inner = self.lock();
        let index = inner.names.iter().position(|name| name == version).and_then(|index| u32::try_from(index).ok())?;
        let times: Vec<_> = inner.samples.iter().filter(|sample| sample.version == Some(index)).map(|sample| sample.at).collect();
        Some((*times.iter().min()?, *times.iter().max()?))
    }

    /// How many good answers each version gave in each second: the picture of a rollout.
    #[must_use]
    pub fn per_second(&self) -> BTreeMap<i64, BTreeMap<String, u64>> {
        let inner = self.lock();
        let mut seconds: BTreeMap<i64, BTreeMap<String, u64>> = BTreeMap::new();
        for sample in &inner.samples {
            let name = match sample.version.and_then(|index| inner.names.get(index as usize)) {
                Some(name) => name.clone(),
                None => "failed".to_owned(),
            };
            *seconds.entry(sample.at.timestamp()).or_default().entry(name).or_default() += 1;
        }
        seconds
    }

    /// Each bad answer with its time, oldest first, at most so many.
    #[must_use]
    pub fn errors(&self, count_max: usize) -> Vec<(DateTime<Utc>, String)> {
        let inner = self.lock();
        let mut errors: Vec<_> = inner.samples.iter().filter_map(|sample| Some((sample.at, sample.error.clone()?))).collect();
        errors.sort_by_key(|(at, _)| *at);
        errors.truncate(count_max);
        errors
    }
}
