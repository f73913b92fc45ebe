// Command coredns is CoreDNS with only the plugins a cluster needs: the full set pulls every cloud's SDK.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	// The order is that of plugin.cfg upstream: it decides the order of the handler chain.
	dnsserver.Directives = []string{"health", "ready", "prometheus", "errors", "log", "cache", "kubernetes"}
	coremain.Run()
}
