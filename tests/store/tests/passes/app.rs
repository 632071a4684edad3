//! The application: what its commits say.

use serde_json::{Value, json};

pub const SHOP: &str = "shop";
pub const REPLICAS: i64 = 4;
/// Pods of this image answer with errors: the metric of their hash is bad.
pub const BAD_IMAGE: &str = "shop:bad";

/// One commit, to be changed as a test needs it.
#[derive(Clone, Debug)]
pub struct Commit {
    pub sha: String,
    pub objects: Vec<Value>,
}

impl Commit {
    /// The whole application with this image.
    pub fn new(number: u32, image: &str) -> Self {
        let objects = vec![config("settings", "a"), service(), route(), deployment(image), rollout()];
        Self { sha: format!("{number:040x}"), objects }
    }

    pub fn object(&mut self, kind: &str) -> &mut Value {
        self.objects.iter_mut().find(|object| object["kind"] == kind).unwrap()
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

pub fn config(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": SHOP}, "data": {"colour": value},
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": SHOP, "namespace": SHOP},
        "spec": {"selector": {"app": SHOP}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

fn route() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": SHOP, "namespace": SHOP},
        "spec": {"parentRefs": [{"name": "gateway"}], "rules": [{"backendRefs": [{"name": SHOP, "port": 80}]}]},
    })
}

fn deployment(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": SHOP, "namespace": SHOP},
        "spec": {
            "replicas": REPLICAS, "selector": {"matchLabels": {"app": SHOP}},
            "template": {
                "metadata": {"labels": {"app": SHOP}},
                "spec": {"containers": [{
                    "name": "app", "image": image, "ports": [{"containerPort": 8080}],
                    "envFrom": [{"configMapRef": {"name": "settings"}}],
                }]},
            },
        },
    })
}

fn rollout() -> Value {
    let metric =
        json!({"name": "errors", "query": "errors{hash=\"{{canary.hash}}\"}", "threshold": {"max": 0.05}, "interval": "2s"});
    json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": SHOP, "namespace": SHOP},
        "spec": {
            "workloadRef": {"kind": "Deployment", "name": SHOP},
            "strategy": {"canary": {
                "service": SHOP, "routes": [{"kind": "HTTPRoute", "name": SHOP}],
                "steps": [{"weight": 25, "hold": "10s"}, {"weight": 50, "hold": "10s"}], "bake": "10s",
            }},
            "analysis": {"metrics": [metric]},
        },
    })
}
