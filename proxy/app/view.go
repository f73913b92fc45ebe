package app

import (
	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/route"
)

// View is what /config.json shows: what is served, with every default resolved.
type View struct {
	// Version is the proxy's own.
	Version    string `json:"version"`
	Mesh       string `json:"mesh"`
	UID        string `json:"uid"`
	Generation int64  `json:"generation"`
	Revision   string `json:"revision"`
	// Refused is why the file as it is now is not what is served; "" where it is, and in a cluster.
	Refused string             `json:"refused,omitempty"`
	Spec    *v1alpha1.MeshSpec `json:"spec"`
	Dtabs   []DtabView         `json:"dtabs"`
	// Routers hold the effective dtab of each router, in Linkerd's form.
	Routers map[string]string `json:"dtab"`
}

// DtabView is one Dtab that is served.
type DtabView struct {
	Name       string            `json:"name"`
	Generation int64             `json:"generation"`
	Priority   int32             `json:"priority"`
	Router     string            `json:"router"`
	Dentries   []v1alpha1.Dentry `json:"dentries"`
}

// View returns what is served, or nil.
func (a *App) View() *View {
	cfg := a.Config()
	if cfg == nil {
		return nil
	}
	v := &View{
		Version: a.options.Version, Mesh: cfg.Mesh.Namespace + "/" + cfg.Mesh.Name, UID: cfg.Mesh.UID, Generation: cfg.Mesh.Generation,
		Revision: cfg.Revision, Spec: cfg.Mesh.Spec, Routers: make(map[string]string),
	}
	for _, d := range cfg.Dtabs {
		v.Dtabs = append(v.Dtabs, DtabView{
			Name: d.Namespace + "/" + d.Name, Generation: d.Generation, Priority: d.Priority, Router: d.Router,
			Dentries: d.Object.Spec.Dentries,
		})
	}
	for i := range cfg.Routers {
		v.Routers[cfg.Routers[i].Name] = cfg.Routers[i].Effective().String()
	}
	return v
}

// Clients returns the clients of every router.
func (a *App) Clients() map[string][]route.ClientView {
	out := make(map[string][]route.ClientView)
	for name, r := range a.snapshotRouters() {
		out[name] = r.routes.Clients()
	}
	return out
}

// Names returns the names in use of every router.
func (a *App) Names() map[string][]string {
	out := make(map[string][]string)
	for name, r := range a.snapshotRouters() {
		out[name] = r.routes.Names()
	}
	return out
}
