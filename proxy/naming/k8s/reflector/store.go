package reflector

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
)

// counting is the store as client-go sees it.
type counting struct {
	cache.ReflectorStore
	r *Reflector
}

// Replace implements cache.ReflectorStore.
func (c counting) Replace(list []any, version string) error {
	c.r.relists.Incr(0)
	c.r.heard()
	for i, o := range list {
		if kept, ok := o.(item); ok {
			list[i] = kept.kept
		}
	}
	return c.ReflectorStore.Replace(list, version)
}

// Transformer implements cache.TransformingStore.
func (c counting) Transformer() cache.TransformFunc {
	if t, ok := c.ReflectorStore.(cache.TransformingStore); ok {
		return t.Transformer()
	}
	return nil
}

// item carries what a transformer made of an object through client-go's lists.
type item struct{ kept any }

// GetObjectKind implements runtime.Object.
func (item) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object.
func (i item) DeepCopyObject() runtime.Object { return i }
