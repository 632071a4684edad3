//! Writing over an in-process server: what is sent, and what each answer of a real API server means.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::gate::Gate;
use crate::testing::{FakeApi, Reaction, Seen, status, status_value, with_discovery};

fn objects(api: &FakeApi) -> Objects {
    let client = api.cluster(Gate::always_open()).client();
    Objects::new(client.clone(), Kinds::new(client))
}

fn deployment() -> ObjectKey {
    ObjectKey::new("apps", "v1", "Deployment", Some("shop"), "web")
}

fn secret() -> ObjectKey {
    ObjectKey::new("", "v1", "Secret", Some("shop"), "db")
}

fn release() -> ObjectKey {
    ObjectKey::new("sluice.dev", "v1alpha1", "Release", Some("shop"), "web-1")
}

fn echo() -> FakeApi {
    with_discovery(|seen| Reaction::Json(200, seen.body.clone()))
}

fn parameters(seen: &Seen) -> Vec<&str> {
    let mut pairs: Vec<&str> = seen.query.split('&').collect();
    pairs.sort_unstable();
    pairs
}

#[tokio::test(start_paused = true)]
async fn an_apply_carries_its_preconditions_and_is_strict() {
    let api = echo();
    let object = json!({"spec": {"replicas": 1}, "metadata": {"name": "other", "namespace": "elsewhere", "managedFields": [], "generateName": "x"}});
    let options = ApplyOptions { manager: "sluice", force: true, dry_run: false, uid: Some("u-1"), resource_version: Some("42") };
    objects(&api).apply(&deployment(), &object, options).await.unwrap();
    let plain = ApplyOptions { manager: "sluice", dry_run: true, ..ApplyOptions::default() };
    objects(&api).apply(&deployment(), &json!({"metadata": {"uid": "from-caller"}}), plain).await.unwrap();
    let seen = api.seen();
    assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("PATCH", "/apis/apps/v1/namespaces/shop/deployments/web"));
    assert_eq!(parameters(&seen[0]), ["fieldManager=sluice", "fieldValidation=Strict", "force=true"]);
    assert_eq!(seen[0].headers["content-type"], "application/apply-patch+yaml");
    let expected = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1},
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "resourceVersion": "42"},
    });
    assert_eq!(seen[0].body, expected);
    assert_eq!(parameters(&seen[1]), ["dryRun=All", "fieldManager=sluice", "fieldValidation=Strict", "force=false"]);
    assert_eq!(seen[1].body["metadata"]["uid"], "from-caller", "a guard too many is never dropped");
}

#[tokio::test(start_paused = true)]
async fn a_delete_names_the_very_object() {
    let api = echo();
    let objects = objects(&api);
    objects.delete(&deployment(), "u-1", Some("42"), Propagation::Orphan).await.unwrap();
    objects.delete(&deployment(), "u-1", None, Propagation::Background).await.unwrap();
    let bodies: Vec<Value> = api.seen().iter().map(|seen| seen.body.clone()).collect();
    assert_eq!(bodies[0]["preconditions"], json!({"uid": "u-1", "resourceVersion": "42"}));
    assert_eq!((&bodies[0]["propagationPolicy"], &bodies[1]["propagationPolicy"]), (&json!("Orphan"), &json!("Background")));
    assert_eq!(bodies[1]["preconditions"], json!({"uid": "u-1"}));
    let error = objects.delete(&deployment(), "", None, Propagation::Background).await.unwrap_err();
    assert_eq!((error.reason(), api.seen().len()), ("InvalidName", 2));
}

#[tokio::test(start_paused = true)]
async fn deleting_what_is_gone_succeeds_and_a_namesake_stays() {
    let gone = with_discovery(|_| status(404, "NotFound", "gone", json!({"name": "web", "kind": "deployments"})));
    objects(&gone).delete(&deployment(), "u-1", None, Propagation::Background).await.unwrap();
    let namesake = with_discovery(|_| {
        status(409, "Conflict", "Precondition failed: UID in precondition: u-1, UID in object meta: u-2", json!({"name": "web"}))
    });
    let error = objects(&namesake).delete(&deployment(), "u-1", None, Propagation::Background).await.unwrap_err();
    assert_eq!(error.reason(), "PreconditionFailed");
    let kind = with_discovery(|_| Reaction::Text(404, "404 page not found".to_owned()));
    let error = objects(&kind).delete(&deployment(), "u-1", None, Propagation::Background).await.unwrap_err();
    assert_eq!(error.reason(), "UnknownKind", "a kind that is not served proves nothing about its objects");
}

#[tokio::test(start_paused = true)]
async fn every_patch_goes_where_it_should_and_is_strict() {
    let api = echo();
    let objects = objects(&api);
    objects.create(&deployment(), &json!({"metadata": {}}), "sluice").await.unwrap();
    objects.merge_patch(&release(), &json!({"metadata": {"uid": "u"}}), Some("status"), "sluice").await.unwrap();
    objects
        .json_patch(&deployment(), &json!([{"op": "test", "path": "/metadata/uid", "value": "u"}]), None, "sluice")
        .await
        .unwrap();
    let lines: Vec<String> = api
        .seen()
        .iter()
        .map(|seen| format!("{} {} {}", seen.method, seen.path, seen.headers["content-type"].to_str().unwrap()))
        .collect();
    assert_eq!(
        lines,
        [
            "POST /apis/apps/v1/namespaces/shop/deployments application/json",
            "PATCH /apis/sluice.dev/v1alpha1/namespaces/shop/releases/web-1/status application/merge-patch+json",
            "PATCH /apis/apps/v1/namespaces/shop/deployments/web application/json-patch+json",
        ]
    );
    for seen in api.seen() {
        assert_eq!(parameters(&seen), ["fieldManager=sluice", "fieldValidation=Strict"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_is_replaced_only_at_its_version_and_only_as_a_whole() {
    let api = with_discovery(|seen| {
        let mut reply = seen.body.clone();
        reply["status"].as_object_mut().unwrap().remove("newField");
        Reaction::Json(200, reply)
    });
    let objects_pruning = objects(&api);
    let object = |status: Value| json!({"metadata": {"name": "web-1", "resourceVersion": "5", "uid": "u"}, "status": status});
    objects_pruning.replace_status(&release(), &object(json!({"step": 1}))).await.unwrap();
    let error = objects_pruning.replace_status(&release(), &object(json!({"step": 1, "newField": {"a": 1}}))).await.unwrap_err();
    assert!(matches!(&error, WriteError::Pruned { fields, .. } if fields == &["status.newField"]), "{error}");
    let error = objects_pruning.replace_status(&release(), &json!({"metadata": {}, "status": {}})).await.unwrap_err();
    assert_eq!(error.reason(), "InvalidName");
    let seen = api.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        (seen[0].method.as_str(), seen[0].path.as_str(), seen[0].query.as_str()),
        ("PUT", "/apis/sluice.dev/v1alpha1/namespaces/shop/releases/web-1/status", "fieldValidation=Strict")
    );

    let strict = with_discovery(|_| {
        status(
            400,
            "BadRequest",
            r#"Release in version "v1alpha1" cannot be handled as a Release: strict decoding error: unknown field "status.a", unknown field "status.b""#,
            json!({"name": "web-1"}),
        )
    });
    let error = objects(&strict).replace_status(&release(), &object(json!({"a": 1}))).await.unwrap_err();
    assert!(matches!(&error, WriteError::Pruned { fields, .. } if fields == &["status.a", "status.b"]), "{error}");
}

#[tokio::test(start_paused = true)]
async fn behind_a_closed_gate_a_write_says_that_nothing_was_sent() {
    let api = echo();
    let client = api.cluster(Gate::closed()).client();
    let objects = Objects::new(client.clone(), Kinds::new(client));
    let error = objects.create(&deployment(), &json!({}), "sluice").await.unwrap_err();
    assert_eq!((error.reason(), error.is_outcome_unknown(), api.seen().len()), ("NotLeader", false, 0));
    objects
        .apply(&deployment(), &json!({}), ApplyOptions { manager: "sluice", dry_run: true, ..ApplyOptions::default() })
        .await
        .unwrap();
}

/// Answers as recorded from real API servers, for an apply unless the case says otherwise.
fn answers() -> Vec<(&'static str, u16, Value, &'static str)> {
    let one = |reason: &str, message: &str, field: &str| json!({"name": "web", "causes": [{"reason": reason, "message": message, "field": field}]});
    let named = || json!({"name": "web"});
    let s = status_value;
    vec![
        (
            "apply: stale resourceVersion",
            409,
            s(
                409,
                "Conflict",
                "Operation cannot be fulfilled on deployments.apps \"web\": the object has been modified; please apply your changes to the latest version and try again",
                named(),
            ),
            "PreconditionFailed",
        ),
        (
            "apply: uid of a missing object",
            409,
            s(
                409,
                "Conflict",
                "Operation cannot be fulfilled on deployments.apps \"web\": uid mismatch: the provided object specified uid u-1, and no existing object was found",
                named(),
            ),
            "PreconditionFailed",
        ),
        (
            "apply: wrong uid",
            422,
            s(
                422,
                "Invalid",
                "Deployment \"web\" is invalid: metadata.uid: Invalid value: \"u-1\": field is immutable",
                one("FieldValueInvalid", "Invalid value: \"u-1\": field is immutable", "metadata.uid"),
            ),
            "PreconditionFailed",
        ),
        (
            "create: with a uid",
            422,
            s(422, "Invalid", "metadata.uid", one("FieldValueInvalid", "Invalid value", "metadata.uid")),
            "Invalid",
        ),
        (
            "json: failed test",
            422,
            s(422, "Invalid", "the server rejected our request due to an error in our request", json!({})),
            "PreconditionFailed",
        ),
        (
            "json: invalid result",
            422,
            s(422, "Invalid", "spec.replicas", one("FieldValueInvalid", "must be >= 0", "spec.replicas")),
            "Invalid",
        ),
        ("merge: no causes", 422, s(422, "Invalid", "the server rejected our request", json!({})), "Invalid"),
        (
            "apply: field of another manager",
            409,
            s(
                409,
                "Conflict",
                "Apply failed with 1 conflict",
                one("FieldManagerConflict", "conflict with \"kubectl-scale\" using apps/v1", ".spec.replicas"),
            ),
            "FieldConflict",
        ),
        ("create: exists", 409, s(409, "AlreadyExists", "deployments.apps \"web\" already exists", named()), "AlreadyExists"),
        (
            "create: being deleted",
            409,
            s(409, "AlreadyExists", "object is being deleted: deployments.apps \"web\" already exists", named()),
            "AlreadyExists",
        ),
        (
            "apply: immutable",
            422,
            s(422, "Invalid", "spec.selector", one("FieldValueInvalid", "Invalid value: …: field is immutable", "spec.selector")),
            "ImmutableField",
        ),
        (
            "apply: immutable ConfigMap",
            422,
            s(
                422,
                "Invalid",
                "data",
                one("FieldValueForbidden", "Forbidden: field is immutable when `immutable` is set", "data"),
            ),
            "ImmutableField",
        ),
        (
            "status: lower epoch",
            422,
            s(
                422,
                "Invalid",
                "Release \"web-1\" is invalid: <nil>: Invalid value: the epoch never falls: this write comes from a deposed leader",
                one("FieldValueInvalid", "Invalid value: the epoch never falls: this write comes from a deposed leader", "<nil>"),
            ),
            "Deposed",
        ),
        (
            "merge: unknown field, strict",
            422,
            s(422, "Invalid", "unknown field", one("FieldValueInvalid", "unknown field \"status.x\"", "status")),
            "Invalid",
        ),
        (
            "apply: unknown field",
            500,
            s(500, "", "failed to create typed patch object: .status.x: field not declared in schema", named()),
            "Invalid",
        ),
        (
            "apply: unknown field, strict",
            400,
            s(400, "BadRequest", "strict decoding error: unknown field \"spec.x\"", named()),
            "Invalid",
        ),
        ("apply: malformed", 400, s(400, "BadRequest", "cannot unmarshal", named()), "RequestRefused"),
        ("apply: not supported", 415, s(415, "UnsupportedMediaType", "no", named()), "RequestRefused"),
        ("apply: no such verb", 405, s(405, "MethodNotAllowed", "no", named()), "RequestRefused"),
        ("apply: no credentials", 401, s(401, "Unauthorized", "Unauthorized", json!({})), "WriteDenied"),
        (
            "apply: RBAC",
            403,
            s(
                403,
                "Forbidden",
                "deployments.apps \"web\" is forbidden: User \"system:serviceaccount:shop:deployer\" cannot patch resource \"deployments\" in API group \"apps\" in the namespace \"shop\"",
                named(),
            ),
            "WriteDenied",
        ),
        (
            "apply: impersonation",
            403,
            s(
                403,
                "Forbidden",
                "serviceaccounts \"deployer\" is forbidden: User \"system:serviceaccount:sluice:sluice\" cannot impersonate resource \"serviceaccounts\" in API group \"\" in the namespace \"shop\"",
                named(),
            ),
            "WriteDenied",
        ),
        (
            "apply: escalation",
            403,
            s(
                403,
                "Forbidden",
                "roles \"x\" is forbidden: user \"a\" (groups=[]) is attempting to grant RBAC permissions not currently held",
                named(),
            ),
            "WriteDenied",
        ),
        (
            "create: quota",
            403,
            s(
                403,
                "Forbidden",
                "pods \"web\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3",
                named(),
            ),
            "QuotaExceeded",
        ),
        (
            "create: Pod Security",
            403,
            s(403, "Forbidden", "pods \"web\" is forbidden: violates PodSecurity \"restricted:latest\"", named()),
            "AdmissionRefused",
        ),
        (
            "apply: webhook, 403",
            403,
            s(
                403,
                "Forbidden",
                "admission webhook \"policy.example\" denied the request: User \"x\" cannot have that",
                json!({}),
            ),
            "AdmissionRefused",
        ),
        (
            "apply: webhook, 400",
            400,
            s(400, "", "admission webhook \"policy.example\" denied the request: no", json!({})),
            "AdmissionRefused",
        ),
        (
            "apply: policy",
            422,
            s(
                422,
                "Invalid",
                "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
                named(),
            ),
            "AdmissionRefused",
        ),
        (
            "create: namespace terminating",
            403,
            s(
                403,
                "Forbidden",
                "configmaps \"web\" is forbidden: unable to create new content in namespace shop because it is being terminated",
                one("NamespaceTerminating", "namespace shop is being terminated", "metadata.namespace"),
            ),
            "NamespaceTerminating",
        ),
        ("status: apply on a missing object", 404, s(404, "NotFound", "deployments.apps \"web\" not found", named()), "NotFound"),
        (
            "create: no such namespace",
            404,
            s(404, "NotFound", "namespaces \"shop\" not found", json!({"name": "shop", "kind": "namespaces"})),
            "NotFound",
        ),
        (
            "apply: resource not served",
            404,
            s(404, "NotFound", "the server could not find the requested resource", json!({})),
            "UnknownKind",
        ),
        (
            "apply: too large",
            413,
            s(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728", json!({})),
            "TooLarge",
        ),
        ("apply: too large for etcd", 500, s(500, "", "etcdserver: request is too large", json!({})), "TooLarge"),
        (
            "apply: too large for gRPC",
            500,
            s(
                500,
                "",
                "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2500000 vs. 2097152)",
                json!({}),
            ),
            "TooLarge",
        ),
        ("apply: slow down", 429, s(429, "TooManyRequests", "too many requests", json!({"retryAfterSeconds": 1})), "Throttled"),
        (
            "apply: webhook down",
            500,
            s(
                500,
                "InternalError",
                "Internal error occurred: failed calling webhook \"a\": context deadline exceeded",
                json!({}),
            ),
            "OutcomeUnknown",
        ),
        (
            "apply: time-out",
            504,
            s(504, "Timeout", "request did not complete within the allotted timeout", json!({})),
            "OutcomeUnknown",
        ),
        ("apply: unavailable", 503, s(503, "ServiceUnavailable", "etcdserver: leader changed", json!({})), "OutcomeUnknown"),
        ("apply: bad gateway", 502, Value::String("<html>".to_owned()), "OutcomeUnknown"),
        ("apply: request time-out", 408, json!({}), "OutcomeUnknown"),
        ("apply: redirect", 302, json!({}), "OutcomeUnknown"),
    ]
}

async fn attempt(objects: &Objects, verb: &str, key: &ObjectKey) -> WriteError {
    let object = json!({"metadata": {"resourceVersion": "1"}, "status": {}});
    match verb {
        "create" => objects.create(key, &object, "sluice").await,
        "json" => objects.json_patch(key, &json!([]), None, "sluice").await,
        "merge" => objects.merge_patch(key, &object, None, "sluice").await,
        "status" => objects.replace_status(key, &object).await,
        _ => objects.apply(key, &object, ApplyOptions { manager: "sluice", ..ApplyOptions::default() }).await,
    }
    .unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn every_answer_is_classified_by_its_cause_and_nothing_is_sent_again() {
    for (case, code, body, reason) in answers() {
        let api = with_discovery(move |_| Reaction::Json(code, body.clone()));
        let error = attempt(&objects(&api), case.split_once(':').unwrap().0, &deployment()).await;
        assert_eq!(error.reason(), reason, "{case}: {error:?}");
        assert_eq!(error.is_outcome_unknown(), reason == "OutcomeUnknown", "{case}");
        assert_eq!(api.seen().len(), 1, "{case}");
        assert!(error.message().contains("web"), "{case}: {error}");
    }
    for reaction in [|| Reaction::Hang, || Reaction::Broken, || Reaction::SilentBody, || Reaction::Text(200, "{".to_owned())] {
        let api = with_discovery(move |_| reaction());
        let error = attempt(&objects(&api), "apply", &deployment()).await;
        assert!(error.is_outcome_unknown(), "{error}");
        assert_eq!(api.seen().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn details_of_a_refusal_are_kept() {
    let find = |wanted: &str| answers().into_iter().find(|(case, ..)| *case == wanted).unwrap();
    let of = async |case: &str| {
        let (_, code, body, _) = find(case);
        let api = with_discovery(move |_| Reaction::Json(code, body.clone()));
        attempt(&objects(&api), case.split_once(':').unwrap().0, &deployment()).await
    };
    let error = of("apply: field of another manager").await;
    assert_eq!(
        error.to_string(),
        "fields of Deployment shop/web belong to others: .spec.replicas (\"kubectl-scale\" using apps/v1)"
    );
    assert!(matches!(of("create: being deleted").await, WriteError::AlreadyExists { deleting: true, .. }));
    assert!(matches!(of("create: exists").await, WriteError::AlreadyExists { deleting: false, .. }));
    assert!(matches!(of("apply: immutable").await, WriteError::Refused { causes, .. } if causes[0].field == "spec.selector"));
    assert!(
        matches!(of("apply: slow down").await, WriteError::Throttled { retry_after: Some(after), .. } if after == Duration::from_secs(1))
    );
    let api = with_discovery(|_| Reaction::WithHeader(429, "retry-after", "86400", json!({})));
    let error = attempt(&objects(&api), "apply", &deployment()).await;
    assert!(
        matches!(error, WriteError::Throttled { retry_after: Some(after), .. } if after == Duration::from_secs(60)),
        "no answer stalls a release for long"
    );
}

#[tokio::test(start_paused = true)]
async fn no_message_about_a_secret_quotes_its_data_and_none_is_long() {
    let planted = "planted-value";
    for code in [400, 403, 404, 409, 422, 429, 500, 503] {
        let causes = json!({"name": "db", "kind": "secrets", "causes": [{"reason": "FieldValueInvalid", "field": "data[k]", "message": format!("Invalid value: {planted}")}]});
        let body =
            status_value(code, "Invalid", &format!("Secret \"db\" is invalid: data[k]: Invalid value: \"{planted}\""), causes);
        let api = with_discovery(move |_| Reaction::Json(code, body.clone()));
        for verb in ["apply", "create", "merge", "json"] {
            let error = attempt(&objects(&api), verb, &secret()).await;
            assert!(!format!("{error} {error:?} {}", error.message()).contains(planted), "{code} {verb}: {error:?}");
        }
        if code != 404 {
            let error = objects(&api).get(&secret()).await.unwrap_err();
            assert!(!format!("{error} {error:?}").contains(planted), "{code}: {error:?}");
        }
    }
    let long = "x".repeat(100_000);
    let api = with_discovery(move |_| status(422, "Invalid", &long, json!({"causes": [{"field": long, "message": long}]})));
    let error = attempt(&objects(&api), "apply", &deployment()).await;
    assert!(error.message().len() <= MESSAGE_MAX_BYTES && format!("{error:?}").len() < 8 * MESSAGE_MAX_BYTES);
}
