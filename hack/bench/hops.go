package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fairlead/fairlead/hack/bench/process"
)

const (
	oneHop       = "one hop"
	twoHops      = "two hops"
	twoHopsAgain = "two hops (again)"

	// Two nodes, and an endpoint on neither.
	clientNode, endpointNode, nowhere = "a", "b", ""
)

// node is a proxy of a cluster and what it listens on.
type node struct {
	name                      string
	outgoing, incoming, admin string
}

// startHops runs proxies as they are in a cluster, each started from a snapshot with the API server away: the same binary, rules and
// transformers, and nothing else that would take time. Where the endpoints are on another node, outgoing chooses one and sends by way
// of the proxy there, whose incoming obeys; where they are on none, it sends directly.
func (b *bench) startHops(ctx context.Context) error {
	for _, f := range []struct{ name, binary, endpoints string }{
		{oneHop, b.options.proxy, nowhere},
		{twoHops, b.options.proxy, endpointNode},
		{twoHopsAgain, b.options.other, endpointNode},
	} {
		addrs, err := process.Addresses(6)
		if err != nil {
			return err
		}
		nodes := []node{{clientNode, addrs[0], addrs[1], addrs[2]}, {endpointNode, addrs[3], addrs[4], addrs[5]}}
		p := &proxy{name: f.name, addr: nodes[0].outgoing, hops: 1}
		if f.endpoints != nowhere {
			p.hops = 2
		}
		b.proxies = append(b.proxies, p)
		for _, n := range nodes[:p.hops] {
			if err := b.startNode(p, f.binary, n, nodes, f.endpoints); err != nil {
				return err
			}
		}
		if err := b.answers(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// startNode starts the proxy of one node.
func (b *bench) startNode(p *proxy, binary string, n node, nodes []node, endpoints string) error {
	name := p.name + " " + n.name
	dir := filepath.Join(b.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	err := os.WriteFile(kubeconfig, []byte(`{"apiVersion": "v1", "kind": "Config", "current-context": "x",
 "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}], "users": [{"name": "x", "user": {}}],
 "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:1"}}]}`), 0o644)
	if err := errors.Join(err, writeSnapshot(dir, nodeMesh(n), b.discovery(nodes, endpoints))); err != nil {
		return err
	}
	path, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	return b.run(p, name, []string{"POD_NAME=" + n.name, "POD_NAMESPACE=mesh", "POD_UID=" + n.name, "NODE_NAME=" + n.name},
		path, "--mesh", "mesh/bench", "--kubeconfig", kubeconfig, "--snapshot-dir", dir)
}

// nodeMesh is the default Mesh of a cluster, but for the ports, since two nodes are on one machine here.
func nodeMesh(n node) string {
	text := "apiVersion: fairlead.dev/v1alpha1\nkind: Mesh\nmetadata: {name: bench, namespace: mesh}\nspec:\n" +
		"  admin: {ip: 127.0.0.1, port: " + port(n.admin) + "}\n  routers:\n"
	for _, r := range []struct{ name, addr, transformer string }{
		{"outgoing", n.outgoing, "{kind: io.l5d.k8s.daemonset}"},
		{"incoming", n.incoming, "{kind: io.l5d.k8s.localnode, fallback: true}"},
	} {
		text += fmt.Sprintf(`  - name: %s
    servers: [{ip: 127.0.0.1, port: %s}]
    identifiers: [{kind: io.l5d.header.token, normalize: KubernetesHost}]
    interpreter: {transformers: [%s]}
    maxCallDepth: 16
    dtab:
    - {prefix: /host, dst: /#/nsSvc/default}
    - {prefix: /host, dst: /#/nsSvc}
    - {prefix: /svc, dst: /$/io.buoyant.http.domainToPathPfx/host}
`, r.name, port(r.addr), r.transformer)
	}
	return text
}

func port(addr string) string {
	_, p, _ := strings.Cut(addr, ":")
	return p
}

// discovery is what an API server says of the proxies and of the backends, in the form of a snapshot: a slice for each, since each has
// a port of its own.
func (b *bench) discovery(nodes []node, endpoints string) map[string]any {
	var slices []any
	add := func(namespace, service, portName, addr, node string) {
		slices = append(slices, map[string]any{
			"ns": namespace, "name": fmt.Sprintf("%s-%d", service, len(slices)), "svc": service,
			"ports": []any{map[string]any{"name": portName, "port": json.RawMessage(port(addr))}},
			"addrs": []any{map[string]any{"ip": strings.TrimSuffix(addr, ":"+port(addr)), "node": node, "ready": true, "serving": true}},
		})
	}
	for _, n := range nodes {
		add("mesh", "bench-proxy", "incoming", n.incoming, n.name)
	}
	for _, backend := range b.backends {
		add("default", service, "http", backend, endpoints)
	}
	return map[string]any{
		"services": []any{
			map[string]any{"ns": "mesh", "name": "bench-proxy", "ports": []any{map[string]any{"name": "incoming", "port": 4141}}},
			map[string]any{"ns": "default", "name": service, "ports": []any{map[string]any{"name": "http", "port": 80}}},
		},
		"slices": slices,
	}
}

// writeSnapshot writes what proxy/control reads. It is not written by that package, which would make this program, one of the peers
// compared, twice as large.
func writeSnapshot(dir, mesh string, endpoints any) error {
	var body bytes.Buffer
	packed := gzip.NewWriter(&body)
	err := json.NewEncoder(packed).Encode(map[string]any{"written": time.Now(), "config": mesh, "endpoints": endpoints})
	if err := errors.Join(err, packed.Close()); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	text := fmt.Sprintf("fairlead-snapshot/1 %x\n%s", sha256.Sum256(body.Bytes()), body.Bytes())
	return os.WriteFile(filepath.Join(dir, "snapshot"), []byte(text), 0o644)
}
