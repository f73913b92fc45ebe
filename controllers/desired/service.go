package desired

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/fairlead/fairlead/proxy/config"
)

// Service returns the Service of the proxies. With distribution PreferSameNode a client reaches the proxy of its own node, and
// another one while that is rolled. API servers that do not know the value refuse it; PreferClose is the next best.
func Service(m *config.Mesh, distribution string) *corev1ac.ServiceApplyConfiguration {
	spec := corev1ac.ServiceSpec().
		WithType(corev1.ServiceTypeClusterIP).
		WithSelector(selector(m)).
		WithTrafficDistribution(distribution)
	for _, p := range servedPorts(m) {
		spec.WithPorts(servicePort(p.name, p.number))
	}
	spec.WithPorts(servicePort("admin", m.Spec.Admin.Port))
	return corev1ac.Service(ProxyObject(m.Name), m.Namespace).
		WithLabels(labels(m)).
		WithOwnerReferences(owner(m)).
		WithSpec(spec)
}

func servicePort(name string, number int32) *corev1ac.ServicePortApplyConfiguration {
	return corev1ac.ServicePort().
		WithName(name).
		WithPort(number).
		WithTargetPort(intstr.FromInt32(number)).
		WithProtocol(corev1.ProtocolTCP).
		WithAppProtocol("http")
}
