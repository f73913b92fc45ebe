package app

import (
	"context"
	"slices"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

// Preview returns an App that has the names of a configuration and serves nothing: it answers Delegate and Compare. What assumed
// makes takes the place of the namers that need a cluster, whose names have so many elements below the prefix; transformers that need
// one change nothing but the name. The caller owes one Shutdown.
func Preview(ctx context.Context, cfg *config.Config, assumed func(prefix dtab.Path, elements int) naming.Namer) (*App, error) {
	quiet := *cfg
	quiet.Routers = slices.Clone(cfg.Routers)
	for i := range quiet.Routers {
		quiet.Routers[i].Servers = nil
		quiet.Routers[i].FailsOver = false // no endpoint is asked anything
	}
	a := New(Options{Log: logr.Discard(), Metrics: telemetry.New()})
	a.namers.assumed, a.transformers.assumed = assumed, true
	if err := a.Apply(ctx, &quiet); err != nil {
		_ = a.Shutdown(ctx) // nothing was served
		return nil, err
	}
	return a, nil
}
