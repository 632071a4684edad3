# shellcheck shell=bash
# The only node: containerd, kubelet, kube-proxy, and cluster DNS on it.

node() {
  local snapshotter=overlayfs
  [ "$(stat -f -c %T "$run")" != overlayfs ] || snapshotter=native   # an overlay cannot be laid on an overlay
  cat >"$run/cni/10-test.conflist" <<J
{"cniVersion":"0.4.0","name":"test","plugins":[{"type":"bridge","bridge":"cni0","isDefaultGateway":true,"hairpinMode":true,"ipam":{"type":"host-local","ranges":[[{"subnet":"$node_pod_cidr"}]]}},{"type":"loopback"}]}
J
  # restrict_oom_score_adj: a sandboxed root has no CAP_SYS_RESOURCE, and runc then cannot lower oom_score_adj
  cat >"$run/containerd.toml" <<T
version = 2
[plugins."io.containerd.internal.v1.opt"]
  path = "$run/var/lib/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.local/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$snapshotter"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$run/cni"
T
  start containerd containerd -c "$run/containerd.toml"
  await containerd inside ctr version
  {
    image registry.local/pause:1 /pause "$bin/pause=/pause"
    image registry.local/podinfo:6 "/podinfo --port=9898" "$bin/podinfo=/podinfo" dir:1777=/tmp
    image registry.local/coredns:1 "/coredns -conf /etc/coredns/Corefile" "$bin/coredns=/coredns"
  } >/dev/null
  cat >"$run/kubelet.yaml" <<K
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $run/pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
failCgroupV1: false
failSwapOn: false
maxPods: 240
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDNS: [$dns_address]
clusterDomain: cluster.local
resolvConf: ""
tlsCertFile: $run/pki/kubelet.crt
tlsPrivateKeyFile: $run/pki/kubelet.key
crashLoopBackOff: {maxContainerRestartPeriod: 5s}
evictionHard: {nodefs.available: 1%, imagefs.available: 1%, memory.available: 100Mi}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
K
  start kubelet "$bin/kubernetes" kubelet --config="$run/kubelet.yaml" --kubeconfig="$run/kubelet.kubeconfig" --hostname-override=node --node-ip=$node_address
  cat >"$run/kube-proxy.yaml" <<K
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: $pod_cidr
hostnameOverride: node
clientConnection: {kubeconfig: $run/kube-proxy.kubeconfig}
conntrack: {maxPerCore: 0, min: 0}
bindAddress: 127.0.0.1
K
  start kube-proxy "$bin/kubernetes" kube-proxy --config="$run/kube-proxy.yaml"
  kubectl_ apply -f "$here/manifests/coredns.yaml" >/dev/null
}

image() { # image REF "ENTRYPOINT ARG..." SOURCE=/dest...: one layer, loaded into the node unless it is there already
  local archive known digest
  archive=$(mktemp --suffix=.tar --tmpdir="$run")
  digest=$("$here/oci-image" "$1" "$archive" "${@:2}")
  known=$(inside ctr -n k8s.io images ls "name==$1" | awk 'NR > 1 {print $3}')
  if [ "$known" != "$digest" ]; then inside ctr -n k8s.io images import "$archive" >/dev/null; fi
  rm -f "$archive"
  echo "$1 $digest"
}
