// Package e2e runs the whole of Fairlead on a real cluster of three nodes: the operator and the proxies as users install them,
// backends, and clients on every node. hack/e2e runs it (build tag e2e); it needs a cluster of hack/cluster, because it stops the
// API server and freezes processes.
package e2e
