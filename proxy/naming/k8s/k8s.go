// Package k8s is the io.l5d.k8s family of namers: /<namespace>/<port>/<service> is bound to the endpoints of that Service's port, or to
// the addresses of its load balancer. It owns the one store of Services and EndpointSlices of the process, with export and import for
// the snapshot on disk.
//
// It watches two resources, each once, however many names are in use. It does not watch Pods, Nodes or the project's own kinds.
package k8s

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/rest"

	"github.com/fairlead/fairlead/proxy/naming/k8s/reflector"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

const (
	defaultMaxServices  = 50_000
	defaultMaxEndpoints = 300_000
)

// Options of a Store. The zero value of a field means its default.
type Options struct {
	// REST says where the API server is and how to log in; required. Content type and group are set here.
	REST *rest.Config
	Log  logr.Logger
	// Scope gets the gauges services and endpoints, the counters below ignored/ (one per oddity), and those of the two watches.
	// Required.
	Scope telemetry.Scope
	// MaxServices and MaxEndpoints bound the store; default 50,000 and 300,000. An object beyond is ignored and counted. MaxEndpoints
	// also bounds the EndpointSlices, which may be empty.
	MaxServices, MaxEndpoints int
	// Silence is how long a watch may say nothing; default reflector.DefaultSilence.
	Silence time.Duration
	// OnError, if given, is called with every error of a list or watch.
	OnError func(error)
}

// Store holds what is known of Services and EndpointSlices, and keeps the names that are in use live.
type Store struct {
	opts             Options
	odd              oddities
	labels           labels
	services, slices *reflector.Reflector

	mu    sync.Mutex
	table table
	// servicesSynced and slicesSynced are set by the first complete list of the API server.
	servicesSynced, slicesSynced bool
	// imported is set when the table was filled from a snapshot.
	imported bool
	// version counts changes of the table.
	version uint64
	// knownLabels are those that the slices of the table have, those of them that have any.
	knownLabels []string
	// targets are what is in use, by service.
	targets map[name]map[view]*target
}

// New returns a Store that knows nothing until Import or Run.
func New(o Options) (*Store, error) {
	if o.REST == nil || o.Scope == nil {
		return nil, errors.New("k8s store: REST and Scope are required")
	}
	if o.MaxServices == 0 {
		o.MaxServices = defaultMaxServices
	}
	if o.MaxEndpoints == 0 {
		o.MaxEndpoints = defaultMaxEndpoints
	}
	core, err := builtinClient(o.REST, corev1.SchemeGroupVersion)
	if err != nil {
		return nil, fmt.Errorf("client of services: %w", err)
	}
	discovery, err := builtinClient(o.REST, discoveryv1.SchemeGroupVersion)
	if err != nil {
		return nil, fmt.Errorf("client of endpointslices: %w", err)
	}
	s := &Store{opts: o, odd: newOddities(o.Scope), table: newTable(), targets: map[name]map[view]*target{}}
	s.labels.grown = make(chan struct{}, 1)
	s.odd.labels = &s.labels
	watch := reflector.Options{Log: o.Log, Silence: o.Silence, OnError: o.OnError}
	ws := watch
	ws.Client, ws.Resource, ws.Object = core, "services", &corev1.Service{}
	ws.Store, ws.Scope = serviceSink{s}, o.Scope.Scope("services")
	s.services = reflector.New(ws)
	we := watch
	we.Client, we.Resource, we.Object = discovery, "endpointslices", &discoveryv1.EndpointSlice{}
	we.Store, we.Scope = sliceSink{s}, o.Scope.Scope("endpointslices")
	s.slices = reflector.New(we)
	o.Scope.GaugeFunc("services", func() float64 { return float64(s.counts().services) })
	o.Scope.GaugeFunc("endpoints", func() float64 { return float64(s.counts().endpoints) })
	return s, nil
}

// Run watches until ctx is done.
func (s *Store) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.services.Run(ctx) })
	wg.Go(func() { s.labels.run(ctx, s.slices.Run) })
}

// Synced reports whether both resources were listed from the API server. It stays true.
func (s *Store) Synced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced()
}

func (s *Store) synced() bool { return s.servicesSynced && s.slicesSynced }

// Known reports whether names can be answered: from the API server or from a snapshot.
func (s *Store) Known() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known()
}

func (s *Store) known() bool { return s.imported || s.synced() }

// Contact returns when both watches were last heard (the older of the two) and what is wrong with one of them, if anything.
func (s *Store) Contact() (time.Time, error) {
	a, errA := s.services.Contact()
	b, errB := s.slices.Contact()
	if b.Before(a) {
		a = b
	}
	return a, errors.Join(errA, errB)
}

// Version changes whenever what Export returns changes.
func (s *Store) Version() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

type counts struct{ services, endpoints int }

func (s *Store) counts() counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return counts{len(s.table.services), s.table.endpoints}
}
