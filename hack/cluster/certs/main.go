// Command certs writes the throw-away certificates and kubeconfigs of a cluster of hack/cluster.
//
//	certs -dir DIR -server 10.89.0.1 -service 10.96.0.1 n1=10.89.0.11 n2=10.89.0.12 ...
//
// It is not a certificate authority for anything that lives longer than a test cluster: keys lie unencrypted beside the
// certificates, and nothing is renewed. The names of users and groups are those Kubernetes' built-in RBAC rules are bound to
// (Kubernetes documentation, "PKI certificates and requirements").
package main

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

func main() {
	dir := flag.String("dir", "", "folder to write to; created if missing")
	server := flag.String("server", "", "IP address the API server listens on")
	service := flag.String("service", "", "ClusterIP of the Service kubernetes")
	flag.Parse()
	if err := run(*dir, *server, *service, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "certs:", err)
		os.Exit(1)
	}
}

// node is a machine of the cluster: its name is the kubelet's user, its address the one its serving certificate is for.
type node struct {
	name string
	addr netip.Addr
}

func parseNodes(args []string) ([]node, error) {
	nodes := make([]node, 0, len(args))
	for _, arg := range args {
		name, text, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("node %q: want NAME=ADDRESS", arg)
		}
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("node %q: %w", name, err)
		}
		nodes = append(nodes, node{name: name, addr: addr})
	}
	return nodes, nil
}

func run(dir, server, service string, args []string) error {
	serverAddr, err := netip.ParseAddr(server)
	if err != nil {
		return fmt.Errorf("-server: %w", err)
	}
	serviceAddr, err := netip.ParseAddr(service)
	if err != nil {
		return fmt.Errorf("-service: %w", err)
	}
	nodes, err := parseNodes(args)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("folder: %w", err)
	}
	out := folder{dir: dir}
	cluster, err := newAuthority(out, "ca", "kubernetes-ca")
	if err != nil {
		return err
	}
	front, err := newAuthority(out, "front", "front-proxy-ca")
	if err != nil {
		return err
	}
	if err := writeServiceAccountKey(out); err != nil {
		return err
	}
	for _, id := range identities(serverAddr, serviceAddr, nodes) {
		issuer := cluster
		if id.front {
			issuer = front
		}
		if err := issuer.issue(out, id); err != nil {
			return fmt.Errorf("%s: %w", id.file, err)
		}
		if !id.kubeconfig {
			continue
		}
		if err := writeKubeconfig(out, id.file, "https://"+netip.AddrPortFrom(serverAddr, 6443).String()); err != nil {
			return fmt.Errorf("%s: %w", id.file, err)
		}
	}
	return nil
}

// identity is one certificate: who it speaks for, and where it is valid if it is a server's.
type identity struct {
	file       string
	user       string   // common name
	group      string   // organization; empty for none
	dns        []string // subject alternative names; a certificate with any name or address is a server's
	addrs      []netip.Addr
	front      bool // signed by the front proxy's authority instead of the cluster's
	kubeconfig bool
}

func identities(server, service netip.Addr, nodes []node) []identity {
	all := []identity{
		{
			file: "apiserver", user: "kube-apiserver",
			dns: []string{
				"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
			},
			addrs: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), server, service},
		},
		{file: "apiserver-kubelet", user: "kube-apiserver-kubelet", group: "system:masters"},
		{file: "front-proxy-client", user: "front-proxy-client", front: true},
		{file: "admin", user: "admin", group: "system:masters", kubeconfig: true},
		{file: "kube-controller-manager", user: "system:kube-controller-manager", kubeconfig: true},
		{file: "kube-scheduler", user: "system:kube-scheduler", kubeconfig: true},
		{file: "kube-proxy", user: "system:kube-proxy", kubeconfig: true},
	}
	for _, n := range nodes {
		user := "system:node:" + n.name
		all = append(all,
			identity{file: n.name, user: user, group: "system:nodes", kubeconfig: true},
			identity{file: n.name + "-serving", user: user, group: "system:nodes", dns: []string{n.name}, addrs: []netip.Addr{n.addr}},
		)
	}
	return all
}
