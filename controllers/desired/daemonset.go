package desired

import (
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
)

// Places in the proxy's container.
const (
	configDir   = "/etc/fairlead"
	snapshotDir = "/var/lib/fairlead"
	nonRoot     = 65532
)

// Probes. Readiness is also the sign of life behind the condition Programmed: a frozen proxy is found after about five seconds,
// without any write of its own. Liveness is lenient: a restart costs every connection.
const (
	readyPeriod, readyTimeout, readyFailures = 1, 2, 3
	livePeriod, liveTimeout, liveFailures    = 10, 5, 9
)

// DaemonSet returns the DaemonSet of the proxies. Its Pod template depends on spec.proxy (but for the log level) and on ports
// alone, so no other edit of the Mesh restarts a proxy. defaultImage is used where the Mesh names none.
func DaemonSet(m *config.Mesh, defaultImage string) *appsv1ac.DaemonSetApplyConfiguration {
	proxy := &m.Spec.Proxy
	return appsv1ac.DaemonSet(ProxyObject(m.Name), m.Namespace).
		WithLabels(labels(m)).
		WithOwnerReferences(owner(m)).
		WithSpec(appsv1ac.DaemonSetSpec().
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(selector(m))).
			WithUpdateStrategy(appsv1ac.DaemonSetUpdateStrategy().
				WithType(appsv1.RollingUpdateDaemonSetStrategyType).
				WithRollingUpdate(appsv1ac.RollingUpdateDaemonSet().WithMaxUnavailable(intstr.Parse(proxy.MaxUnavailable)))).
			WithTemplate(corev1ac.PodTemplateSpec().
				WithLabels(proxy.Labels).
				WithLabels(labels(m)). // ours win
				WithAnnotations(proxy.Annotations).
				WithSpec(podSpec(m, defaultImage))))
}

func podSpec(m *config.Mesh, defaultImage string) *corev1ac.PodSpecApplyConfiguration {
	proxy := &m.Spec.Proxy
	pod := corev1ac.PodSpec().
		WithServiceAccountName(ProxyObject(m.Name)).
		WithAutomountServiceAccountToken(true).
		WithEnableServiceLinks(false).
		WithPriorityClassName(proxy.PriorityClassName).
		WithTerminationGracePeriodSeconds(int64(proxy.TerminationGracePeriodSeconds)).
		WithTolerations(tolerations(proxy.Tolerations)...).
		WithSecurityContext(corev1ac.PodSecurityContext().
			WithRunAsNonRoot(true).WithRunAsUser(nonRoot).WithRunAsGroup(nonRoot).WithFSGroup(nonRoot).
			WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithContainers(container(m, defaultImage)).
		WithVolumes(
			corev1ac.Volume().WithName("config").WithConfigMap(corev1ac.ConfigMapVolumeSource().WithName(v1alpha1.ConfigMapName(m.Name))),
			corev1ac.Volume().WithName("snapshot").WithEmptyDir(corev1ac.EmptyDirVolumeSource().WithSizeLimit(resource.MustParse("256Mi"))))
	if len(proxy.NodeSelector) > 0 {
		pod.WithNodeSelector(proxy.NodeSelector)
	}
	if proxy.HostNetwork {
		pod.WithHostNetwork(true).WithDNSPolicy(corev1.DNSClusterFirstWithHostNet)
	}
	return pod
}

func container(m *config.Mesh, defaultImage string) *corev1ac.ContainerApplyConfiguration {
	proxy := &m.Spec.Proxy
	image := proxy.Image
	if image == "" {
		image = defaultImage
	}
	resources := resourcesOf(proxy.Resources)
	return corev1ac.Container().
		WithName(ContainerName).
		WithImage(image).
		WithImagePullPolicy(proxy.ImagePullPolicy).
		WithCommand(command(m)...).
		WithEnv(environment(resources)...).
		WithPorts(containerPorts(m)...).
		WithResources(resources).
		WithReadinessProbe(probe("/admin/ready", m.Spec.Admin.Port).
			WithPeriodSeconds(readyPeriod).WithTimeoutSeconds(readyTimeout).WithFailureThreshold(readyFailures)).
		WithLivenessProbe(probe("/admin/ping", m.Spec.Admin.Port).
			WithPeriodSeconds(livePeriod).WithTimeoutSeconds(liveTimeout).WithFailureThreshold(liveFailures)).
		WithSecurityContext(corev1ac.SecurityContext().
			WithAllowPrivilegeEscalation(false).
			WithReadOnlyRootFilesystem(true).
			WithRunAsNonRoot(true).
			WithCapabilities(corev1ac.Capabilities().WithDrop("ALL"))).
		WithVolumeMounts(
			corev1ac.VolumeMount().WithName("config").WithMountPath(configDir).WithReadOnly(true),
			corev1ac.VolumeMount().WithName("snapshot").WithMountPath(snapshotDir))
}

// command does not name the log level: a proxy takes that from its Mesh, without a restart.
func command(m *config.Mesh) []string {
	out := []string{
		"/proxy", "--config=" + configDir, "--mesh=" + m.Namespace + "/" + m.Name, "--mesh-uid=" + m.UID, "--snapshot-dir=" + snapshotDir,
	}
	if grace := m.Spec.Proxy.TerminationGracePeriodSeconds; grace != v1alpha1.DefaultTerminationGraceSeconds {
		// As with the defaults (20 of 30 seconds): the last third is for what follows the drain.
		out = append(out, fmt.Sprintf("--drain=%ds", max(1, grace*2/3)))
	}
	return out
}

func probe(path string, port int32) *corev1ac.ProbeApplyConfiguration {
	return corev1ac.Probe().WithHTTPGet(corev1ac.HTTPGetAction().WithPath(path).WithPort(intstr.FromInt32(port)))
}

// containerPorts are the routers' ports, each also on the node, and the admin port, on the Pod's address alone. With hostNetwork
// the API server wants hostPort and containerPort to be equal, and sets it so where it is not given.
func containerPorts(m *config.Mesh) []*corev1ac.ContainerPortApplyConfiguration {
	var ports []*corev1ac.ContainerPortApplyConfiguration
	for _, p := range servedPorts(m) {
		port := corev1ac.ContainerPort().WithContainerPort(p.number).WithProtocol(corev1.ProtocolTCP)
		if !m.Spec.Proxy.HostNetwork {
			port.WithHostPort(p.number)
		}
		ports = append(ports, port)
	}
	return append(ports, corev1ac.ContainerPort().
		WithName("admin").WithContainerPort(m.Spec.Admin.Port).WithProtocol(corev1.ProtocolTCP))
}

func environment(resources *corev1ac.ResourceRequirementsApplyConfiguration) []*corev1ac.EnvVarApplyConfiguration {
	var env []*corev1ac.EnvVarApplyConfiguration
	for _, f := range []struct{ name, path string }{
		{"POD_NAME", "metadata.name"},
		{"POD_NAMESPACE", "metadata.namespace"},
		{"POD_UID", "metadata.uid"},
		{"POD_IP", "status.podIP"},
		{"NODE_NAME", "spec.nodeName"},
		{"HOST_IP", "status.hostIP"},
	} {
		env = append(env, corev1ac.EnvVar().WithName(f.name).WithValueFrom(corev1ac.EnvVarSource().
			WithFieldRef(corev1ac.ObjectFieldSelector().WithAPIVersion("v1").WithFieldPath(f.path))))
	}
	if resources.Limits != nil {
		if limit, ok := (*resources.Limits)[corev1.ResourceMemory]; ok {
			// The collector works harder before the kernel would end the process.
			env = append(env, corev1ac.EnvVar().WithName("GOMEMLIMIT").WithValue(strconv.FormatInt(limit.Value()/10*9, 10)))
		}
	}
	return env
}

func resourcesOf(given *corev1.ResourceRequirements) *corev1ac.ResourceRequirementsApplyConfiguration {
	if given == nil {
		given = &corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
		}
	}
	out := corev1ac.ResourceRequirements()
	if len(given.Requests) > 0 {
		out.WithRequests(given.Requests)
	}
	if len(given.Limits) > 0 {
		out.WithLimits(given.Limits)
	}
	return out
}

func tolerations(given []corev1.Toleration) []*corev1ac.TolerationApplyConfiguration {
	if len(given) == 0 {
		return []*corev1ac.TolerationApplyConfiguration{corev1ac.Toleration().WithOperator(corev1.TolerationOpExists)}
	}
	out := make([]*corev1ac.TolerationApplyConfiguration, 0, len(given))
	for _, t := range given {
		ac := corev1ac.Toleration()
		if t.Key != "" {
			ac.WithKey(t.Key)
		}
		if t.Operator != "" {
			ac.WithOperator(t.Operator)
		}
		if t.Value != "" {
			ac.WithValue(t.Value)
		}
		if t.Effect != "" {
			ac.WithEffect(t.Effect)
		}
		if t.TolerationSeconds != nil {
			ac.WithTolerationSeconds(*t.TolerationSeconds)
		}
		out = append(out, ac)
	}
	return out
}
