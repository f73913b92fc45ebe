package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/app"
)

// States of a proxy.
const (
	stateSynced   = "synced"
	stateStale    = "stale"
	stateRefusing = "refusing"
	stateSilent   = "silent"
	stateNotReady = "not ready"
	stateGone     = "gone"
)

// proxyRow is one proxy in the sync table.
type proxyRow struct {
	Mesh  string `json:"mesh"`
	Pod   string `json:"pod"`
	Node  string `json:"node,omitempty"`
	State string `json:"state"`
	// Generation of the Mesh and Revision of the rules are what is served.
	Generation int64  `json:"generation,omitempty"`
	Revision   string `json:"revision,omitempty"`
	Version    string `json:"version,omitempty"`
	Since      string `json:"since,omitempty"`
	// Reason says why the state is not synced.
	Reason string `json:"reason,omitempty"`
}

func newProxies(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "proxies", Short: "Show what each proxy serves, and why where it is not the newest",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := o.context(c)
			defer cancel()
			rows, err := o.proxyRows(ctx)
			if err != nil {
				return err
			}
			if o.output == "json" {
				return o.writeJSON(rows)
			}
			return o.printProxies(rows)
		},
	}
}

func (o *options) proxyRows(ctx context.Context) ([]proxyRow, error) {
	if o.admin != "" {
		return o.standaloneRow(ctx)
	}
	c, err := o.connect()
	if err != nil {
		return nil, err
	}
	all, err := c.meshes(ctx, "")
	if err != nil {
		return nil, hinted(fmt.Errorf("API server %s: %w", c.rest.Host, err))
	}
	meshes := ofName(all, o.mesh)
	if o.mesh != "" && len(meshes) == 0 {
		return nil, c.notOne(all, nil, o.mesh)
	}
	rows := []proxyRow{}
	for i := range meshes {
		more, err := c.rows(ctx, &meshes[i])
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// standaloneRow is that of a proxy without a cluster: it serves what it has.
func (o *options) standaloneRow(ctx context.Context) ([]proxyRow, error) {
	p, err := direct(o.admin)
	if err != nil {
		return nil, err
	}
	var v app.View
	if err := p.ask(ctx, "/config.json", nil, nil, &v); err != nil {
		return nil, err
	}
	row := proxyRow{Mesh: v.Mesh, Pod: p.name, State: stateSynced, Generation: v.Generation, Revision: v.Revision, Version: v.Version}
	if v.Refused != "" {
		row.State, row.Reason = stateRefusing, "it refuses its file and serves the one before: "+v.Refused
	}
	status, body, err := p.call(ctx, "/admin/ready", nil, nil)
	if err != nil {
		return nil, err
	}
	if status != 200 {
		row.State, row.Reason = stateNotReady, strings.TrimSpace(string(body))
	}
	return []proxyRow{row}, nil
}

// rows returns the proxies of one Mesh: those of its Pods, and those whose report outlived them.
func (c *cluster) rows(ctx context.Context, mesh *v1alpha1.Mesh) ([]proxyRow, error) {
	pods, err := c.pods(ctx, mesh)
	if err != nil {
		return nil, err
	}
	var list v1alpha1.MeshProxyList
	if err := c.client.List(ctx, &list, client.InNamespace(mesh.Namespace)); err != nil {
		return nil, err
	}
	want, err := c.wanted(ctx, mesh)
	if err != nil {
		return nil, err
	}
	reports := make(map[string]*v1alpha1.MeshProxy)
	for i := range list.Items {
		if r := &list.Items[i]; r.Spec.MeshRef.Name == mesh.Name {
			reports[r.Name] = r
		}
	}
	var rows []proxyRow
	for i := range pods {
		rows = append(rows, want.rowOf(&pods[i], reports[pods[i].Name]))
		delete(reports, pods[i].Name)
	}
	for i := range list.Items {
		if r := reports[list.Items[i].Name]; r != nil {
			row := want.rowOf(nil, r)
			row.State, row.Reason = stateGone, "its Pod is not there any more"
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// wanted is what the proxies of a Mesh are to serve. The status of a Mesh is written every few seconds at most, so what its objects come
// to as they are counts too: a proxy that serves them is not behind.
type wanted struct {
	mesh     *v1alpha1.Mesh
	revision string
	// refused holds what the operator refuses.
	refused map[refusal]bool
}

type refusal struct {
	kind, namespace, name string
	generation            int64
}

func (c *cluster) wanted(ctx context.Context, mesh *v1alpha1.Mesh) (*wanted, error) {
	docs, err := c.documents(ctx, mesh.DeepCopy(), func(error) {})
	if err != nil {
		return nil, err
	}
	w := &wanted{mesh: mesh, refused: make(map[refusal]bool)}
	if cfg, _ := docs.build(); cfg != nil { // what is wrong with an object is for its status to say
		w.revision = cfg.Revision
	}
	add := func(kind string, meta *metav1.ObjectMeta, conditions []metav1.Condition) {
		accepted := apimeta.FindStatusCondition(conditions, v1alpha1.ConditionAccepted)
		if accepted != nil && accepted.Status == metav1.ConditionFalse {
			w.refused[refusal{kind, meta.Namespace, meta.Name, accepted.ObservedGeneration}] = true
		}
	}
	add("Mesh", &mesh.ObjectMeta, mesh.Status.Conditions)
	for _, d := range docs.dtabs {
		add("Dtab", &d.ObjectMeta, d.Status.Conditions)
	}
	return w, nil
}

// rowOf judges one proxy by its Pod and its report, of which one may be nil.
func (w *wanted) rowOf(pod *corev1.Pod, report *v1alpha1.MeshProxy) proxyRow {
	row := proxyRow{Mesh: w.mesh.Namespace + "/" + w.mesh.Name, State: stateSynced}
	if pod != nil {
		row.Pod, row.Node = pod.Name, pod.Spec.NodeName
	}
	if report == nil {
		row.State, row.Reason = stateSilent, "it has not reported yet"
		if why := unready(pod); why != "" {
			row.State, row.Reason = stateNotReady, strings.TrimPrefix(why, "not ready: ")
		}
		return row
	}
	s := &report.Status
	row.Pod, row.Node, row.Version = report.Name, report.Spec.NodeName, s.ProxyVersion
	row.Generation, row.Revision = s.MeshGeneration, s.DtabRevision
	if s.Since != nil {
		row.Since = s.Since.UTC().Format(time.RFC3339)
	}
	var why []string
	want := &w.mesh.Status
	if s.MeshGeneration != want.AcceptedGeneration && s.MeshGeneration != w.mesh.Generation {
		why = append(why, fmt.Sprintf("it serves generation %d of the Mesh, accepted is %d", s.MeshGeneration, want.AcceptedGeneration))
	}
	if s.DtabRevision != want.DtabRevision && s.DtabRevision != w.revision {
		why = append(why, fmt.Sprintf("it serves revision %s of the rules, accepted is %s", orNone(s.DtabRevision), orNone(want.DtabRevision)))
	}
	if len(why) > 0 {
		row.State = stateStale
	}
	for _, r := range s.Refused {
		if w.refused[refusal{r.Kind, r.Namespace, r.Name, r.Generation}] {
			continue // that is not this proxy's trouble: the object's status says so
		}
		row.State = stateRefusing
		why = append(why, fmt.Sprintf("it refuses %s %s/%s generation %d: %s", r.Kind, r.Namespace, r.Name, r.Generation, r.Message))
	}
	if pod != nil {
		if reason := unready(pod); reason != "" {
			row.State = stateNotReady
			why = append(why, strings.TrimPrefix(reason, "not ready: "))
		}
	}
	row.Reason = strings.Join(why, "; ")
	return row
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func (o *options) printProxies(rows []proxyRow) error {
	w := tabwriter.NewWriter(o.Out, 0, 8, 2, ' ', 0)
	p := printer{out: w}
	p.line("MESH\tNODE\tPOD\tSTATE\tGENERATION\tREVISION\tVERSION\tREASON")
	for _, r := range rows {
		p.line("%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s", r.Mesh, r.Node, r.Pod, r.State, r.Generation, r.Revision, r.Version, r.Reason)
	}
	if p.err != nil {
		return p.err
	}
	return w.Flush()
}
