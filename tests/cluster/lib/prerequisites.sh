# shellcheck shell=bash
# Installs what the build and the cluster need and the machine lacks.

# command (or file) : Debian package
cluster_needs='
containerd:containerd
ctr:containerd
runc:runc
/usr/lib/cni/bridge:containernetworking-plugins
iptables:iptables
ip:iproute2
nsenter:util-linux
sysctl:procps
openssl:openssl
git:git
python3:python3
curl:curl
/etc/ssl/certs/ca-certificates.crt:ca-certificates
gcc:gcc
/usr/include/stdio.h:libc6-dev
'
rust_needs='
gcc:gcc
g++:g++
make:make
cmake:cmake
perl:perl
pkg-config:pkg-config
git:git
curl:curl
/etc/ssl/certs/ca-certificates.crt:ca-certificates
'

install_missing() { # install_missing NEEDS
  local need what package missing=()
  for need in $1; do
    what=${need%%:*} package=${need#*:}
    if [[ $what == /* ]]; then [ -e "$what" ] && continue; else command -v "$what" >/dev/null && continue; fi
    [[ " ${missing[*]} " == *" $package "* ]] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "this machine lacks ${missing[*]} and has no apt-get to install them with"
  [ "$(id -u)" = 0 ] || die "this machine lacks ${missing[*]}: run as root, or first: apt-get install ${missing[*]}"
  say "installing Debian packages: ${missing[*]}"
  local log; log=$(mktemp)
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null \
    || { tail -20 "$log" >&2; rm -f "$log"; die "apt-get could not install ${missing[*]}"; }
  rm -f "$log"
}

version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -1)" = "$2" ]; } # version_at_least HAVE WANT

require_go() {
  command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
  command -v go >/dev/null || install_missing go:golang-go
  local have; have=$(go env GOVERSION); have=${have#go}
  # from 1.21 on, Go fetches the toolchain that a module asks for, unless it was told not to
  version_at_least "$have" $go_version_min || { version_at_least "$have" 1.21 && [ "$(go env GOTOOLCHAIN)" != local ]; } \
    || die "Go $go_version_min or newer is needed to build the test cluster, this machine has $have: https://go.dev/dl/"
}

require_rust() { # in the checkout, so that rust-toolchain.toml decides
  install_missing "$rust_needs"
  command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
  if ! command -v cargo >/dev/null && ! command -v rustup >/dev/null; then
    say "no cargo on this machine: installing rustup"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain none >&2 </dev/null \
      || apt-get install -y rustup >/dev/null 2>&1 </dev/null || die "rustup could not be had: install Rust $(rust_channel) from https://rustup.rs and run again"
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
  fi
  cargo --version >/dev/null 2>&1 && return
  say "installing Rust $(rust_channel)"
  rustup toolchain install "$(rust_channel)" --profile minimal --component rustfmt,clippy >&2 </dev/null \
    || die "Rust $(rust_channel) could not be had: rustup toolchain install $(rust_channel)"
}
rust_channel() { sed -n 's/^channel *= *"\(.*\)"/\1/p' "$repository/rust-toolchain.toml"; }
