package cli

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/config/crd"
)

// Levels of a line of check, which are also its exit codes.
const (
	levelOK = iota
	levelWarn
	levelFail
)

// checkLine is one thing that was looked at.
type checkLine struct {
	Level string `json:"level"`
	What  string `json:"what"`
	// Hint says what to do about it.
	Hint string `json:"hint,omitempty"`
}

type checks struct {
	lines []checkLine
	worst int
}

func (c *checks) add(level int, hint, format string, args ...any) {
	c.worst = max(c.worst, level)
	if level == levelOK {
		hint = ""
	}
	c.lines = append(c.lines, checkLine{[]string{"ok", "warn", "fail"}[level], fmt.Sprintf(format, args...), hint})
}

func newCheck(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Check the installation: definitions, operator, proxies, rules",
		Long: "Each line is ok, warn or fail, with a hint. Exit code 0 where all is ok, 1 with a warning, 2 with a failure.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := o.context(c)
			defer cancel()
			var found checks
			o.check(ctx, &found)
			if o.output == "json" {
				if err := o.writeJSON(found.lines); err != nil {
					return err
				}
			} else if err := o.printChecks(&found); err != nil {
				return err
			}
			if found.worst > levelOK {
				return &failure{code: found.worst}
			}
			return nil
		},
	}
}

func (o *options) printChecks(c *checks) error {
	p := printer{out: o.Out}
	for _, l := range c.lines {
		p.line("%-5s %s", l.Level, l.What)
		if l.Hint != "" {
			p.line("      hint: %s", l.Hint)
		}
	}
	return p.err
}

func (o *options) check(ctx context.Context, out *checks) {
	if o.admin != "" {
		o.checkStandalone(ctx, out)
		return
	}
	c, err := o.connect()
	if err != nil {
		out.add(levelFail, hintOffline, "%v", err)
		return
	}
	if !c.checkDefinitions(ctx, out) {
		return
	}
	c.checkOperator(ctx, out)
	meshes, err := c.meshes(ctx, o.mesh)
	switch {
	case err != nil:
		out.add(levelFail, "you need get and list of meshes.fairlead.dev", "Meshes: %v", err)
	case len(meshes) == 0 && o.mesh != "":
		out.add(levelFail, "fairlead check without --mesh looks at all of them", "there is no Mesh %q", o.mesh)
	case len(meshes) == 0:
		out.add(levelWarn, "kubectl apply -k config/samples, or see docs/spec/mesh.md", "there is no Mesh")
	}
	for i := range meshes {
		c.checkMesh(ctx, out, &meshes[i])
	}
	c.checkDtabs(ctx, out, o.mesh)
}

func (o *options) checkStandalone(ctx context.Context, out *checks) {
	rows, err := o.standaloneRow(ctx)
	if err != nil {
		out.add(levelFail, "is the proxy running, and is this its admin port?", "%v", err)
		return
	}
	if r := rows[0]; r.State == stateSynced {
		out.add(levelOK, "", "proxy %s serves Mesh %s", r.Pod, r.Mesh)
	} else {
		out.add(levelFail, "see its log", "proxy %s: %s", r.Pod, r.Reason)
	}
}

var definitionKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// checkDefinitions holds the definitions that are served against those of this build. It returns false where nothing else can be
// looked at.
func (c *cluster) checkDefinitions(ctx context.Context, out *checks) bool {
	const install = "kubectl apply -k config/default of this version"
	files, err := fs.Glob(crd.Bases, "bases/*.yaml")
	if err != nil {
		out.add(levelFail, "", "%v", err)
		return false
	}
	all := true
	for _, file := range files {
		data, err := crd.Bases.ReadFile(file)
		var own map[string]any
		if err == nil {
			err = yaml.Unmarshal(data, &own)
		}
		if err != nil {
			out.add(levelFail, "", "%s: %v", file, err)
			return false
		}
		name, _, _ := unstructured.NestedString(own, "metadata", "name")
		var served unstructured.Unstructured
		served.SetGroupVersionKind(definitionKind)
		err = c.client.Get(ctx, client.ObjectKey{Name: name}, &served)
		switch {
		case apierrors.IsNotFound(err):
			out.add(levelFail, install, "definition %s is not there", name)
			all = false
			continue
		case apierrors.IsForbidden(err):
			out.add(levelWarn, "ask for get of customresourcedefinitions to have it checked", "definition %s cannot be read", name)
			continue
		case err != nil:
			out.add(levelFail, hintOffline, "API server %s cannot be asked: %v", c.rest.Host, err)
			return false
		}
		compareDefinition(out, name, install, own, served.Object)
	}
	return all
}

// compareDefinition compares versions, and the fields of the version that this build reads.
func compareDefinition(out *checks, name, install string, own, served map[string]any) {
	ours, _ := versionOf(own)
	theirs, isServed := versionOf(served)
	if !isServed {
		out.add(levelFail, install, "definition %s does not serve %s", name, v1alpha1.GroupVersion.Version)
		return
	}
	var established bool
	conditions, _, _ := unstructured.NestedSlice(served, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == "Established" && m["status"] == "True" {
			established = true
		}
	}
	if !established {
		out.add(levelFail, "kubectl describe crd "+name, "definition %s is not established", name)
		return
	}
	lost, more := difference(fieldsOf(ours), fieldsOf(theirs)), difference(fieldsOf(theirs), fieldsOf(ours))
	switch {
	case len(lost) > 0:
		out.add(levelFail, install+": the API server drops what it does not know", "definition %s is older than this build: it lacks %s", name, someOf(lost))
	case len(more) > 0:
		out.add(levelWarn, "use the version of fairlead that is installed", "definition %s is newer than this build: it has %s", name, someOf(more))
	default:
		out.add(levelOK, "", "definition %s has the fields of this build", name)
	}
}

// versionOf returns the schema of the version that this build reads, and whether it is served.
func versionOf(definition map[string]any) (map[string]any, bool) {
	versions, _, _ := unstructured.NestedSlice(definition, "spec", "versions")
	for _, v := range versions {
		if m, ok := v.(map[string]any); ok && m["name"] == v1alpha1.GroupVersion.Version {
			found, _, _ := unstructured.NestedMap(m, "schema", "openAPIV3Schema")
			return found, m["served"] == true
		}
	}
	return nil, false
}

// fieldsOf returns the paths of all fields of a schema.
func fieldsOf(s map[string]any) map[string]bool {
	out := make(map[string]bool)
	var walk func(path string, s map[string]any)
	walk = func(path string, s map[string]any) {
		if path != "" {
			out[path] = true
		}
		if properties, ok := s["properties"].(map[string]any); ok {
			for name, p := range properties {
				if m, ok := p.(map[string]any); ok {
					walk(strings.TrimPrefix(path+"."+name, "."), m)
				}
			}
		}
		for _, key := range []string{"items", "additionalProperties"} {
			if m, ok := s[key].(map[string]any); ok {
				walk(path+"[]", m)
			}
		}
	}
	walk("", s)
	return out
}

func difference(a, b map[string]bool) (out []string) {
	for f := range a {
		if !b[f] {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return out
}

func someOf(list []string) string {
	const shown = 3
	if len(list) <= shown {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:shown], ", "), len(list)-shown)
}

func (c *cluster) checkOperator(ctx context.Context, out *checks) {
	var list appsv1.DeploymentList
	if err := c.client.List(ctx, &list, client.MatchingLabels{"app.kubernetes.io/name": "fairlead-operator"}); err != nil {
		out.add(levelWarn, "you need list of deployments to have it checked", "operator: %v", err)
		return
	}
	if len(list.Items) == 0 {
		out.add(levelFail, "kubectl apply -k config/default", "there is no operator: proxies serve on, new objects are not judged")
	}
	for i := range list.Items {
		d := &list.Items[i]
		available := slices.ContainsFunc(d.Status.Conditions, func(c appsv1.DeploymentCondition) bool {
			return c.Type == appsv1.DeploymentAvailable && c.Status == "True"
		})
		if !available {
			out.add(levelFail, fmt.Sprintf("kubectl -n %s describe deployment %s", d.Namespace, d.Name),
				"operator %s/%s is not available (%d of %d ready)", d.Namespace, d.Name, d.Status.ReadyReplicas, d.Status.Replicas)
			continue
		}
		out.add(levelOK, "", "operator %s/%s is available (%d of %d ready)", d.Namespace, d.Name, d.Status.ReadyReplicas, d.Status.Replicas)
	}
}

func (c *cluster) checkMesh(ctx context.Context, out *checks, mesh *v1alpha1.Mesh) {
	name := mesh.Namespace + "/" + mesh.Name
	checkConditions(out, "Mesh "+name, mesh.Generation, mesh.Status.AcceptedGeneration, mesh.Status.Conditions,
		v1alpha1.ConditionAccepted, v1alpha1.ConditionAvailable, v1alpha1.ConditionProgrammed)
	rows, err := c.rows(ctx, mesh)
	if err != nil {
		out.add(levelFail, "you need list of pods and meshproxies", "proxies of %s: %v", name, err)
		return
	}
	good := 0
	for _, r := range rows {
		switch r.State {
		case stateSynced:
			good++
		case stateGone:
		case stateStale:
			out.add(levelWarn, "wait a moment; then fairlead proxies, and kubectl logs of the Pod", "proxy %s on %s is stale: %s", r.Pod, r.Node, r.Reason)
		default:
			out.add(levelFail, "kubectl -n "+mesh.Namespace+" describe pod "+r.Pod, "proxy %s on %s is %s: %s", r.Pod, r.Node, r.State, r.Reason)
		}
	}
	if len(rows) == 0 {
		out.add(levelFail, "kubectl -n "+mesh.Namespace+" describe mesh "+mesh.Name, "Mesh %s has no proxy", name)
	} else if good > 0 {
		out.add(levelOK, "", "%d of %d proxies of %s serve revision %s", good, len(rows), name, orNone(mesh.Status.DtabRevision))
	}
}

func (c *cluster) checkDtabs(ctx context.Context, out *checks, mesh string) {
	var list v1alpha1.DtabList
	if err := c.client.List(ctx, &list); err != nil {
		out.add(levelFail, "you need list of dtabs.fairlead.dev", "Dtabs: %v", err)
		return
	}
	for i := range list.Items {
		d := &list.Items[i]
		if mesh != "" && d.Spec.MeshRef.Name != mesh {
			continue
		}
		checkConditions(out, "Dtab "+d.Namespace+"/"+d.Name, d.Generation, d.Status.AcceptedGeneration, d.Status.Conditions,
			v1alpha1.ConditionAccepted, v1alpha1.ConditionResolvedRefs, v1alpha1.ConditionProgrammed)
	}
}

// checkConditions tells which of the conditions do not hold. What is not accepted fails, what is not there yet warns.
func checkConditions(out *checks, what string, generation, accepted int64, conditions []metav1.Condition, types ...string) {
	bad := false
	for _, t := range types {
		c := meta.FindStatusCondition(conditions, t)
		level := levelWarn
		switch {
		case c == nil:
			out.add(levelWarn, "is the operator running?", "%s is not judged yet: it has no condition %s", what, t)
		case c.ObservedGeneration != generation:
			out.add(levelWarn, "is the operator running?", "%s: %s is of generation %d, the newest is %d", what, t, c.ObservedGeneration, generation)
		case c.Status != metav1.ConditionTrue:
			hint := "kubectl describe it"
			if t == v1alpha1.ConditionAccepted {
				level = levelFail
				hint += "; " + servedInstead(accepted)
			}
			out.add(level, hint, "%s: %s=%s, %s: %s", what, t, c.Status, c.Reason, c.Message)
		default:
			continue
		}
		bad = true
	}
	if !bad {
		out.add(levelOK, "", "%s: %s", what, strings.Join(types, ", "))
	}
}

// servedInstead says what is served of an object whose newest generation is refused.
func servedInstead(accepted int64) string {
	if accepted == 0 {
		return "no generation of it was accepted, so nothing of it is served"
	}
	return fmt.Sprintf("generation %d, the last accepted one, is served on", accepted)
}
