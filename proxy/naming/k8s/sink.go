package k8s

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// serviceSink and sliceSink are the Store as the two watches see it. They return no errors: one odd object never stops the rest.
type (
	serviceSink struct{ *Store }
	sliceSink   struct{ *Store }
)

// Add implements cache.ReflectorStore.
func (s serviceSink) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s serviceSink) Update(obj any) error {
	svc, ok := obj.(*corev1.Service)
	if !ok {
		return fmt.Errorf("services: unexpected %T", obj)
	}
	kept := s.odd.service(svc)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.putService(kept)
	s.version++
	s.refresh(kept.key())
	return nil
}

// putService adds or replaces a Service. The caller holds mu.
func (s *Store) putService(svc *Service) {
	if _, known := s.table.services[svc.key()]; !known && len(s.table.services) >= s.opts.MaxServices {
		s.odd.overLimit.Incr(0)
		return
	}
	s.table.services[svc.key()] = svc
}

// Delete implements cache.ReflectorStore.
func (s serviceSink) Delete(obj any) error {
	key, ok := objectKey(obj)
	if !ok {
		return fmt.Errorf("services: unexpected %T", obj)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.table.services, key)
	s.version++
	s.refresh(key)
	return nil
}

// Replace implements cache.ReflectorStore.
func (s serviceSink) Replace(list []any, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table.services = make(map[name]*Service, len(list))
	for _, obj := range list {
		switch o := obj.(type) {
		case *Service:
			s.putService(o)
		case *corev1.Service:
			s.putService(s.odd.service(o))
		}
	}
	s.servicesSynced = true
	s.version++
	s.refreshAll()
	return nil
}

// Resync implements cache.ReflectorStore.
func (s serviceSink) Resync() error { return nil }

// Transformer implements cache.TransformingStore: of objects that wait for the end of a list only what will be held waits.
func (s serviceSink) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if svc, ok := obj.(*corev1.Service); ok {
			return s.odd.service(svc), nil
		}
		return obj, nil
	}
}

// Add implements cache.ReflectorStore.
func (s sliceSink) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s sliceSink) Update(obj any) error {
	es, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok {
		return fmt.Errorf("endpointslices: unexpected %T", obj)
	}
	kept := s.odd.slice(es)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	if kept == nil {
		// It may have been of use before.
		s.refresh(s.table.deleteSlice(name{es.Namespace, es.Name})...)
		return nil
	}
	s.refresh(s.putSlice(kept)...)
	return nil
}

// putSlice adds or replaces a slice and returns the Services concerned. The caller holds mu.
func (s *Store) putSlice(kept *Slice) []name {
	size, number := s.table.endpoints+len(kept.Addresses), len(s.table.slices)+1
	if old := s.table.slices[kept.key()]; old != nil {
		size, number = size-len(old.Addresses), number-1
	}
	if size > s.opts.MaxEndpoints || number > s.opts.MaxEndpoints {
		s.odd.overLimit.Incr(0)
		return s.table.deleteSlice(kept.key())
	}
	return s.table.putSlice(kept)
}

// Delete implements cache.ReflectorStore.
func (s sliceSink) Delete(obj any) error {
	key, ok := objectKey(obj)
	if !ok {
		return fmt.Errorf("endpointslices: unexpected %T", obj)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.refresh(s.table.deleteSlice(key)...)
	return nil
}

// Replace implements cache.ReflectorStore.
func (s sliceSink) Replace(list []any, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table.clearSlices()
	for _, obj := range list {
		kept, ok := obj.(*Slice)
		if es, full := obj.(*discoveryv1.EndpointSlice); full {
			kept, ok = s.odd.slice(es), true
		}
		if ok && kept != nil {
			s.putSlice(kept)
		}
	}
	s.slicesSynced, s.knownLabels = true, s.labels.keep()
	s.version++
	s.refreshAll()
	return nil
}

// Resync implements cache.ReflectorStore.
func (s sliceSink) Resync() error { return nil }

// Transformer implements cache.TransformingStore.
func (s sliceSink) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if es, ok := obj.(*discoveryv1.EndpointSlice); ok {
			return s.odd.slice(es), nil
		}
		return obj, nil
	}
}

func objectKey(obj any) (name, bool) {
	m, ok := obj.(metav1.Object)
	if !ok {
		return name{}, false
	}
	return name{m.GetNamespace(), m.GetName()}, true
}
