# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here is used by the scripts that source it
# Settings and functions that the scripts of this folder share. Sourced, never run.
#
# Exit codes of every script: 0 done, 1 an error, 2 wrong usage, 3 cannot run on this machine (one line says why).

# Daemons and packages live in sbin, which is not in everybody's PATH.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd -- "$here/../.." && pwd)

cache=${FAIRLEAD_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or FAIRLEAD_CACHE}/.cache}/fairlead}
run=${FAIRLEAD_CLUSTER:-$cache/cluster}
pki=$run/pki
logs=$run/log
kubeconfig=$run/kubeconfig

bridge=kubebr0
machine_ip=10.89.0.1
machine_net=10.89.0.0/24
service_net=10.96.0.0/16
service_ip=10.96.0.1
dns_ip=10.96.0.10
pod_net=10.244.0.0/16

# What the container runtime and the kubelet hang processes into, where it exists (cgroup v1).
hierarchies=(cpu cpuacct cpuset memory devices freezer blkio pids systemd)
# The kubelet writes these for the whole machine, whatever namespace it runs in.
sysctls=(vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes)

say() { printf 'cluster: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
usage() { printf 'usage: %s\n' "$*" >&2; exit 2; }
cannot() { say "cannot run here: $*"; exit 3; }

node_ip() { printf '10.89.0.%d' "$((10 + $1))"; }
node_pods() { printf '10.244.%d.0/24' "$1"; }
node_netns() { printf 'kube-n%d' "$1"; }

# lock NAME WHAT: holds an exclusive lock on descriptor 9 until the script ends. WHAT tells who waits what for.
lock() {
  mkdir -p "$cache"
  exec 9>"$cache/$1.lock"
  flock -n 9 && return
  say "$2 is running already: waiting for it to end"
  flock 9
}

# wait_for SECONDS WHAT COMMAND...: polls COMMAND until it succeeds.
wait_for() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || { say "timed out waiting for $what"; return 1; }
    sleep 0.2
  done
}

# --- what was built: one folder per key, so a changed version or flag never meets an old file ---

kube_version=v1.36.3
debian_packages=(etcd-server containerd runc containernetworking-plugins)
kube_names=(kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl)

short_hash() { sha256sum | cut -c1-12; }

# tree_hash PATH...: a hash of names and contents, relative to the repository: equal in every clone. Tests
# change nothing that is built.
tree_hash() {
  (cd "$repository" && find "$@" -name testdata -prune -o -type f ! -name '*_test.go' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) | short_hash
}

# The one set of flags. With -trimpath the build cache is shared only between builds that have all of them in common.
kube_ldflags() {
  local package base=k8s.io/component-base/version client=k8s.io/client-go/pkg/version
  local minor=${kube_version#v1.}
  printf -- '-s -w'
  for package in "$base" "$client"; do
    printf -- ' -X %s.gitVersion=%s -X %s.gitMajor=1' "$package" "$kube_version" "$package"
    printf -- ' -X %s.gitMinor=%s -X %s.gitTreeState=clean' "$package" "${minor%%.*}" "$package"
  done
  printf -- ' -X %s.gitCommit=0000000 -X %s.buildDate=1970-01-01T00:00:00Z' "$base" "$base"
}
go_environment=(CGO_ENABLED=0 "GOFLAGS=-buildvcs=false -modcacherw" GOTOOLCHAIN=local GOWORK=off)
go_flags=(-trimpath -gcflags=all=-dwarf=false)

# find_folders sets kube, coredns, debian, tools and assets: the folders that hold, or will hold, what is built.
find_folders() {
  command -v go >/dev/null || die "go is not in PATH"
  local compiler
  compiler="$(cd "$here/kube" && env "${go_environment[@]}" go env GOVERSION GOOS GOARCH | tr '\n' ' ') ${go_flags[*]}"
  kube=$cache/kube-$kube_version-$(printf '%s %s %s' "$compiler" "$(kube_ldflags)" "$(tree_hash hack/cluster/kube)" | short_hash)
  coredns=$cache/coredns-$(printf '%s %s' "$compiler" "$(tree_hash hack/cluster/coredns)" | short_hash)
  # Debian's point releases move the versions: which ones were taken stands in the folder's file "versions".
  # shellcheck source=/dev/null
  debian=$cache/debian-$(. /etc/os-release 2>/dev/null; printf '%s %s %s' "${ID:-} ${VERSION_ID:-}" "$(uname -m)" "${debian_packages[*]}" | short_hash)
  tools=$cache/tools-$(printf '%s %s %s' "$compiler" "$coredns" "$(tree_hash hack/image hack/cluster/certs hack/cluster/pause)" | short_hash)
  assets=$cache/envtest-$(printf '%s %s' "$kube" "$debian" | short_hash)
}

# --- a running cluster ---

# use_cluster reads what up wrote: kube, debian, tools (folders) and nodes (their number). kubectl is in PATH from here on.
use_cluster() {
  [[ -f $run/env ]] || die "the cluster is not up (hack/cluster/up)"
  # shellcheck source=/dev/null
  . "$run/env"
  reach_directly
  export KUBECONFIG=$kubeconfig PATH="$kube:$debian/usr/bin:$debian/usr/sbin:$PATH"
}

# An HTTP proxy of the environment must not stand between the parts of a cluster on one machine.
reach_directly() { unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY; }

ready_nodes() { kubectl get nodes --no-headers --request-timeout=5s 2>/dev/null | awk '$2 == "Ready"' | wc -l; }
# shellcheck disable=SC2154 # nodes comes from the file that use_cluster reads
all_nodes_ready() { [[ $(ready_nodes) == "$nodes" ]]; }
healthy() { kubectl get --raw /readyz --request-timeout=5s >/dev/null 2>&1 && all_nodes_ready; }

# make_cgroup PATH: in every hierarchy. A new cpuset is empty and takes no process until its parent's values are copied down.
make_cgroup() {
  local hierarchy part parent file
  for hierarchy in "${hierarchies[@]}"; do
    parent=/sys/fs/cgroup/$hierarchy
    [[ -d $parent ]] || continue
    for part in ${1//\// }; do
      mkdir -p "$parent/$part"
      if [[ $hierarchy == cpuset ]]; then
        for file in cpuset.cpus cpuset.mems; do
          [[ -n $(<"$parent/$part/$file") ]] || cat "$parent/$file" >"$parent/$part/$file"
        done
      fi
      parent=$parent/$part
    done
  done
}

# join_cgroup PATH: moves the calling shell, and so all it starts, where down will find it.
join_cgroup() {
  local hierarchy
  for hierarchy in "${hierarchies[@]}"; do
    [[ ! -d /sys/fs/cgroup/$hierarchy/$1 ]] || echo "$BASHPID" >"/sys/fs/cgroup/$hierarchy/$1/cgroup.procs"
  done
}

# start NAME CGROUP COMMAND...: a daemon in a cgroup, its log in $logs/NAME.log and its pid in $run/NAME.pid. It inherits no
# lock (9), terminal or pipe (8, which up opens) of the caller, who would else wait for it for ever.
start() {
  local name=$1 cgroup=$2
  shift 2
  (
    exec 8>&- 9>&-
    join_cgroup "$cgroup"
    exec setsid "$@"
  ) </dev/null >>"$logs/$name.log" 2>&1 &
  echo "$!" >"$run/$name.pid"
  disown "$!" # its end is nothing for the shell to report
}

# kube_cgroups: the top of our cgroups in every hierarchy, also the unified one, where only the container runtime makes any.
kube_cgroups() { find /sys/fs/cgroup -mindepth 2 -maxdepth 2 -name kube -type d 2>/dev/null || true; }

# cluster_processes: the pids below the cgroup /kube, children and container shims included. The only way a process is found
# to be ended: a pid file may be old, and a name may be somebody else's.
cluster_processes() {
  local folders
  mapfile -t folders < <(kube_cgroups)
  # A cgroup may vanish while it is read.
  ((${#folders[@]} == 0)) || { find "${folders[@]}" -name cgroup.procs -exec cat {} + 2>/dev/null || true; } | sort -un
}

# daemon_pid NAME: the pid of a daemon that runs, nothing otherwise.
daemon_pid() {
  local pid
  pid=$(cat "$run/$1.pid" 2>/dev/null) || return 1
  cluster_processes | grep -x "$pid"
}

# machine_state: what a cluster may have changed on the machine and nobody else changes meanwhile. up keeps it, and
# verify-clean compares. Other people's named network namespaces come and go: /run/netns is left out.
machine_state() {
  sysctl "${sysctls[@]}" 2>/dev/null | sed 's/^/sysctl /' || true
  ip rule show | sed 's/^/rule /'
  ip -4 route show table all | grep -v '^broadcast\|^local' | sed 's/^/route /'
  nft --stateless list ruleset 2>/dev/null | sed 's/^/nft /' || true
  awk '{print "mount", $5}' /proc/self/mountinfo | grep -v ' /run/netns' | LC_ALL=C sort
  local folder
  for folder in "${mount_points[@]}"; do [[ ! -d $folder ]] || echo "folder $folder"; done
}

# Where the daemons of a node insist to write; each node mounts its own folders there, in its own mount namespace.
mount_points=(/var/lib/kubelet /var/log/pods /var/log/containers /var/lib/cni)
