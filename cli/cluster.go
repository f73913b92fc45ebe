package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// Hints for a cluster that cannot be asked.
const (
	hintOffline = "name a cluster with --kubeconfig, --context or --server, or one proxy with --admin; files need neither: fairlead dtab lint -f FILE"
	hintInstall = "fairlead check says what is missing; kubectl apply -k config/default installs it"
)

// hinted adds to an error of asking the API server what to do about it. What the API server itself says needs none.
func hinted(err error) error {
	var said apierrors.APIStatus
	switch {
	case meta.IsNoMatchError(err):
		return &failure{code: exitFailure, err: err, hint: hintInstall}
	case errors.As(err, &said):
		return err
	}
	return &failure{code: exitFailure, err: err, hint: hintOffline}
}

// cluster is what the API server knows of one Mesh.
type cluster struct {
	rest      *rest.Config
	client    client.Client
	namespace string
	mesh      *v1alpha1.Mesh
}

// connect returns the cluster of the kubeconfig, without a Mesh.
func (o *options) connect() (*cluster, error) {
	config, err := o.flags.ToRESTConfig()
	if err != nil {
		return nil, hinted(fmt.Errorf("kubeconfig: %w", err))
	}
	config.UserAgent, config.Timeout = "fairlead/"+o.version, o.timeout
	namespace, explicit, err := o.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, hinted(fmt.Errorf("kubeconfig: %w", err))
	}
	if !explicit && *o.flags.Namespace == "" {
		namespace = "" // a Mesh is looked for everywhere
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, hinted(fmt.Errorf("API server %s: %w", config.Host, err))
	}
	return &cluster{rest: config, client: c, namespace: namespace}, nil
}

// live returns the cluster with the one Mesh that the flags mean.
func (o *options) live(ctx context.Context) (*cluster, error) {
	c, err := o.connect()
	if err != nil {
		return nil, err
	}
	all, err := c.meshes(ctx, "")
	if err != nil {
		return nil, hinted(fmt.Errorf("API server %s: %w", c.rest.Host, err))
	}
	meshes := ofName(all, o.mesh)
	if len(meshes) != 1 {
		return nil, c.notOne(all, meshes, o.mesh)
	}
	c.mesh = &meshes[0]
	return c, nil
}

// notOne says why there is no one Mesh: found are those of all that have the name.
func (c *cluster) notOne(all, found []v1alpha1.Mesh, name string) error {
	where := "in the cluster"
	if c.namespace != "" {
		where = "in namespace " + c.namespace
	}
	switch {
	case len(all) == 0:
		err := fmt.Errorf("expected one Mesh, there is none %s", where)
		return &failure{code: exitFailure, err: err, hint: "--namespace chooses another one; docs/spec/mesh.md says how to make a Mesh"}
	case len(found) == 0:
		return fmt.Errorf("--mesh: there is no Mesh %q %s: expected one of %s", name, where, meshNames(all))
	}
	return fmt.Errorf("expected one Mesh, found %d (%s): choose with --namespace and --mesh", len(found), meshNames(found))
}

func meshNames(list []v1alpha1.Mesh) string {
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Namespace + "/" + list[i].Name
	}
	return strings.Join(names, ", ")
}

func (c *cluster) meshes(ctx context.Context, name string) ([]v1alpha1.Mesh, error) {
	var list v1alpha1.MeshList
	if err := c.client.List(ctx, &list, client.InNamespace(c.namespace)); err != nil {
		return nil, err
	}
	return ofName(list.Items, name), nil
}

// ofName returns the Meshes of a name, all for "".
func ofName(list []v1alpha1.Mesh, name string) []v1alpha1.Mesh {
	return slices.DeleteFunc(slices.Clone(list), func(m v1alpha1.Mesh) bool { return name != "" && m.Name != name })
}

// documents returns a Mesh and its Dtabs as they are in the API server. The Dtabs that are refused are told to leftOut.
func (c *cluster) documents(ctx context.Context, mesh *v1alpha1.Mesh, leftOut func(error)) (*documents, error) {
	var list v1alpha1.DtabList
	if err := c.client.List(ctx, &list); err != nil {
		return nil, err
	}
	out := &documents{mesh: mesh}
	for i := range list.Items {
		d := &list.Items[i]
		if d.Spec.MeshRef.Name == mesh.Name && cmp.Or(d.Spec.MeshRef.Namespace, d.Namespace) == mesh.Namespace {
			out.dtabs = append(out.dtabs, d)
		}
	}
	return out.serve(leftOut), nil
}

// pods returns the proxies of a Mesh that are not about to end, by name.
func (c *cluster) pods(ctx context.Context, mesh *v1alpha1.Mesh) ([]corev1.Pod, error) {
	var list corev1.PodList
	labels := client.MatchingLabels{"app.kubernetes.io/name": "fairlead-proxy", "app.kubernetes.io/instance": mesh.Name}
	if err := c.client.List(ctx, &list, client.InNamespace(mesh.Namespace), labels); err != nil {
		return nil, err
	}
	pods := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return pods, nil
}

// unready returns why a Pod is not ready, or "".
func unready(p *corev1.Pod) string {
	for i := range p.Status.ContainerStatuses {
		if s := &p.Status.ContainerStatuses[i]; s.State.Waiting != nil {
			return "not ready: " + strings.TrimSuffix(s.State.Waiting.Reason+": "+s.State.Waiting.Message, ": ")
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			if c.Status == corev1.ConditionTrue {
				return ""
			}
			return strings.TrimSuffix("not ready: "+cmp.Or(c.Message, c.Reason), ": ")
		}
	}
	return "not ready: " + string(p.Status.Phase)
}
