# Where things are and which versions are used. Sourced by every script here.
# shellcheck shell=bash disable=SC2034
# Every name may be overridden, so that several clusters, or several checkouts, do not meet.
export HOME=${HOME:-~}   # some CI runners set none
cluster_dir=${SLUICE_CLUSTER_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/sluice/cluster}
cluster_name=${SLUICE_CLUSTER_NAME:-sluice}
bin=$cluster_dir/bin                   # built once, shared by all clusters
run=$cluster_dir/run/$cluster_name     # everything a running cluster writes; removed by `down`
cgroup=sluice-$cluster_name            # parent of all pods' cgroups, so that teardown finds them

kubernetes_version=v1.36.3
etcd_module=go.etcd.io/etcd/server/v3
podinfo_module=github.com/stefanprodan/podinfo
podinfo_version=v1.8.1-0.20250910200901-e86405a8674e   # podinfo 6.9.2: its tags are not Go module versions
contour_module=github.com/projectcontour/contour
contour_version=v1.33.8
coredns_version=v1.14.7
kustomize_version=v5.8.1               # the newest that builds with Go 1.26
helm_version=v3.22.0
envoy_version=1.40.0
kubectl_minor_min=30                   # the oldest kubectl on PATH that is used instead of building one
go_version_min=1.26                    # go.mod of Kubernetes asks for it

node_address=10.10.0.1                 # the bridge of the network namespace: node, gateway, Prometheus and Git listen on it
pod_cidr=10.20.0.0/16
node_pod_cidr=10.20.0.0/24             # what the controller manager gives the only node
service_cidr=10.96.0.0/16
dns_address=10.96.0.10
gateway_port=8080
envoy_metrics_port=8002
prometheus_port=9090
git_port=8081                          # 8080 of the same address is the gateway; the Service of the Git server says 8080

# Elapsed time goes on counting through the scripts that call one another.
export SLUICE_STARTED_S=${SLUICE_STARTED_S:-$(date +%s)}
say() { printf '[%4d s] %s\n' "$(($(date +%s) - SLUICE_STARTED_S))" "$*" >&2; }
die() { say "ERROR: $*"; exit 1; }
