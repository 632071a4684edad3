//! Reading over an in-process server: absence, failures, pages, undecodable items, discovery.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::gate::Gate;
use crate::testing::{FakeApi, Reaction, Seen, discovery, status, with_discovery};

fn objects(api: &FakeApi) -> Objects {
    let client = api.cluster(Gate::closed()).client();
    Objects::new(client.clone(), Kinds::new(client))
}

fn deployment() -> ObjectKey {
    ObjectKey::new("apps", "v1", "Deployment", Some("shop"), "web")
}

#[tokio::test(start_paused = true)]
async fn a_missing_object_is_none_and_a_missing_kind_is_an_error() {
    let api = with_discovery(|seen| match seen.path.as_str() {
        "/apis/apps/v1/namespaces/shop/deployments/web" => {
            status(404, "NotFound", "not found", json!({"name": "web", "kind": "deployments"}))
        }
        _ => status(404, "NotFound", "the server could not find the requested resource", json!({})),
    });
    let objects = objects(&api);
    assert_eq!(objects.get(&deployment()).await.unwrap(), None);
    let gone = objects.get(&ObjectKey::new("", "v1", "ConfigMap", Some("shop"), "a")).await.unwrap_err();
    assert_eq!(gone.reason(), "UnknownKind");
    let page = with_discovery(|_| Reaction::Text(404, "404 page not found\n".to_owned()));
    assert_eq!(self::objects(&page).get(&deployment()).await.unwrap_err().reason(), "UnknownKind", "a page that is no Status");
    let unknown = objects.get(&ObjectKey::new("apps", "v1", "Deploymnt", Some("shop"), "a")).await.unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "reading Deploymnt shop/a: the cluster serves no kind Deploymnt in apps/v1; install its CRD, or correct apiVersion and kind"
    );
    let group = objects.get(&ObjectKey::new("nowhere.dev", "v1", "Thing", None, "a")).await.unwrap_err();
    assert_eq!(group.reason(), "UnknownKind");
    let version = objects.get(&ObjectKey::new("apps", "v1beta1", "Deployment", Some("shop"), "a")).await.unwrap_err();
    assert_eq!(version.to_string(), "reading Deployment shop/a: Deployment is served as v1, not as v1beta1; use one of those");
}

#[tokio::test(start_paused = true)]
async fn a_failed_read_is_never_an_absence() {
    type Case = (fn() -> Reaction, &'static str, bool);
    let cases: [Case; 10] = [
        (|| status(401, "Unauthorized", "no", json!({})), "ReadDenied", false),
        (|| status(403, "Forbidden", "no", json!({})), "ReadDenied", false),
        (|| status(400, "BadRequest", "no", json!({})), "ReadRefused", false),
        (|| status(429, "TooManyRequests", "no", json!({"retryAfterSeconds": 7})), "Throttled", true),
        (|| status(500, "InternalError", "no", json!({})), "ReadFailed", true),
        (|| status(504, "Timeout", "no", json!({})), "ReadFailed", true),
        (|| Reaction::Text(502, "<html>".to_owned()), "ReadFailed", true),
        (|| Reaction::Text(200, "{".to_owned()), "Undecodable", false),
        (|| Reaction::Broken, "ReadFailed", true),
        (|| Reaction::Hang, "ReadFailed", true),
    ];
    for (reaction, reason, transient) in cases {
        let api = with_discovery(move |_| reaction());
        let error = objects(&api).get(&deployment()).await.unwrap_err();
        assert_eq!((error.reason(), error.is_transient()), (reason, transient), "{error}");
        assert_eq!(api.seen().len(), 1, "{reason}: nothing is retried");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_from_git_cannot_lead_to_another_object() {
    let api = with_discovery(|_| Reaction::Json(200, json!({})));
    let objects = objects(&api);
    for (namespace, name) in
        [("shop", "../secrets/x"), ("shop", ".."), ("../..", "x"), ("shop", ""), ("shop", "a?b"), ("shop", "a%2Fb")]
    {
        let error = objects.get(&ObjectKey::new("apps", "v1", "Deployment", Some(namespace), name)).await.unwrap_err();
        assert_eq!(error.reason(), "InvalidName", "{namespace} {name}");
    }
    for key in
        [ObjectKey::new("apps/../..", "v1", "Deployment", None, "x"), ObjectKey::new("apps", "..", "Deployment", None, "x")]
    {
        assert_eq!(objects.get(&key).await.unwrap_err().reason(), "InvalidName");
    }
    for key in [ObjectKey::new("apps", "v1", "Deployment", None, "x"), ObjectKey::new("", "v1", "Namespace", Some("a"), "x")] {
        assert_eq!(objects.get(&key).await.unwrap_err().reason(), "InvalidName", "the scope is wrong");
    }
    assert_eq!(api.seen().len(), 0);
}

fn page(seen: &Seen, items: Value, next: &str) -> Reaction {
    assert_eq!(seen.path, "/apis/apps/v1/namespaces/shop/deployments");
    Reaction::Json(200, json!({"metadata": {"resourceVersion": "7", "continue": next}, "items": items}))
}

#[tokio::test(start_paused = true)]
async fn a_list_survives_an_object_that_cannot_be_decoded() {
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let text = format!(
        r#"{{"metadata":{{}},"items":[{{"metadata":{{"name":"a"}}}},{{"metadata":{{"namespace":"shop","name":"huge"}},"n":1e999}},
        {{"metadata":{{"name":"deep"}},"x":{deep}}},"text",{{"metadata":{{"name":"b"}}}}]}}"#
    );
    let api = with_discovery(move |_| Reaction::Text(200, text.clone()));
    let listing = objects(&api).list("apps", "v1", "Deployment", Some("shop"), None, 100).await.unwrap();
    let names: Vec<&str> = listing.items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!((&listing.items[0]["apiVersion"], &listing.items[0]["kind"]), (&json!("apps/v1"), &json!("Deployment")));
    let unreadable: Vec<&str> = listing.unreadable.iter().map(|unreadable| unreadable.name.as_str()).collect();
    assert_eq!(unreadable, ["shop/huge", "deep", ""]);
    assert!(!listing.is_complete());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_does_not_fit_its_type_is_set_apart() {
    let items = json!([{"metadata": {"name": "a"}, "data": {"k": "v"}}, {"metadata": {"name": "b"}, "data": "planted"}]);
    let api = with_discovery(move |_| Reaction::Json(200, json!({"items": items})));
    for kind in ["ConfigMap", "Secret"] {
        let listing = objects(&api).list("", "v1", kind, Some("shop"), None, 100).await.unwrap();
        assert!(listing.is_complete());
        let (decoded, unreadable) = listing.decode::<k8s_openapi::api::core::v1::ConfigMap>();
        assert_eq!(unreadable.last().unwrap().name, "b");
        assert_eq!(
            (decoded.len(), unreadable.len()),
            (if kind == "Secret" { 0 } else { 1 }, if kind == "Secret" { 2 } else { 1 })
        );
        assert!(kind != "Secret" || !format!("{unreadable:?}").contains("planted"));
    }
}

#[tokio::test(start_paused = true)]
async fn pages_are_read_to_the_end_with_the_selector_on_each() {
    let api = with_discovery(|seen| {
        assert!(seen.query.contains("labelSelector=a%3Db"), "{}", seen.query);
        if seen.query.contains("continue=more%2F") {
            page(seen, json!([{"metadata": {"name": "c"}}]), "")
        } else {
            page(seen, json!([{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]), "more/")
        }
    });
    let objects = objects(&api);
    let listing = objects.list("apps", "v1", "Deployment", Some("shop"), Some("a=b"), 100).await.unwrap();
    assert_eq!((listing.items.len(), listing.truncated, listing.resource_version.as_str()), (3, false, "7"));
    let listing = objects.list("apps", "v1", "Deployment", Some("shop"), Some("a=b"), 2).await.unwrap();
    assert_eq!((listing.items.len(), listing.truncated), (2, true));
    let listing = objects.list("apps", "v1", "Deployment", Some("shop"), Some("a=b"), 1).await.unwrap();
    assert_eq!((listing.items.len(), listing.truncated), (1, true), "a server that ignores the limit");
    let listing = objects.list("apps", "v1", "Deployment", Some("shop"), Some("a=b"), 3).await.unwrap();
    assert_eq!((listing.items.len(), listing.is_complete()), (3, true), "exactly the limit");
}

#[tokio::test(start_paused = true)]
async fn an_expired_page_begins_the_list_again_once() {
    let calls = std::sync::Arc::new(AtomicUsize::new(0));
    for (expiries, succeeds) in [(1, true), (2, false)] {
        calls.store(0, Ordering::SeqCst);
        let counted = calls.clone();
        let api = with_discovery(move |seen| {
            if !seen.query.contains("continue") {
                page(seen, json!([{"metadata": {"name": "a"}}]), "next")
            } else if counted.fetch_add(1, Ordering::SeqCst) < expiries {
                status(410, "Expired", "too old", json!({}))
            } else {
                page(seen, json!([{"metadata": {"name": "b"}}]), "")
            }
        });
        let listed = objects(&api).list("apps", "v1", "Deployment", Some("shop"), None, 100).await;
        assert_eq!(listed.map(|listing| listing.items.len()).ok(), succeeds.then_some(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_api_group_hides_no_other_and_heals() {
    let calls = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let api = FakeApi::new(move |seen| match seen.path.as_str() {
        "/apis/metrics.example" if counted.fetch_add(1, Ordering::SeqCst) == 0 => Reaction::Text(503, "down".to_owned()),
        "/apis/metrics.example" => Reaction::Json(
            200,
            json!({"versions": [{"version": "v1"}, {"version": "v1beta1"}], "preferredVersion": {"version": "v1beta1"}}),
        ),
        "/apis/metrics.example/v1" => Reaction::Text(503, "down".to_owned()),
        "/apis/metrics.example/v1beta1" => {
            Reaction::Json(200, json!({"resources": [{"name": "things", "kind": "Thing", "namespaced": false}]}))
        }
        path => discovery(path).map_or_else(|| Reaction::Text(404, String::new()), |value| Reaction::Json(200, value)),
    });
    let kinds = Kinds::new(api.cluster(Gate::closed()).client());
    let error = kinds.resolve("metrics.example", "v1beta1", "Thing").await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    kinds.resolve("apps", "v1", "Deployment").await.unwrap();
    // not asked again at once
    kinds.resolve("metrics.example", "v1beta1", "Thing").await.unwrap_err();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    tokio::time::advance(Duration::from_secs(3)).await;
    let thing = kinds.resolve("metrics.example", "", "Thing").await.unwrap();
    assert_eq!((thing.version.as_str(), thing.namespaced, thing.plural.as_str()), ("v1beta1", false, "things"));
    // the version that cannot be read may serve it or not: nobody knows
    assert!(kinds.resolve("metrics.example", "v1", "Thing").await.unwrap_err().is_transient());
    assert_eq!(thing.api_resource().plural, "things");
}

#[tokio::test(start_paused = true)]
async fn a_known_kind_costs_no_request_and_a_missing_one_few() {
    let api = with_discovery(|_| Reaction::Text(404, String::new()));
    let kinds = Kinds::new(api.cluster(Gate::closed()).client());
    for _ in 0..100 {
        kinds.resolve("apps", "v1", "Deployment").await.unwrap();
        kinds.resolve("apps", "v1", "Nothing").await.unwrap_err();
    }
    assert_eq!(api.discoveries(), 2);
    tokio::time::advance(Duration::from_secs(3)).await;
    kinds.resolve("apps", "v1", "Nothing").await.unwrap_err();
    assert_eq!(api.discoveries(), 4);
}
