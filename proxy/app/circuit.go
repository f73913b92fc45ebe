package app

import (
	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/dtab"
)

// turned returns what logs the circuits of a router's endpoints.
func (a *App) turned(router string) func(dtab.Path, balance.Turn) {
	log := a.options.Log.WithName("circuit").WithValues("router", router)
	return func(client dtab.Path, t balance.Turn) {
		log := log.WithValues("client", client.String(), "endpoint", t.Endpoint.Addr.String(), "node", t.Endpoint.Node)
		switch {
		case t.Spared:
			log.V(1).Info("Requests to an endpoint fail, but too many are left alone already")
		case t.Down && t.Probed:
			log.V(1).Info("The probe of an endpoint failed: it is left alone again", "for", t.Wait.String())
		case t.Down:
			log.Info("Requests to an endpoint fail: it is left alone until it is probed", "for", t.Wait.String())
		default:
			log.Info("An endpoint answers again", "after", t.Wait.String())
		}
	}
}
