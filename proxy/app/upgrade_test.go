package app

import (
	"context"
	"errors"
	"testing"
)

func TestUpgradeRefused(t *testing.T) {
	for name, c := range map[string]struct {
		options            RunOptions
		draining           bool
		underWay, replaced bool
		pathErr            error
		want               string
	}{
		"standalone": {},
		"cluster": {
			options: RunOptions{Cluster: &ClusterOptions{}}, want: "in a cluster the operator replaces the Pod: change the image of the Mesh",
		},
		"under way":   {underWay: true, want: "an upgrade is under way"},
		"replaced":    {replaced: true, draining: true, want: "another process has taken over"},
		"draining":    {draining: true, want: "draining"},
		"not to find": {pathErr: errors.New("no /proc"), want: "the path of the program is not known: no /proc"},
	} {
		t.Run(name, func(t *testing.T) {
			u := &upgrader{proxy: &proxy{options: c.options}, pathErr: c.pathErr}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.draining {
				cancel()
			}
			if got := u.refuses(ctx, c.underWay, c.replaced); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
