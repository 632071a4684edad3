//! The application of a test: podinfo with everything that a rollout touches, small and quick.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The port of podinfo, and of its Service.
const POD_PORT: i64 = 9898;
pub const SERVICE_PORT: i64 = 80;

/// A metric that fails a canary by the share of bad answers that the gateway got from it since it began. The gateway counts by
/// Service, and each attempt has a Service of its own: the counters begin at 0 and need no window.
pub const ERRORS_QUERY: &str = concat!(
    "(sum(envoy_cluster_upstream_rq_xx{envoy_cluster_name=\"{{namespace}}_{{canary.service}}_80\",envoy_response_code_class!=\"2\"}) or vector(0))",
    " / sum(envoy_cluster_upstream_rq_xx{envoy_cluster_name=\"{{namespace}}_{{canary.service}}_80\"})",
);

/// One workload with its Service, route, config and, if it has one, Rollout.
#[derive(Clone, Debug)]
pub struct App {
    pub name: String,
    pub image: String,
    pub replicas: i64,
    /// What answers say: the version as clients see it. It comes from the ConfigMap.
    pub message: String,
    pub args: Vec<String>,
    pub config: BTreeMap<String, String>,
    pub rollout: Option<Rolling>,
    /// An autoscaler with these least and most pods; Git leaves the number of replicas to it.
    pub autoscaler: Option<(i64, i64)>,
    /// `spec.progressDeadlineSeconds` of the Deployment.
    pub progress_deadline_s: i64,
    pub host: String,
}

/// How it is rolled out.
#[derive(Clone, Debug)]
pub struct Rolling {
    /// Weight, seconds, approval.
    pub steps: Vec<(i64, i64, bool)>,
    pub bake_s: i64,
    pub metrics: Vec<Value>,
    pub progress_deadline_s: i64,
}

impl App {
    /// Two pods, one step of 2 s at 50 %, a bake of 1 s, no metric.
    #[must_use]
    pub fn new(name: &str, namespace: &str, image: &str) -> Self {
        Self {
            name: name.to_owned(),
            image: image.to_owned(),
            replicas: 2,
            message: "one".to_owned(),
            args: Vec::new(),
            config: BTreeMap::new(),
            rollout: Some(Rolling { steps: vec![(50, 2, false)], bake_s: 1, metrics: Vec::new(), progress_deadline_s: 60 }),
            autoscaler: None,
            progress_deadline_s: 60,
            host: format!("{name}.{namespace}.test"),
        }
    }

    /// How it is rolled out, to change it.
    ///
    /// An app without a Rollout gets one.
    pub fn rolling(&mut self) -> &mut Rolling {
        self.rollout.get_or_insert_with(|| Rolling {
            steps: vec![(50, 2, false)],
            bake_s: 1,
            metrics: Vec::new(),
            progress_deadline_s: 60,
        })
    }

    /// A third of the answers fail.
    pub fn fail_a_third(&mut self) {
        self.args = vec!["--random-error=true".to_owned()];
    }

    /// The program exits at once.
    pub fn crash(&mut self) {
        self.args = vec!["--no-such-flag".to_owned()];
    }

    /// Judge it by the share of bad answers, at most 5 %.
    pub fn judge_errors(&mut self) {
        self.rolling().metrics = vec![metric("errors", ERRORS_QUERY)];
    }

    /// Its objects.
    #[must_use]
    pub fn objects(&self) -> Vec<Value> {
        let mut objects = vec![self.config_map(), self.deployment(), self.service(), self.route()];
        objects.extend(self.rollout.as_ref().map(|rolling| self.rollout_object(rolling)));
        objects.extend(self.autoscaler.map(|(min, max)| self.hpa(min, max)));
        objects
    }

    fn config_map(&self) -> Value {
        let mut data: Map<String, Value> = self.config.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        data.insert("message".to_owned(), json!(self.message));
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.name}, "data": data})
    }

    fn deployment(&self) -> Value {
        let labels = json!({"app": self.name});
        let mut command = vec![json!(format!("--port={POD_PORT}")), json!("--level=warn")];
        command.extend(self.args.iter().map(|arg| json!(arg)));
        let mut spec = json!({
            "progressDeadlineSeconds": self.progress_deadline_s,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "automountServiceAccountToken": false,
                    "containers": [{
                        "name": "podinfo",
                        "image": self.image,
                        "imagePullPolicy": "IfNotPresent",
                        "args": command,
                        "ports": [{"name": "http", "containerPort": POD_PORT}],
                        "env": [{"name": "PODINFO_UI_MESSAGE", "valueFrom": {"configMapKeyRef": {"name": self.name, "key": "message"}}}],
                        // not over HTTP: random errors must fail requests of users, not probes
                        "readinessProbe": {"tcpSocket": {"port": POD_PORT}, "periodSeconds": 1},
                        "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}},
                    }],
                },
            },
        });
        if self.autoscaler.is_none() {
            spec["replicas"] = json!(self.replicas);
        }
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": self.name}, "spec": spec})
    }

    fn service(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": self.name},
            "spec": {"selector": {"app": self.name}, "ports": [{"name": "http", "port": SERVICE_PORT, "targetPort": "http"}]},
        })
    }

    fn route(&self) -> Value {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": self.name},
            "spec": {
                "parentRefs": [{"name": "contour", "namespace": "projectcontour"}],
                "hostnames": [self.host],
                "rules": [{"backendRefs": [{"name": self.name, "port": SERVICE_PORT}]}],
            },
        })
    }

    fn rollout_object(&self, rolling: &Rolling) -> Value {
        let step = |(weight, hold_s, approval): &(i64, i64, bool)| json!({"weight": weight, "hold": format!("{hold_s}s"), "approval": approval});
        let steps: Vec<Value> = rolling.steps.iter().map(step).collect();
        json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": self.name},
            "spec": {
                "workloadRef": {"kind": "Deployment", "name": self.name},
                "progressDeadline": format!("{}s", rolling.progress_deadline_s),
                "strategy": {"canary": {
                    "service": self.name,
                    "routes": [{"kind": "HTTPRoute", "name": self.name}],
                    "steps": steps,
                    "bake": format!("{}s", rolling.bake_s),
                }},
                "analysis": {"metrics": rolling.metrics},
            },
        })
    }

    fn hpa(&self, min: i64, max: i64) -> Value {
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": self.name},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": self.name},
                "minReplicas": min,
                "maxReplicas": max,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
            },
        })
    }
}

/// A metric that is measured every second and must stay at or below 0.05.
#[must_use]
pub fn metric(name: &str, query: &str) -> Value {
    json!({"name": name, "query": query, "interval": "1s", "threshold": {"max": 0.05}})
}
