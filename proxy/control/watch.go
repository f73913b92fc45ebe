package control

import (
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// meshClient returns a client of our own group, whose scheme knows nothing else.
func meshClient(cfg *rest.Config) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	c := rest.CopyConfig(cfg)
	gv := v1alpha1.GroupVersion
	c.GroupVersion, c.APIPath = &gv, "/apis"
	c.ContentType, c.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	return rest.RESTClientFor(c)
}

// sink holds the objects of one watch, without status and managed fields, and says when a generation changed.
type sink[T metav1.Object] struct {
	strip   func(T) T
	changed func()

	mu      sync.Mutex
	objects map[types.NamespacedName]T
	synced  bool
}

func newSink[T metav1.Object](strip func(T) T, changed func()) *sink[T] {
	return &sink[T]{strip: strip, changed: changed, objects: map[types.NamespacedName]T{}}
}

func stripMesh(m *v1alpha1.Mesh) *v1alpha1.Mesh {
	return &v1alpha1.Mesh{TypeMeta: m.TypeMeta, ObjectMeta: stripMeta(&m.ObjectMeta), Spec: m.Spec}
}

func stripDtab(d *v1alpha1.Dtab) *v1alpha1.Dtab {
	return &v1alpha1.Dtab{TypeMeta: d.TypeMeta, ObjectMeta: stripMeta(&d.ObjectMeta), Spec: d.Spec}
}

func stripMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, Generation: m.Generation, ResourceVersion: m.ResourceVersion,
	}
}

// list returns the objects, in no order, and whether the API server has listed them.
func (s *sink[T]) list() ([]T, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]T, 0, len(s.objects))
	for _, o := range s.objects {
		out = append(out, o)
	}
	return out, s.synced
}

// Add implements cache.ReflectorStore.
func (s *sink[T]) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore. A change of status or labels alone is none.
func (s *sink[T]) Update(obj any) error {
	o, ok := obj.(T)
	if !ok {
		return fmt.Errorf("watch: unexpected %T", obj)
	}
	s.mu.Lock()
	old, known := s.objects[nameOf(o)]
	s.objects[nameOf(o)] = s.strip(o)
	s.mu.Unlock()
	if !known || old.GetUID() != o.GetUID() || old.GetGeneration() != o.GetGeneration() {
		s.changed()
	}
	return nil
}

// Delete implements cache.ReflectorStore.
func (s *sink[T]) Delete(obj any) error {
	o, ok := obj.(metav1.Object)
	if !ok {
		return fmt.Errorf("watch: unexpected %T", obj)
	}
	s.mu.Lock()
	delete(s.objects, nameOf(o))
	s.mu.Unlock()
	s.changed()
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *sink[T]) Replace(list []any, _ string) error {
	objects := make(map[types.NamespacedName]T, len(list))
	for _, obj := range list {
		if o, ok := obj.(T); ok {
			objects[nameOf(o)] = s.strip(o)
		}
	}
	s.mu.Lock()
	s.objects, s.synced = objects, true
	s.mu.Unlock()
	s.changed()
	return nil
}

// Resync implements cache.ReflectorStore.
func (s *sink[T]) Resync() error { return nil }

// Transformer implements cache.TransformingStore.
func (s *sink[T]) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if o, ok := obj.(T); ok {
			return s.strip(o), nil
		}
		return obj, nil
	}
}

func nameOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}
