package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// Build returns what a proxy serves from: the mesh, and the Dtabs in the order they apply, which is by priority, namespace and
// name. Once a Dtab would take the mesh over MaxDentriesPerMesh, it and all after it are refused. The slice given stays as it is.
func Build(m *Mesh, dtabs []*Dtab) (*Config, []Refusal) {
	sorted := slices.Clone(dtabs)
	slices.SortStableFunc(sorted, compareDtabs)
	served, tail := limitDtabs(m, sorted)

	members := make([]Member, len(served))
	for i, d := range served {
		members[i] = Member{UID: d.UID, Generation: d.Generation}
	}
	return &Config{Mesh: m, Dtabs: served, Revision: Revision(members), Routers: effectiveRouters(m, served)}, tail
}

func compareDtabs(a, b *Dtab) int {
	return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// limitDtabs cuts the sorted Dtabs where they no longer fit.
func limitDtabs(m *Mesh, sorted []*Dtab) (served []*Dtab, tail []Refusal) {
	total := 0
	for i := range m.Routers {
		total += m.Routers[i].Dtab.Len()
	}
	n := 0
	for ; n < len(sorted); n++ {
		if total+sorted[n].Dentries.Len() > MaxDentriesPerMesh {
			break
		}
		total += sorted[n].Dentries.Len()
	}
	for _, d := range sorted[n:] {
		tail = append(tail, Refusal{
			Kind: "Dtab", Namespace: d.Namespace, Name: d.Name, UID: d.UID, Generation: d.Generation,
			Err: refuse(v1alpha1.ReasonTooManyDentries, "spec.dentries",
				"expected at most %d rules in all of the mesh %s/%s, found %d before this Dtab or one that applies earlier",
				MaxDentriesPerMesh, m.Namespace, m.Name, total),
		})
	}
	return sorted[:n:n], tail
}

// effectiveRouters returns the routers of the mesh with the rules of the Dtabs.
func effectiveRouters(m *Mesh, served []*Dtab) []Router {
	routers := slices.Clone(m.Routers)
	index := make(map[string]int, len(routers))
	for i := range routers {
		index[routers[i].Name] = i
	}
	for _, d := range served {
		if i, ok := index[d.Router]; ok && d.Dentries.Len() > 0 {
			routers[i].Objects = append(routers[i].Objects, d.Dentries)
		}
	}
	return routers
}

// Revision names a set of Dtabs: 16 hexadecimal digits that depend on each UID and generation and on nothing else, so operator
// and proxy compute the same without talking. The empty set has a revision too.
func Revision(members []Member) string {
	sorted := slices.Clone(members)
	slices.SortFunc(sorted, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.UID, b.UID), cmp.Compare(a.Generation, b.Generation))
	})
	hash := sha256.New()
	var line []byte
	for _, m := range sorted {
		line = append(append(line[:0], m.UID...), 0)
		line = append(strconv.AppendInt(line, m.Generation, 10), '\n')
		hash.Write(line)
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}
