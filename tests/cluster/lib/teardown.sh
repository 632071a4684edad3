# shellcheck shell=bash
# Takes the cluster away and checks that nothing of it is left, whatever state it was in.

down() {
  local pid namespace
  [ -d "$run" ] || { left_behind; return; }
  namespace=$(cat "$run/init.ready" 2>/dev/null || true)
  for pid in $(init_processes) $(processes_in "$namespace"); do kill -9 "$pid" 2>/dev/null || true; done
  # a killed process still closes files and flushes; its mounts and network go with the last one
  patiently no_processes "$namespace" || true
  awk -v under="$run/" 'index($2, under) == 1 {print $2}' /proc/mounts | sort -r | xargs -r umount -l
  patiently remove_cgroups || true
  if [ -e "$run/made-directories" ]; then xargs -r rmdir --ignore-fail-on-non-empty <"$run/made-directories" 2>/dev/null || true; fi
  [ -n "$(mounts_left)" ] || rm -rf --one-file-system "$run" || true
  rmdir --ignore-fail-on-non-empty "$cluster_dir/run" 2>/dev/null || true
  left_behind "$namespace"
}

patiently() { for _ in $(seq 200); do "$@" && return; sleep 0.1; done; return 1; } # for 20 s

init_processes() { # the first process of the namespaces and the one that waits for it, also when no file names them
  # whole words only: another program that merely mentions the directory is none of ours
  grep -lzxF -- "$run" /proc/[0-9]*/cmdline 2>/dev/null | xargs -r grep -lzE '/cluster/lib/init$' 2>/dev/null | cut -d/ -f3 || true
}

processes_in() { # processes_in PID_NAMESPACE, and those in cgroups of its pods
  { [ -z "$1" ] || find /proc -maxdepth 3 -path '/proc/[0-9]*/ns/pid' -lname "$1" 2>/dev/null
    grep -lE ":/$cgroup(/|\$)" /proc/[0-9]*/cgroup 2>/dev/null; } | cut -d/ -f3 || true
}

no_processes() { [ -z "$(init_processes)$(processes_in "$1")" ]; }
mounts_left() { awk -v under="$run/" 'index($2, under) == 1 {print $2}' /proc/mounts; }
cgroups_left() { find /sys/fs/cgroup -depth -type d \( -path "*/$cgroup" -o -path "*/$cgroup/*" \) 2>/dev/null || true; }
remove_cgroups() { cgroups_left | xargs -r rmdir 2>/dev/null; [ -z "$(cgroups_left)" ]; }

left_behind() { # left_behind [PID_NAMESPACE]: says what is still there
  local left process
  left=$(
    for process in $(init_processes) $(processes_in "${1:-}"); do echo "process $process: $(tr '\0' ' ' <"/proc/$process/cmdline" 2>/dev/null)"; done
    mounts_left | sed 's/^/mount /'
    cgroups_left | sed 's/^/cgroup /'
    [ ! -e "$run" ] || echo "directory $run"
  )
  [ -z "$left" ] || { say "still there after teardown:"; printf '%s\n' "$left" >&2; return 1; }
}
