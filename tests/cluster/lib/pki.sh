# shellcheck shell=bash
# Certificates and kubeconfigs; valid for a month, since a test cluster lives for minutes.

certificates() (
  cd "$run/pki"
  local name subject sans
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.crt -subj /CN=sluice-test-ca -days 30 2>/dev/null
  openssl genrsa -out sa.key 2048 2>/dev/null
  openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
  while IFS='|' read -r name subject sans; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$name.key" -out "$name.csr" -subj "$subject" 2>/dev/null
    openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -out "$name.crt" -days 30 -extfile <(echo "subjectAltName=$sans") 2>/dev/null
    kubeconfig "$name"
  done <<T
apiserver|/CN=kube-apiserver|DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:$node_address,IP:10.96.0.1
admin|/O=system:masters/CN=admin|DNS:localhost
kubelet|/O=system:nodes/CN=system:node:node|DNS:node,IP:$node_address,IP:127.0.0.1
kube-controller-manager|/CN=system:kube-controller-manager|DNS:localhost
kube-scheduler|/CN=system:kube-scheduler|DNS:localhost
kube-proxy|/CN=system:kube-proxy|DNS:localhost
T
)

kubeconfig() {
  cat >"$run/$1.kubeconfig" <<Y
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: $1}}]
clusters: [{name: test, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
Y
}
