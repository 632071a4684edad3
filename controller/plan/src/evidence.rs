//! What pods themselves say against a canary, in seconds and without Prometheus.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::view::{controller_uid, integer, is_deleting, list, text};

/// Abnormal exits of canary containers that are evidence when stable has none in the same time (`judge.md` section 9).
const ABNORMAL_EXITS: i64 = 2;

/// Waiting reasons that do not go away by themselves: the registry, or the template, lacks what is named.
const HOPELESS: [&str; 3] = ["ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"];
/// Waiting reasons that do not go away by themselves once they have lasted [`CONFIG_ERROR_S`]: before, the kubelet may not have seen
/// a config object that is seconds old.
const CONFIG_ERRORS: [&str; 3] = ["CreateContainerConfigError", "CreateContainerError", "RunContainerError"];
/// How old a pod must be for its config error to count, in seconds.
const CONFIG_ERROR_S: i64 = 10;
/// How the kubelet begins a message about its own slow caches: seen on a loaded node, healed by its next try.
const KUBELET_IS_SLOW: &str = "failed to sync";

/// Evidence against a canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// One word: `CrashLoop`, `ImagePullFailed`, `ConfigError`.
    pub kind: &'static str,
    pub message: String,
}

/// The pods of one ReplicaSet, by owner and never by labels alone.
pub fn pods_of<'a>(pods: &'a [Value], replica_set_uid: &'a str) -> impl Iterator<Item = &'a Value> {
    pods.iter().filter(move |pod| !replica_set_uid.is_empty() && controller_uid(pod) == Some(replica_set_uid))
}

/// How many pods of a ReplicaSet can take requests: ready and not going away.
#[must_use]
pub fn ready_count(pods: &[Value], replica_set_uid: &str) -> i64 {
    let ready = pods_of(pods, replica_set_uid).filter(|pod| !is_deleting(pod) && is_ready(pod)).count();
    i64::try_from(ready).unwrap_or(i64::MAX)
}

fn is_ready(pod: &Value) -> bool {
    list(pod, &["status", "conditions"])
        .iter()
        .any(|condition| text(condition, &["type"]) == "Ready" && text(condition, &["status"]) == "True")
}

/// What the canary's pods say against it. `stable` pods that exit abnormally since `since` acquit it: then the cause is shared.
#[must_use]
pub fn against(
    pods: &[Value],
    canary_uid: &str,
    stable_uids: &[&str],
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Option<Evidence> {
    let mut exits = 0;
    let mut last_exit = String::new();
    for pod in pods_of(pods, canary_uid).filter(|pod| !is_deleting(pod)) {
        let name = text(pod, &["metadata", "name"]);
        for container in statuses(pod) {
            let waiting = text(container, &["state", "waiting", "reason"]);
            let container_name = text(container, &["name"]);
            let message = text(container, &["state", "waiting", "message"]);
            let lasted = text(pod, &["metadata", "creationTimestamp"])
                .parse::<DateTime<Utc>>()
                .is_ok_and(|created| (now - created).num_seconds() >= CONFIG_ERROR_S);
            let is_config_error = CONFIG_ERRORS.contains(&waiting) && lasted && !message.contains(KUBELET_IS_SLOW);
            if HOPELESS.contains(&waiting) || is_config_error {
                let kind = if is_config_error { "ConfigError" } else { "ImagePullFailed" };
                let message = format!("container {container_name} of canary pod {name}: {waiting}: {message}");
                return Some(Evidence { kind, message });
            }
            let (count, why) = abnormal_exits(container);
            exits += count;
            if let Some(why) = why {
                last_exit = format!("container {container_name} of canary pod {name} {why}");
            }
        }
    }
    let shared = stable_uids.iter().any(|uid| pods_of(pods, uid).any(|pod| has_exited_since(pod, since)));
    (exits >= ABNORMAL_EXITS && !shared).then(|| Evidence {
        kind: "CrashLoop",
        message: format!("{exits} abnormal exits of canary containers, none of stable ones; {last_exit}"),
    })
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    list(pod, &["status", "containerStatuses"]).iter().chain(list(pod, &["status", "initContainerStatuses"]))
}

/// Abnormal exits that a container's status still tells of: each restart, and the present one. An exit with 0 is normal for an
/// init container only; it is not counted for either, since a restart after it is.
fn abnormal_exits(container: &Value) -> (i64, Option<String>) {
    let mut count = integer(container, &["restartCount"]).unwrap_or(0);
    let mut why = None;
    for state in ["state", "lastState"] {
        if let Some(code) = integer(container, &[state, "terminated", "exitCode"])
            && code != 0
        {
            let reason = text(container, &[state, "terminated", "reason"]);
            why.get_or_insert(format!("exited with {code} ({reason})"));
            if state == "state" {
                count += 1;
            }
        }
    }
    // CrashLoopBackOff with one restart: the exit that led to it is in lastState and not yet in restartCount.
    if text(container, &["state", "waiting", "reason"]) == "CrashLoopBackOff" {
        count += 1;
    }
    (if why.is_some() { count } else { 0 }, why)
}

fn has_exited_since(pod: &Value, since: DateTime<Utc>) -> bool {
    statuses(pod).any(|container| {
        ["state", "lastState"].iter().any(|state| {
            integer(container, &[state, "terminated", "exitCode"]).is_some_and(|code| code != 0)
                && text(container, &[state, "terminated", "finishedAt"]).parse::<DateTime<Utc>>().is_ok_and(|at| at >= since)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn waiting(reason: &str, message: &str, age_s: i64) -> Option<Evidence> {
        let now = DateTime::UNIX_EPOCH + chrono::Duration::seconds(1000);
        let pod = json!({
            "metadata": {"name": "p", "creationTimestamp": now - chrono::Duration::seconds(age_s), "ownerReferences": [{"controller": true, "uid": "u"}]},
            "status": {"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": reason, "message": message}}}]},
        });
        against(&[pod], "u", &[], now, now)
    }

    // Seen on a node under load: a ConfigMap of the same commit was 1.3 s old, and the kubelet healed by itself.
    #[test]
    fn a_config_error_counts_only_when_it_lasts_and_is_not_the_kubelets_own() {
        assert_eq!(waiting("CreateContainerConfigError", "configmap \"x\" not found", 2), None);
        assert_eq!(waiting("CreateContainerConfigError", "failed to sync configmap cache: timed out", 60), None);
        let found = waiting("CreateContainerConfigError", "configmap \"x\" not found", 12).map(|found| found.kind);
        assert_eq!(found, Some("ConfigError"));
        assert_eq!(waiting("ImagePullBackOff", "", 1).map(|found| found.kind), Some("ImagePullFailed"));
    }
}
