package app

import (
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/route"
)

// lost returns what logs that endpoints of a router cannot be connected to.
func (a *App) lost(router string) func(dtab.Path, naming.Endpoint, bool, time.Duration) {
	log := a.options.Log.WithName("failfast").WithValues("router", router)
	return func(client dtab.Path, e naming.Endpoint, lost bool, after time.Duration) {
		log := log.WithValues("client", client.String(), "endpoint", e.Addr.String(), "node", e.Node)
		if lost {
			log.Info("An endpoint cannot be connected to: it is left alone and tried in the background")
		} else {
			log.Info("An endpoint can be connected to again", "after", after.String())
		}
	}
}

// fellOver returns what logs that names of a router fall over and back.
func (a *App) fellOver(router string) func(route.Fall) {
	log := a.options.Log.WithName("failover").WithValues("router", router)
	return func(f route.Fall) {
		log := log.WithValues("name", f.Name.String(), "from", f.From, "to", f.To)
		if f.Back {
			log.Info("A name goes back to what it fell over from")
		} else {
			log.Info("A name falls over: what it leads to has no live endpoint")
		}
	}
}

// turned returns what logs the circuits of a router's endpoints.
func (a *App) turned(router string) func(dtab.Path, balance.Turn) {
	log := a.options.Log.WithName("circuit").WithValues("router", router)
	return func(client dtab.Path, t balance.Turn) {
		log := log.WithValues("client", client.String(), "endpoint", t.Endpoint.Addr.String(), "node", t.Endpoint.Node)
		switch {
		case t.Spared:
			log.V(1).Info("Requests to an endpoint fail, but too many are left alone already")
		case t.Answers:
			log.V(1).Info("An endpoint that failed, and was not left alone, answers again")
		case t.Down && t.Probed:
			log.V(1).Info("The probe of an endpoint failed: it is left alone again", "for", t.Wait.String())
		case t.Down:
			log.Info("Requests to an endpoint fail: it is left alone until it is probed", "for", t.Wait.String())
		default:
			log.Info("An endpoint answers again", "after", t.Wait.String())
		}
	}
}
