# shellcheck shell=bash
# What lives beside the node: the Gateway API gateway, Prometheus, and a Git server.

gateway() {
  kubectl_ apply --server-side -f "$bin/contour-manifests/00-crds.yaml" -f "$bin/contour-manifests/01-crds.yaml" >/dev/null
  kubectl_ create namespace projectcontour >/dev/null
  await "the Gateway API" kubectl_ apply -f "$bin/contour-manifests/01-gatewayclass.yaml" -f "$bin/contour-manifests/02-gateway.yaml"
  printf 'gateway:\n  gatewayRef: {name: contour, namespace: projectcontour}\n' >"$run/contour.yaml"
  start contour env CONTOUR_NAMESPACE=projectcontour "$bin/contour" serve --kubeconfig "$run/admin.kubeconfig" --insecure --xds-address=127.0.0.1 --xds-port=8001 \
    --disable-leader-election --config-path="$run/contour.yaml" --health-address=127.0.0.1 --http-address=127.0.0.1
  "$bin/contour" bootstrap --xds-address=127.0.0.1 --xds-port=8001 --xds-resource-version=v3 --admin-address=/run/envoy-admin.sock "$run/envoy.json" 2>"$run/log/contour-bootstrap.log"
  # its listener for requests opens with the first route
  start envoy "$bin/envoy" -c "$run/envoy.json" --service-cluster projectcontour --service-node envoy-1 --log-level warn --concurrency 1
}

monitoring() {
  sed -e "s|@KUBECONFIG@|$run/admin.kubeconfig|" -e "s|@ENVOY@|127.0.0.1:$envoy_metrics_port|" "$here/manifests/prometheus-config.yaml" >"$run/prometheus.yaml"
  start prometheus "$bin/prometheus" --config.file="$run/prometheus.yaml" --storage.tsdb.path="$run/prometheus" --web.listen-address=$node_address:$prometheus_port --log.level=warn
  kubectl_ apply -f "$here/manifests/prometheus.yaml" >/dev/null
}

git_service() {
  echo "sluice:$(openssl rand -hex 16)" >"$run/git-credentials"
  chmod 600 "$run/git-credentials"
  cp "$here/git-server" "$run/git-server"   # the checkout may change or go away while the cluster runs
  start git python3 "$run/git-server" --listen $node_address:$git_port --repositories "$run/git" --credentials "$run/git-credentials"
  kubectl_ apply -f "$here/manifests/git.yaml" >/dev/null
}

git_repo() { # git_repo NAME: an empty bare repository, reachable through every door of the server
  [[ ${1:-} =~ ^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)?$ ]] || die "a repository's name has small letters, digits, '.', '_' and '-', and one '/' at most: '${1:-}'"
  local path=$run/git/${1%.git}.git
  [ -d "$path" ] || { git init -q --bare --initial-branch=main "$path" && git -C "$path" config http.receivepack true; }
  echo "$path"
}
