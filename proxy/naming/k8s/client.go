package k8s

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/fairlead/fairlead/proxy/naming/k8s/strip"
)

// read is what is decoded of Services and EndpointSlices, by the field numbers of their protobuf. What record.go reads must stand
// here: TestDecodesWhatIsRead compares.
var read = map[string]strip.Fields{
	"Service": {
		1: {Fields: metadata},
		2: {Fields: strip.Fields{1: {}, 4: {}, 10: {}}}, // spec: ports, type, externalName
		3: {Fields: strip.Fields{1: {}}},                // status: loadBalancer
	},
	"EndpointSlice": {
		1: {Fields: metadata},
		2: {Fields: strip.Fields{1: {}, 2: {}, 6: {}, 7: {}}}, // endpoints: addresses, conditions, nodeName, zone
		3: {},                                                 // ports
		4: {},                                                 // addressType
	},
}

// metadata keeps name, namespace, resourceVersion, labels, and the annotation by which a watch says that its list is complete.
var metadata = strip.Fields{1: {}, 3: {}, 6: {}, 11: {}, 12: {Key: metav1.InitialEventsAnnotationKey}}

// codec reads the two kinds of this package and no other, stripped: the generated clientset costs 20 MB.
func codec() runtime.NegotiatedSerializer {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Service{}, &corev1.ServiceList{})
	scheme.AddKnownTypes(discoveryv1.SchemeGroupVersion, &discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{})
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	metav1.AddToGroupVersion(scheme, discoveryv1.SchemeGroupVersion)
	return strip.Serializer(serializer.NewCodecFactory(scheme).WithoutConversion(), read)
}

// builtinClient returns a client of one built-in group that speaks protobuf.
func builtinClient(cfg *rest.Config, gv schema.GroupVersion) (rest.Interface, error) {
	c := rest.CopyConfig(cfg)
	c.GroupVersion = &gv
	c.APIPath = "/apis"
	if gv.Group == "" {
		c.APIPath = "/api"
	}
	c.ContentType = runtime.ContentTypeProtobuf
	c.AcceptContentTypes = runtime.ContentTypeProtobuf
	c.NegotiatedSerializer = codec()
	c.QPS = -1 // one request at a time, and the reflector sets the pace
	return rest.RESTClientFor(c)
}
