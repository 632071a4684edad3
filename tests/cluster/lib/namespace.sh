# shellcheck shell=bash
# The cluster's own network, mount and process namespaces, and the programs that run in them.
# The process namespace is what makes teardown certain: when its first process is killed, the kernel kills all others,
# pods included, and with the last of them go the mounts, the network devices and the iptables rules.

namespace_up() {
  mkdir -p "$run"/{log,pki,etcd,cni,prometheus,git,var/log,var/lib/kubelet,var/lib/cni,var/lib/containerd}
  [ "$(stat -f -c %T "$run")" != tmpfs ] || [ "$(df --output=avail -m "$run" | tail -1)" -gt 2000 ] || die "$run is a small tmpfs: set SLUICE_CLUSTER_DIR"
  case $run in /run/*|/var/run/*|/proc/*|/sys/*) die "SLUICE_CLUSTER_DIR must not be under /run: the cluster has a /run of its own" ;; esac
  # a session of its own: Ctrl-C in the caller's terminal must reach the caller's trap, not the cluster
  setsid --fork unshare --pid --net --mount --fork --kill-child bash "$here/lib/init" "$run" "$cgroup" "$node_address" >"$run/log/init.log" 2>&1 </dev/null 7>&- 8>&- 9>&-
  await "the namespace" test -e "$run/init.ready"
}

# a test inside calls the same script, for outages and images
we_are_inside() { [ -s "$run/init.ready" ] && [ "$(readlink /proc/self/ns/pid)" = "$(<"$run/init.ready")" ]; }
namespace_alive() {
  [ -s "$run/init.ready" ] || return 1
  we_are_inside || [ "$(readlink "/proc/$(<"$run/init.pid")/ns/pid_for_children")" = "$(<"$run/init.ready")" ]
}

inside() { if we_are_inside; then "$@"; else (enter_namespace "$@"); fi; }
enter_namespace() { # replaces this process
  if we_are_inside; then exec "$@"; fi
  exec nsenter --target "$(<"$run/init.pid")" --pid --mount --net -- env --chdir="$PWD" "$@"
}

start() { # start NAME CMD...: a daemon in the namespace; through setsid --fork, since some end with the process that started them
  local name=$1; shift
  printf '%s\0' "$@" >"$run/$name.command"
  # shellcheck disable=SC2016
  inside setsid --fork bash -c 'echo $$ >"$0.pid"; exec "$@"' "$run/$name" "$@" >>"$run/log/$name.log" 2>&1 </dev/null 7>&- 8>&- 9>&-
  [[ " ${daemons[*]} " == *" $name "* ]] || die "$name is not in the list of daemons"
}
# in the order in which they start
daemons=(etcd apiserver kube-controller-manager kube-scheduler containerd kubelet kube-proxy contour envoy prometheus git)
outages=(prometheus git)   # what a test may stop and start again

start_again() {
  local command; mapfile -d '' command <"$run/$1.command"
  start "$1" "${command[@]}"
}

running() { [ -s "$run/$1.pid" ] && inside kill -0 "$(<"$run/$1.pid")" 2>/dev/null; }

stop() { # stop NAME: ask, wait up to 5 s, then insist
  running "$1" || return 0
  local pid; pid=$(<"$run/$1.pid")
  inside kill "$pid"
  for _ in $(seq 50); do running "$1" || break; sleep 0.1; done
  inside kill -9 "$pid" 2>/dev/null || true
  rm -f "$run/$1.pid"
}

listening() { inside bash -c "exec 3<>/dev/tcp/$1/$2"; } # listening ADDRESS PORT

await() { # await WHAT COMMAND...: up to 60 s
  local what=$1 last; last=$(($(date +%s) + 60)); shift
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt $last ] || die "$what did not become ready in 60 s; see $run/log"
    sleep 0.1
  done
}

kubectl_() { KUBECONFIG=$run/admin.kubeconfig inside "$bin/kubectl" --request-timeout=20s "$@"; }
