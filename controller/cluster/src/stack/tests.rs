//! The stack over in-process services: no retry, deadlines, gate, identities, counts.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Mutex;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::testing::{FakeApi, Reaction, status};

fn configmap() -> ConfigMap {
    serde_json::from_value(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})).unwrap()
}

fn maps(client: kube::Client) -> Api<ConfigMap> {
    Api::namespaced(client, "shop")
}

fn ok() -> FakeApi {
    FakeApi::new(|_| Reaction::Json(200, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})))
}

fn fault(error: &kube::Error) -> Option<&StackFault> {
    StackFault::within(error)
}

fn as_header(name: &'static str, seen: &crate::testing::Seen) -> Vec<String> {
    seen.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn no_write_is_sent_twice_whatever_the_server_answers() {
    for code in [408, 409, 429, 500, 502, 503, 504] {
        let api = FakeApi::new(move |_| status(code, "", "later", json!({"retryAfterSeconds": 1})));
        let client = maps(api.cluster(Gate::always_open()).client());
        client.create(&PostParams::default(), &configmap()).await.unwrap_err();
        client.patch("a", &PatchParams::default(), &Patch::Merge(json!({}))).await.unwrap_err();
        client.delete("a", &Default::default()).await.unwrap_err();
        assert_eq!(api.seen().len(), 3, "{code}");
    }
    let api = FakeApi::new(|_| Reaction::Broken);
    maps(api.cluster(Gate::always_open()).client()).create(&PostParams::default(), &configmap()).await.unwrap_err();
    assert_eq!(api.seen().len(), 1, "a broken connection");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_call_ends_at_its_deadline() {
    let options = StackOptions::default();
    let client = maps(FakeApi::new(|_| Reaction::Hang).cluster(Gate::always_open()).client());
    let started = Instant::now();
    let error = client.get("a").await.unwrap_err();
    assert_eq!(fault(&error), Some(&StackFault::Deadline { timeout_ms: 15_000, sent: true }));
    assert_eq!(started.elapsed(), options.read_timeout);
    let started = Instant::now();
    client.create(&PostParams::default(), &configmap()).await.unwrap_err();
    assert_eq!(started.elapsed(), options.write_timeout);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stalls_or_trickles_ends_at_the_same_deadline() {
    for reaction in [|| Reaction::SilentBody, || Reaction::Trickle(Duration::from_millis(100))] {
        let client = maps(FakeApi::new(move |_| reaction()).cluster(Gate::always_open()).client());
        let started = Instant::now();
        let error = client.get("a").await.unwrap_err();
        assert!(matches!(fault(&error), Some(StackFault::Deadline { .. })), "{error:?}");
        assert_eq!(started.elapsed(), StackOptions::default().read_timeout);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_turn_counts_as_not_sent() {
    let options = StackOptions { in_flight_max: 1, ..StackOptions::default() };
    let api = FakeApi::new(|_| Reaction::Hang);
    let client = maps(Cluster::over(api.clone(), "default", Gate::always_open(), options).client());
    let (first, second) = tokio::join!(client.get("a"), client.get("b"));
    let (first, second) = (first.unwrap_err(), second.unwrap_err());
    let mut faults = [fault(&first), fault(&second)];
    faults.sort_by_key(|fault| matches!(fault, Some(StackFault::Deadline { sent: true, .. })));
    assert_eq!(
        faults,
        [false, true].map(|sent| Some(StackFault::Deadline { timeout_ms: 15_000, sent })).each_ref().map(Option::as_ref)
    );
    assert_eq!(api.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn behind_a_closed_gate_only_reads_and_dry_runs_are_sent() {
    let api = ok();
    let cluster = api.cluster(Gate::closed());
    let account = ServiceAccountRef::new("shop", "deployer").unwrap();
    for client in [cluster.client(), cluster.impersonating(&account)].map(maps) {
        let errors = [
            client.create(&PostParams::default(), &configmap()).await.unwrap_err(),
            client.replace("a", &PostParams::default(), &configmap()).await.unwrap_err(),
            client.patch("a", &PatchParams::apply("x"), &Patch::Apply(configmap())).await.unwrap_err(),
            client.delete("a", &Default::default()).await.unwrap_err(),
            client.delete_collection(&Default::default(), &ListParams::default()).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(fault(&error), Some(&StackFault::NotLeader));
        }
    }
    assert_eq!(api.seen().len(), 0);
    let client = maps(cluster.client());
    client.get("a").await.unwrap();
    client.patch("a", &PatchParams::apply("x").dry_run(), &Patch::Apply(configmap())).await.unwrap();
    let counts = RequestCounts { reads: 1, dry_runs: 1, refused: 10, ..RequestCounts::default() };
    assert_eq!(cluster.counts(), counts);
}

#[tokio::test(start_paused = true)]
async fn a_write_ends_with_the_lease_if_that_comes_first() {
    let gate = Gate::closed();
    gate.open_until(Instant::now() + Duration::from_secs(3), 1);
    let api = FakeApi::new(|_| Reaction::Hang);
    let client = maps(api.cluster(gate).client());
    let started = Instant::now();
    client.create(&PostParams::default(), &configmap()).await.unwrap_err();
    assert_eq!(started.elapsed(), Duration::from_secs(3));
    let error = client.create(&PostParams::default(), &configmap()).await.unwrap_err();
    assert_eq!(fault(&error), Some(&StackFault::NotLeader));
    assert_eq!(api.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn closing_the_gate_cuts_off_what_is_under_way_and_draining_does_not() {
    for cut in [true, false] {
        let gate = Gate::closed();
        gate.open_until(Instant::now() + Duration::from_secs(60), 1);
        let client = maps(FakeApi::new(|_| Reaction::Hang).cluster(gate.clone()).client());
        let started = Instant::now();
        let call = tokio::spawn(async move { client.create(&PostParams::default(), &configmap()).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        if cut {
            gate.close()
        } else {
            gate.drain()
        }
        let error = call.await.unwrap().unwrap_err();
        if cut {
            assert_eq!((fault(&error), started.elapsed()), (Some(&StackFault::LeaseEnded), Duration::from_secs(1)));
        } else {
            assert_eq!(started.elapsed(), StackOptions::default().write_timeout);
        }
    }
}

/// A transport that needs a while to connect, and sends when it is polled afterwards.
#[tokio::test(start_paused = true)]
async fn a_write_that_got_ready_only_after_the_lease_had_ended_is_not_sent() {
    for late in [false, true] {
        let gate = Gate::closed();
        gate.open_until(Instant::now() + Duration::from_secs(5), 1);
        let (ready, sent) = (Arc::new(tokio::sync::Notify::new()), Arc::new(Mutex::new(0)));
        let service = tower::service_fn({
            let (ready, sent) = (ready.clone(), sent.clone());
            move |_: Request<Body>| {
                let (ready, sent) = (ready.clone(), sent.clone());
                async move {
                    ready.notified().await;
                    *sent.lock().unwrap() += 1;
                    Ok::<_, BoxError>(Response::new(http_body_util::Full::new(Bytes::from_static(b"{}"))))
                }
            }
        });
        let client = maps(Cluster::over(service, "default", gate, StackOptions::default()).client());
        let call = tokio::spawn(async move { client.create(&PostParams::default(), &configmap()).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        // the clock moves without any task being polled, as in a process that was stopped
        ready.notify_one();
        if late {
            tokio::time::advance(Duration::from_secs(5)).await;
        }
        let answer = call.await.unwrap();
        assert_eq!((*sent.lock().unwrap(), answer.is_ok()), if late { (0, false) } else { (1, true) });
    }
}

#[tokio::test(start_paused = true)]
async fn impersonation_is_on_every_request_of_its_client_and_on_no_other() {
    let api = ok();
    let cluster = api.cluster(Gate::always_open());
    let account = ServiceAccountRef::new("shop", "deployer").unwrap();
    let (tenant, own) = (maps(cluster.impersonating(&account)), maps(cluster.client()));
    for client in [&tenant, &own] {
        client.get("a").await.unwrap();
        client.create(&PostParams::default(), &configmap()).await.unwrap();
        client.patch("a", &PatchParams::default().dry_run(), &Patch::Merge(json!({}))).await.unwrap();
    }
    for (index, seen) in api.seen().iter().enumerate() {
        let (user, groups) = (as_header("impersonate-user", seen), as_header("impersonate-group", seen));
        if index < 3 {
            assert_eq!(user, ["system:serviceaccount:shop:deployer"]);
            assert!(groups.is_empty(), "{groups:?}");
        } else {
            assert_eq!((user.len(), groups.len()), (0, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_watch_client_waits_as_long_as_something_comes_and_never_writes() {
    let cluster = FakeApi::new(|_| Reaction::Trickle(Duration::from_secs(200))).cluster(Gate::always_open());
    let client = cluster.watch_client();
    let request = |uri: &str| Request::get(uri).body(Body::empty()).unwrap();
    let mut body = client.send(request("/api/v1/pods?watch=true")).await.unwrap().into_body();
    for _ in 0..10 {
        body.frame().await.unwrap().unwrap();
    }
    let silent = FakeApi::new(|_| Reaction::SilentBody).cluster(Gate::always_open()).watch_client();
    let started = Instant::now();
    let mut body = silent.send(request("/api/v1/pods?watch=true")).await.unwrap().into_body();
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!((fault(&error), started.elapsed()), (Some(&StackFault::Idle { idle_ms: 300_000 }), Duration::from_secs(300)));

    let api = ok();
    let client = maps(api.cluster(Gate::always_open()).watch_client());
    let errors = [
        client.create(&PostParams::default(), &configmap()).await.unwrap_err(),
        client.patch("a", &PatchParams::default().dry_run(), &Patch::Merge(json!({}))).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(fault(&error), Some(&StackFault::WatchClientWrite));
    }
    assert_eq!(api.seen().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_hook_sees_each_request_before_and_after() {
    #[derive(Default)]
    struct Trace(Mutex<Vec<String>>);
    impl RequestHook for Trace {
        fn before_send(&self, line: &RequestLine) {
            self.0.lock().unwrap().push(format!("{} {} {:?}", line.sequence, line.method, line.class));
        }
        fn after_reply(&self, line: &RequestLine, status: Option<u16>) {
            self.0.lock().unwrap().push(format!("{} {status:?} {:?}", line.sequence, line.user));
        }
    }
    let trace = Arc::new(Trace::default());
    let options = StackOptions { hook: Some(trace.clone()), ..StackOptions::default() };
    let cluster = Cluster::over(ok(), "default", Gate::always_open(), options);
    maps(cluster.client()).get("a").await.unwrap();
    let account = ServiceAccountRef::new("a", "b").unwrap();
    maps(cluster.impersonating(&account)).create(&PostParams::default(), &configmap()).await.unwrap();
    assert_eq!(
        *trace.0.lock().unwrap(),
        ["0 GET Read", "0 Some(200) None", "1 POST Write", "1 Some(200) Some(\"system:serviceaccount:a:b\")"]
    );
}
