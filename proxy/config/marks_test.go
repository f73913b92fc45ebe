package config_test

import (
	"strings"
	"testing"

	"github.com/fairlead/fairlead/proxy/config"
)

// TestMarks: what a listener adds to requests, its defaults, and what is refused.
func TestMarks(t *testing.T) {
	for _, c := range []struct{ server, want string }{
		{"addForwardedHeader: {}", ""},
		{"addForwardedHeader: {by: {kind: io.l5d.router}}", ""},
		{"addForwardedHeader: {for: {kind: io.l5d.static}}", "spec.routers[0].servers[0].addForwardedHeader.for.label: required for kind io.l5d.static"},
		{
			"addForwardedHeader: {by: {kind: io.l5d.ip, label: x}}",
			"spec.routers[0].servers[0].addForwardedHeader.by.label: key label does not belong to kind io.l5d.ip, but to io.l5d.static",
		},
		{"timestampHeader: x-request-start", ""},
		{"timestampHeader: Content-Length", "spec.routers[0].servers[0].timestampHeader: \"Content-Length\" has a meaning of its own"},
		{"timestampHeader: Proxy-Authorization", "spec.routers[0].servers[0].timestampHeader: \"Proxy-Authorization\" has a meaning of its own"},
		{"timestampHeader: content-type", "spec.routers[0].servers[0].timestampHeader: \"content-type\" has a meaning of its own"},
		{"timestampHeader: L5d-Dtab", "spec.routers[0].servers[0].timestampHeader: \"L5d-Dtab\" has a meaning of its own"},
		{"timestampHeader: a b", "spec.routers[0].servers[0].timestampHeader: expected the name of a header"},
		{"xForwardedHeaders: append", "spec.routers[0].servers[0].xForwardedHeaders: expected Append or Replace"},
	} {
		m, err := decodeMesh(t, "  routers: [{name: r, servers: [{port: 1, "+c.server+"}]}]", config.Standalone)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %s", c.server, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.server, err)
			continue
		}
		if marks := m.Routers[0].Servers[0].Marks; strings.HasPrefix(c.server, "add") && (marks.By == nil || marks.For.Kind != "io.l5d.requestRandom") {
			t.Errorf("%s: %+v", c.server, marks)
		}
	}
}
