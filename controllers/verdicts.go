package controllers

import (
	"sync"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// dtabChannelSize is how many changed verdicts may wait for the Dtab controller's queue; the Mesh controller waits beyond that.
const dtabChannelSize = 1024

// verdict is what the Mesh controller decided about one Dtab: its status, without times of transition.
type verdict struct {
	uid    types.UID
	mesh   types.NamespacedName
	status v1alpha1.DtabStatus
}

// verdicts hands what the Mesh controller decides to the Dtab controller.
type verdicts struct {
	mu     sync.Mutex
	byDtab map[types.NamespacedName]verdict
}

// put keeps a verdict and reports whether it is news.
func (v *verdicts) put(dtab types.NamespacedName, next verdict) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	last, ok := v.byDtab[dtab]
	if ok && last.uid == next.uid && last.mesh == next.mesh && equality.Semantic.DeepEqual(last.status, next.status) {
		return false
	}
	v.byDtab[dtab] = next
	return true
}

func (v *verdicts) get(dtab types.NamespacedName) (verdict, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	found, ok := v.byDtab[dtab]
	return found, ok
}

// drop forgets a Dtab, but not what another mesh decided about it since.
func (v *verdicts) drop(dtab, mesh types.NamespacedName) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.byDtab[dtab].mesh == mesh {
		delete(v.byDtab, dtab)
	}
}
