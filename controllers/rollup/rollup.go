// Package rollup folds what proxies, Pods and nodes say into the bounded status of a Mesh and of each of its Dtabs. It is pure: no
// client, no context, no clock. It is the only place that computes conditions.
//
// A proxy counts as wanted when its Pod is not terminating and its node is Ready, whether the Pod is ready or not. It counts as
// confirmed when it is alive and its report says that it serves what it should. Alive means that the kubelet finds the Pod ready:
// the kubelet asks every second anyway, so a frozen proxy shows up within seconds although no proxy writes anything while nothing
// changes.
package rollup

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// Pod is what matters of a proxy Pod.
type Pod struct {
	Name, UID, Node string
	Ready           bool
	// Started is when the proxy's container began to run, in whole seconds; zero while it does not.
	Started time.Time
}

// Observation is what was seen of the proxies of one mesh.
type Observation struct {
	// Pods of the mesh's DaemonSet that are neither terminating nor ended.
	Pods []Pod
	// ReadyNodes holds the names of the nodes that are Ready.
	ReadyNodes map[string]bool
	// Reports by name, which is that of the Pod. They are not changed.
	Reports map[string]*v1alpha1.MeshProxy
	// Desired is how many Pods the DaemonSet wants, and -1 while its controller has not looked at the newest version of it.
	Desired int
	// Blocked is why Pods of the DaemonSet cannot be created, where that is known.
	Blocked string
}

// Fleet is an observation in order.
type Fleet struct {
	live        []proxy
	down        []straggler
	unreachable []string
	missing     int
	total       int
	ready       int
	unknown     bool
	blocked     string
	// byRevision holds the live proxies by the revision they report.
	byRevision map[string][]proxy
	refused    map[refusal]straggler
	seen       map[string][]sight
}

// proxy is one that is alive and has reported since its container started.
type proxy struct {
	node   string
	status *v1alpha1.MeshProxyStatus
}

// straggler is a proxy that keeps a condition from being true.
type straggler struct{ node, why string }

type refusal struct {
	kind, object string
	generation   int64
}

// sight is one destination as one proxy sees it.
type sight struct {
	revision    string
	destination *v1alpha1.ProxyDestination
}

// Reasons why a proxy is not confirmed.
const (
	whyNotStarted = "not started"
	whyNotReady   = "not responding or not ready"
	whyNoReport   = "has not reported"
	whyRestarted  = "has not reported since it restarted"
)

// NewFleet sorts an observation.
func NewFleet(o Observation) *Fleet {
	f := &Fleet{
		total: len(o.Pods), unknown: o.Desired < 0, blocked: o.Blocked,
		byRevision: map[string][]proxy{}, refused: map[refusal]straggler{}, seen: map[string][]sight{},
	}
	f.missing = max(0, o.Desired-len(o.Pods))
	pods := slices.Clone(o.Pods)
	slices.SortFunc(pods, func(a, b Pod) int { return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Name, b.Name)) })
	for _, pod := range pods {
		if !o.ReadyNodes[pod.Node] {
			f.unreachable = append(f.unreachable, nodeName(pod))
			continue
		}
		if pod.Ready {
			f.ready++
		}
		report := o.Reports[pod.Name]
		if why := silent(pod, report); why != "" {
			f.down = append(f.down, straggler{node: nodeName(pod), why: why})
			continue
		}
		f.add(proxy{node: nodeName(pod), status: &report.Status})
	}
	return f
}

func (f *Fleet) add(p proxy) {
	f.live = append(f.live, p)
	f.byRevision[p.status.DtabRevision] = append(f.byRevision[p.status.DtabRevision], p)
	for _, r := range p.status.Refused {
		f.refused[refusal{kind: r.Kind, object: r.Namespace + "/" + r.Name, generation: r.Generation}] =
			straggler{node: p.node, why: r.Message}
	}
	for i := range p.status.Dtabs {
		d := &p.status.Dtabs[i]
		f.seen[d.Dtab] = append(f.seen[d.Dtab], sight{revision: p.status.DtabRevision, destination: d})
	}
}

// silent returns why the word of a proxy does not count, or "".
func silent(pod Pod, report *v1alpha1.MeshProxy) string {
	switch {
	case pod.Started.IsZero():
		return whyNotStarted
	case !pod.Ready:
		return whyNotReady
	case report == nil || !ownedBy(report, pod):
		return whyNoReport
	case report.Status.Since == nil || report.Status.Since.Time.Before(pod.Started.Truncate(time.Second)):
		return whyRestarted
	}
	return ""
}

// ownedBy reports whether the report is of this very Pod, and not of an earlier one of its name.
func ownedBy(report *v1alpha1.MeshProxy, pod Pod) bool {
	return slices.ContainsFunc(report.OwnerReferences, func(ref ownerReference) bool { return string(ref.UID) == pod.UID })
}

func nodeName(p Pod) string {
	if p.Node == "" {
		return "no node (" + p.Name + ")"
	}
	return p.Node
}

// Wanted is how many proxies should serve.
func (f *Fleet) wanted() int { return len(f.live) + len(f.down) + f.missing }

// maxNamed is how many stragglers a message names.
const maxNamed = 3

// tally returns "2/3" and a message of the form "2/3, waiting for node-b (not responding or not ready)".
func (f *Fleet) tally(behind []straggler) (short, message string, complete bool) {
	behind = append(slices.Clone(f.down), behind...)
	slices.SortStableFunc(behind, func(a, b straggler) int { return cmp.Compare(a.node, b.node) })
	wanted := f.wanted()
	short = fmt.Sprintf("%d/%d", wanted-len(behind)-f.missing, wanted)
	parts := []string{short}
	if len(behind) > 0 {
		parts = append(parts, "waiting for "+names(behind))
	}
	if f.missing > 0 {
		part := notCreated(f.missing)
		if f.blocked != "" {
			part += " (" + f.blocked + ")"
		}
		parts = append(parts, part)
	}
	if len(f.unreachable) > 0 {
		parts = append(parts, "unreachable: "+list(f.unreachable))
	}
	return short, strings.Join(parts, ", "), len(behind) == 0 && f.missing == 0
}

func names(behind []straggler) string {
	texts := make([]string, len(behind))
	for i, s := range behind {
		if texts[i] = s.node; s.why != "" {
			texts[i] += " (" + s.why + ")"
		}
	}
	return list(texts)
}

// list joins at most maxNamed texts and counts the rest.
func list(texts []string) string {
	if len(texts) <= maxNamed {
		return strings.Join(texts, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(texts[:maxNamed], ", "), len(texts)-maxNamed)
}

// notCreated counts Pods that are not there.
func notCreated(n int) string {
	if n == 1 {
		return "1 Pod not created"
	}
	return fmt.Sprintf("%d Pods not created", n)
}
