#!/usr/bin/env bash
# node.sh I: starts containerd, the kubelet and kube-proxy of node I. Run by up, in the node's network namespace and in a mount
# namespace of its own, which lives as long as these daemons do.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
use_cluster

node=n$1
address=$(node_ip "$1")
state=$run/$node
socket=$state/containerd.sock

# Paths that cannot be configured, or that other daemons of the same kind share, get a folder of the node's own. /run comes
# first and is a tmpfs: locks, shim sockets, runc's and mount's state vanish with the node. The kubelet's folder must pass mounts
# on into containers. --no-mtab: mount would else make /run/mount on the machine.
mount_own_folders() {
  mkdir -p "$state"/{kubelet,pods,containers,cni/net.d,cni/cache,volume-plugins}
  mount --no-mtab --make-rprivate /
  mount --no-mtab -t tmpfs -o mode=755,size=64m "fairlead-$node" /run
  mount --no-mtab --bind "$state/kubelet" /var/lib/kubelet
  mount --no-mtab --make-rshared /var/lib/kubelet
  mount --no-mtab --bind "$state/pods" /var/log/pods
  mount --no-mtab --bind "$state/containers" /var/log/containers
  mount --no-mtab --bind "$state/cni/cache" /var/lib/cni
}

# These belong to the network namespace, not to the machine.
set_network() {
  sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
    net.ipv4.conf.all.route_localnet=1
  # Where bridged packets can pass the rules at all, a pod that calls a Service it is itself behind needs it.
  sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true
}

# No masquerading: pods see each other's true addresses, over nodes too.
write_cni() {
  cat >"$state/cni/net.d/10-pods.conflist" <<JSON
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "isDefaultGateway": true, "ipMasq": false, "hairpinMode": true,
   "mtu": 1500,
   "ipam": {"type": "host-local", "dataDir": "$state/cni/ipam", "ranges": [[{"subnet": "$(node_pods "${node#n}")"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
JSON
}

# containerd 1.6. restrict_oom_score_adj: in a virtual machine root may lack CAP_SYS_RESOURCE, and no pod would start.
write_containerd() {
  cat >"$state/containerd.toml" <<TOML
version = 2
root = "$state/containerd"
state = "$state/containerd-state"
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.native",
]
[grpc]
  address = "$socket"
[ttrpc]
  address = "$state/containerd.ttrpc.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "fairlead.dev/pause:dev"
  netns_mounts_under_state_dir = true
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$debian/usr/lib/cni"
    conf_dir = "$state/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "$debian/usr/sbin/runc"
        SystemdCgroup = false
TOML
}

# Images are imported and can never be pulled again: no image is collected. The resolver is an own file, so that nothing of
# the machine's leaks into pods. failCgroupV1: Kubernetes 1.35 and later ask for it on cgroup v1.
write_kubelet() {
  local open_files
  open_files=$(ulimit -Hn)
  [[ $open_files != unlimited ]] || open_files=1000000
  printf 'nameserver %s\n' "$dns_ip" >"$state/resolv.conf"
  cat >"$state/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /kube/$node
failSwapOn: false
oomScoreAdj: 0
maxOpenFiles: $open_files
maxPods: 120
containerRuntimeEndpoint: unix://$socket
address: $address
clusterDNS: [$dns_ip]
clusterDomain: cluster.local
resolvConf: $state/resolv.conf
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/$node-serving.crt
tlsPrivateKeyFile: $pki/$node-serving.key
volumePluginDir: $state/volume-plugins
evictionHard: {memory.available: 100Mi, nodefs.available: "1%", imagefs.available: "1%", nodefs.inodesFree: "1%"}
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 5s
makeIPTablesUtilChains: false
YAML
}

# The sysctls of connection tracking are read-only in a namespace: zero leaves them alone.
write_kube_proxy() {
  cat >"$state/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: $pod_net
hostnameOverride: $node
bindAddress: 0.0.0.0
oomScoreAdj: 0
clientConnection: {kubeconfig: $pki/kube-proxy.kubeconfig}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
nftables: {minSyncPeriod: 100ms}
YAML
}

containerd_answers() { ctr --address "$socket" --timeout 2s version; }

import_images() {
  local archive
  for archive in "$tools"/*.tar; do ctr --address "$socket" --namespace k8s.io images import "$archive"; done
}

main() {
  ulimit -n "$(ulimit -Hn)"
  mount_own_folders
  set_network
  write_cni
  write_containerd
  write_kubelet
  write_kube_proxy
  start "$node-containerd" "kube/$node-sys" "$debian/usr/bin/containerd" --config "$state/containerd.toml"
  wait_for 30 "containerd of $node" containerd_answers
  import_images
  # A kubelet that finds no API server backs off for seconds: it is quicker to wait.
  wait_for 90 "the API server, on $node" test -e "$run/apiserver-was-ready"
  start "$node-kubelet" "kube/$node-sys" "$kube/kubelet" --config "$state/kubelet.yaml" --kubeconfig "$pki/$node.kubeconfig" \
    --root-dir /var/lib/kubelet --hostname-override "$node" --node-ip "$address" --v=2
  start "$node-kube-proxy" "kube/$node-sys" "$kube/kube-proxy" --config "$state/kube-proxy.yaml" --v=2
}

main
