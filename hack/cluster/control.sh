# shellcheck shell=bash
# shellcheck disable=SC2154,SC2054 # the variables are of lib.sh, and a comma here is part of a value
# The control plane: etcd and the Kubernetes daemons that run in the machine's own namespaces. Sourced after lib.sh.

# Nothing here outlives `down`, so etcd need not wait for the disk.
start_etcd() {
  start etcd kube/control "$debian/usr/bin/etcd" --data-dir "$run/etcd" --unsafe-no-fsync \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --logger zap --log-level warn
}

# The nodes' names are in no DNS: without the preferred address type, logs and exec would look them up. Without a time limit for
# watches an ending API server holds them for a minute, while it answers nothing else.
start_apiserver() {
  local flags=(
    --etcd-servers http://127.0.0.1:2379
    --bind-address "$machine_ip" --advertise-address "$machine_ip" --secure-port 6443
    --service-cluster-ip-range "$service_net"
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt"
    --kubelet-client-certificate "$pki/apiserver-kubelet.crt" --kubelet-client-key "$pki/apiserver-kubelet.key"
    --kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP
    --service-account-issuer https://kubernetes.default.svc.cluster.local
    --service-account-key-file "$pki/sa.pub" --service-account-signing-key-file "$pki/sa.key"
    --requestheader-client-ca-file "$pki/front.crt" --requestheader-allowed-names front-proxy-client
    --requestheader-extra-headers-prefix X-Remote-Extra- --requestheader-group-headers X-Remote-Group
    --requestheader-username-headers X-Remote-User
    --proxy-client-cert-file "$pki/front-proxy-client.crt" --proxy-client-key-file "$pki/front-proxy-client.key"
    --enable-aggregator-routing --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction
    --allow-privileged --profiling=false --shutdown-watch-termination-grace-period 2s --v=1
  )
  start kube-apiserver kube/control "$kube/kube-apiserver" "${flags[@]}"
}

# The default client limits of 20 requests a second make a thousand pods take a minute.
start_controllers() {
  start kube-controller-manager kube/control "$kube/kube-controller-manager" \
    --kubeconfig "$pki/kube-controller-manager.kubeconfig" --use-service-account-credentials \
    --root-ca-file "$pki/ca.crt" --service-account-private-key-file "$pki/sa.key" \
    --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
    --cluster-cidr "$pod_net" --allocate-node-cidrs=false --leader-elect=false --bind-address 127.0.0.1 \
    --node-monitor-grace-period 20s --kube-api-qps 300 --kube-api-burst 600 --v=1
  start kube-scheduler kube/control "$kube/kube-scheduler" --kubeconfig "$pki/kube-scheduler.kubeconfig" \
    --leader-elect=false --bind-address 127.0.0.1 --kube-api-qps 300 --kube-api-burst 600 --v=1
}

# wait_for_apiserver gives up at once on an API server that has ended.
wait_for_apiserver() {
  wait_for 90 "the API server" apiserver_ready_or_ended
  daemon_pid kube-apiserver >/dev/null || die "the API server has ended: see $logs/kube-apiserver.log"
}
apiserver_ready_or_ended() { ! daemon_pid kube-apiserver || kubectl get --raw /readyz --request-timeout=2s; }
