//go:build scale

package scale

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// All proxies of a Mesh have the same ports, so each has a network namespace of its own, as each node has: a bridge joins them,
// and the API server and the backends listen on the bridge's address.
const (
	bridge       = "flscale0"
	bridgePrefix = "10.211.76.0/22"
)

// network is a bridge and a namespace per node. It is gone when the test ends.
type network struct {
	address netip.Addr // of the bridge
	nodes   []node
}

type node struct {
	namespace string
	address   netip.Addr
}

func newNetwork(t *testing.T, nodes int) *network {
	t.Helper()
	prefix := netip.MustParsePrefix(bridgePrefix)
	n := &network{address: prefix.Addr().Next()}
	address := n.address
	for i := range nodes {
		address = address.Next()
		n.nodes = append(n.nodes, node{namespace: fmt.Sprintf("flscale-%d", i), address: address})
	}
	n.remove() // what a run that was killed left behind
	t.Cleanup(n.remove)
	commands := []string{
		"link add " + bridge + " type bridge",
		fmt.Sprintf("addr add %s/%d dev %s", n.address, prefix.Bits(), bridge),
		"link set " + bridge + " up",
	}
	for i, node := range n.nodes {
		inside := fmt.Sprintf("flscale-i%d", i)
		outside := fmt.Sprintf("flscale-o%d", i)
		commands = append(commands, "netns add "+node.namespace,
			"link add "+outside+" master "+bridge+" type veth peer name "+inside+" netns "+node.namespace, "link set "+outside+" up")
	}
	if err := ip(commands, "-batch", "-"); err != nil {
		t.Fatalf("network namespaces, which only root can make: %v", err)
	}
	for i, node := range n.nodes {
		inside := fmt.Sprintf("flscale-i%d", i)
		err := ip([]string{
			"link set lo up", fmt.Sprintf("addr add %s/%d dev %s", node.address, prefix.Bits(), inside), "link set " + inside + " up",
		}, "-netns", node.namespace, "-batch", "-")
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// remove deletes what newNetwork made, by its names.
func (n *network) remove() {
	var commands []string
	for _, node := range n.nodes {
		if _, err := os.Stat("/run/netns/" + node.namespace); err == nil {
			commands = append(commands, "netns del "+node.namespace)
		}
	}
	if _, err := os.Stat("/sys/class/net/" + bridge); err == nil {
		commands = append(commands, "link del "+bridge)
	}
	if err := ip(commands, "-force", "-batch", "-"); err != nil {
		fmt.Fprintln(os.Stderr, "network namespaces are left:", err)
	}
}

// ip runs commands of ip(8).
func ip(commands []string, args ...string) error {
	cmd := exec.Command("ip", args...)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("ip %s: %w", strings.Join(args, " "), err), errors.New(string(out)))
	}
	return nil
}
