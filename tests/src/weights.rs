//! What a route said over time: every form of an HTTPRoute that the API server showed, with the share of each backend.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use chrono::{DateTime, Utc};
use futures::{StreamExt, pin_mut};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::{self, Event};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::cluster::Cluster;

/// Shares of the backends of a route's first rule, in thousandths, from a moment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    pub at: DateTime<Utc>,
    pub thousandths: BTreeMap<String, u64>,
}

impl Shares {
    /// Thousandths that go to backends other than this one.
    #[must_use]
    pub fn beside(&self, service: &str) -> u64 {
        self.thousandths.iter().filter(|(name, _)| *name != service).map(|(_, share)| share).sum()
    }
}

/// Follows one route until it is dropped.
pub struct RouteWatch {
    seen: Arc<Mutex<Vec<Shares>>>,
    task: JoinHandle<()>,
}

impl RouteWatch {
    /// Starts to watch.
    #[must_use]
    pub fn start(cluster: &Cluster, namespace: &str, route: &str) -> Self {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"));
        let api: Api<DynamicObject> = Api::namespaced_with(cluster.client(), namespace, &resource);
        let seen: Arc<Mutex<Vec<Shares>>> = Arc::default();
        let (into, route) = (seen.clone(), route.to_owned());
        let task = tokio::spawn(async move {
            let events = watcher::watcher(api, watcher::Config::default().fields(&format!("metadata.name={route}")));
            pin_mut!(events);
            while let Some(event) = events.next().await {
                // a broken watch is started again by the library; what happened meanwhile shows as one change
                let (Ok(Event::Apply(object)) | Ok(Event::InitApply(object))) = event else { continue };
                let shares = Shares { at: Utc::now(), thousandths: shares(&serde_json::to_value(object).unwrap_or_default()) };
                let mut seen = into.lock().unwrap_or_else(PoisonError::into_inner);
                if seen.last().is_none_or(|last| last.thousandths != shares.thousandths) {
                    seen.push(shares);
                }
            }
        });
        Self { seen, task }
    }

    /// All forms since a moment, oldest first, beginning with the one that was in force then.
    #[must_use]
    pub fn since(&self, from: DateTime<Utc>) -> Vec<Shares> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let first = seen.iter().rposition(|shares| shares.at <= from).unwrap_or(0);
        seen.iter().skip(first).cloned().collect()
    }

    /// The first moment after `from` at which a condition held.
    #[must_use]
    pub fn first(&self, from: DateTime<Utc>, holds: impl Fn(&Shares) -> bool) -> Option<DateTime<Utc>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().find(|shares| shares.at >= from && holds(shares)).map(|shares| shares.at)
    }
}

impl Drop for RouteWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Shares of the backends of a route's first rule, in thousandths.
#[must_use]
pub fn shares(route: &Value) -> BTreeMap<String, u64> {
    let backends = route.pointer("/spec/rules/0/backendRefs").and_then(Value::as_array).cloned().unwrap_or_default();
    let weight = |backend: &Value| backend.get("weight").and_then(Value::as_u64).unwrap_or(1);
    let total: u64 = backends.iter().map(weight).sum();
    let mut shares = BTreeMap::new();
    for backend in &backends {
        let name = backend.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        *shares.entry(name).or_default() += (weight(backend) * 1000).checked_div(total).unwrap_or(0);
    }
    shares
}

/// The share of traffic that does not go to `service`, as the route says now.
///
/// # Errors
/// The route cannot be read.
pub async fn canary_thousandths(cluster: &Cluster, namespace: &str, route: &str, service: &str) -> Result<u64> {
    let route = cluster.expect(crate::cluster::Kind::HttpRoute, namespace, route).await?;
    Ok(shares(&route).iter().filter(|(name, _)| *name != service).map(|(_, share)| share).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_single_backend_has_it_all_whatever_its_weight() {
        let route = json!({"spec": {"rules": [{"backendRefs": [{"name": "shop"}]}]}});
        assert_eq!(shares(&route), BTreeMap::from([("shop".to_owned(), 1000)]));
    }

    #[test]
    fn shares_are_parts_of_the_sum_of_weights() {
        let route = json!({"spec": {"rules": [{"backendRefs": [{"name": "a", "weight": 300}, {"name": "b", "weight": 100}]}]}});
        let seen = Shares { at: Utc::now(), thousandths: shares(&route) };
        assert_eq!((seen.beside("a"), seen.beside("b")), (250, 750));
    }
}
