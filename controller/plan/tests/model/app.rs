//! What Git says: applications of a Deployment, a Service, a route and a Rollout, and other objects beside them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sluice_plan::{Id, Render};

pub const NAMESPACE: &str = "shop";

/// One application.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    pub name: String,
    pub image: String,
    pub replicas: i64,
    /// The value in its ConfigMap; `None`: it has none.
    pub config: Option<String>,
    /// Weight, hold in seconds, approval.
    pub steps: Vec<(i32, i64, bool)>,
    pub bake_s: i64,
    pub has_rollout: bool,
    /// Whether an autoscaler targets it; then its replicas are not in Git.
    pub is_autoscaled: bool,
    pub deadline_s: i64,
    pub rolls_back_on_no_data: bool,
}

impl App {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            image: format!("{name}:1"),
            replicas: 4,
            config: None,
            steps: vec![(5, 10, false), (25, 10, false), (50, 10, false)],
            bake_s: 10,
            has_rollout: true,
            is_autoscaled: false,
            deadline_s: 60,
            rolls_back_on_no_data: false,
        }
    }

    fn objects(&self) -> Vec<Value> {
        let name = &self.name;
        let meta = json!({"name": name, "namespace": NAMESPACE});
        let labels = json!({"app": name});
        let mut container = json!({"name": "main", "image": self.image});
        if self.config.is_some() {
            container["envFrom"] = json!([{"configMapRef": {"name": name}}]);
        }
        let mut deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        });
        if !self.is_autoscaled {
            deployment["spec"]["replicas"] = json!(self.replicas);
        }
        let mut objects = vec![
            deployment,
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": meta,
                "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]},
            }),
        ];
        if let Some(config) = &self.config {
            objects.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"greeting": config}}));
        }
        if self.is_autoscaled {
            objects.push(json!({
                "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta,
                "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}, "minReplicas": 2, "maxReplicas": 10},
            }));
        }
        if self.has_rollout {
            objects.push(json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": meta,
                "spec": {
                    "parentRefs": [{"name": "gateway"}],
                    "rules": [{"backendRefs": [{"name": name, "port": 80}]}],
                },
            }));
            objects.push(self.rollout());
        }
        objects
    }

    fn rollout(&self) -> Value {
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|(weight, hold_s, approval)| json!({"weight": weight, "hold": format!("{hold_s}s"), "approval": approval}))
            .collect();
        json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": self.name, "namespace": NAMESPACE},
            "spec": {
                "workloadRef": {"kind": "Deployment", "name": self.name},
                "strategy": {"canary": {
                    "service": self.name, "routes": [{"kind": "HTTPRoute", "name": self.name}],
                    "steps": steps, "bake": format!("{}s", self.bake_s),
                }},
                "analysis": {
                    "metrics": [{
                        "name": "errors", "query": "errors{service=\"{{canary.service}}\"}", "interval": "2s",
                        "threshold": {"max": 0.01}, "noDataLimit": "1m",
                    }],
                    "onNoData": if self.rolls_back_on_no_data { "Rollback" } else { "Hold" },
                },
                "progressDeadline": format!("{}s", self.deadline_s),
            },
        })
    }
}

/// The tree at the tip of the branch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Git {
    pub apps: BTreeMap<String, App>,
    /// Kind and name of other objects, with the value that each holds.
    pub others: BTreeMap<(String, String), String>,
}

impl Git {
    pub fn of(app: App) -> Self {
        Self { apps: BTreeMap::from([(app.name.clone(), app)]), others: BTreeMap::new() }
    }

    pub fn app(&mut self, name: &str) -> &mut App {
        self.apps.get_mut(name).unwrap()
    }

    pub fn render(&self) -> Render {
        let apps = self.apps.values().flat_map(App::objects);
        let others = self.others.iter().map(|((kind, name), value)| match kind.as_str() {
            "ConfigMap" => {
                json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "data": {"value": value}})
            }
            "PersistentVolumeClaim" => json!({
                "apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"resources": {"requests": {"storage": value}}},
            }),
            other => panic!("no {other} in this model"),
        });
        Render::from_objects(apps.chain(others)).unwrap()
    }
}

/// A commit's full name.
pub fn sha(name: &str) -> String {
    format!("{name:0<40}")
}

pub fn id(kind: &str, name: &str) -> Id {
    let group = match kind {
        "Deployment" | "ReplicaSet" => "apps",
        "HTTPRoute" => "gateway.networking.k8s.io",
        "Rollout" | "GitSync" | "Release" => "sluice.dev",
        "HorizontalPodAutoscaler" => "autoscaling",
        _ => "",
    };
    Id::new(group, kind, NAMESPACE, name)
}
