# shellcheck shell=bash
# etcd, API server, controller manager and scheduler.

control_plane() {
  certificates
  cp "$here/manifests/audit-policy.yaml" "$run/audit-policy.yaml"
  start etcd "$bin/etcd" --data-dir "$run/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
  start apiserver "$bin/kubernetes" kube-apiserver --etcd-servers=http://127.0.0.1:2379 --advertise-address=$node_address --secure-port=6443 \
    --client-ca-file="$run/pki/ca.crt" --tls-cert-file="$run/pki/apiserver.crt" --tls-private-key-file="$run/pki/apiserver.key" \
    --kubelet-client-certificate="$run/pki/admin.crt" --kubelet-client-key="$run/pki/admin.key" --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$run/pki/sa.pub" --service-account-signing-key-file="$run/pki/sa.key" \
    --service-cluster-ip-range=$service_cidr --authorization-mode=Node,RBAC --allow-privileged=true --enable-admission-plugins=NodeRestriction \
    --audit-policy-file="$run/audit-policy.yaml" --audit-log-path="$run/log/audit.log"
  await "the API server" kubectl_ get --raw /readyz
  # request rates above the defaults, and short periods: a test should wait for Sluice, not for these
  start kube-controller-manager "$bin/kubernetes" kube-controller-manager --kubeconfig="$run/kube-controller-manager.kubeconfig" --leader-elect=false \
    --root-ca-file="$run/pki/ca.crt" --service-account-private-key-file="$run/pki/sa.key" --use-service-account-credentials \
    --cluster-cidr=$pod_cidr --allocate-node-cidrs=true --bind-address=127.0.0.1 \
    --kube-api-qps=200 --kube-api-burst=400 --horizontal-pod-autoscaler-sync-period=2s
  start kube-scheduler "$bin/kubernetes" kube-scheduler --kubeconfig="$run/kube-scheduler.kubeconfig" --leader-elect=false --bind-address=127.0.0.1
}
