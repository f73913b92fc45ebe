package k8s

// table is what is known, by name. It is plain data; Store guards it.
type table struct {
	services map[name]*Service
	slices   map[name]*Slice
	// byService has the slices of each Service, known or not.
	byService map[name]map[name]*Slice
	// endpoints is the number of addresses over all slices.
	endpoints int
}

func newTable() table {
	return table{services: map[name]*Service{}, slices: map[name]*Slice{}, byService: map[name]map[name]*Slice{}}
}

// putSlice adds or replaces a slice and returns the Services concerned: a slice may change hands.
func (t *table) putSlice(s *Slice) []name {
	touched := t.deleteSlice(s.key())
	t.slices[s.key()] = s
	t.endpoints += len(s.Addresses)
	of := t.byService[s.service()]
	if of == nil {
		of = map[name]*Slice{}
		t.byService[s.service()] = of
	}
	of[s.key()] = s
	if len(touched) == 1 && touched[0] == s.service() {
		return touched
	}
	return append(touched, s.service())
}

// deleteSlice removes a slice and returns the Service concerned, if the slice was known.
func (t *table) deleteSlice(key name) []name {
	old := t.slices[key]
	if old == nil {
		return nil
	}
	delete(t.slices, key)
	t.endpoints -= len(old.Addresses)
	of := t.byService[old.service()]
	delete(of, key)
	if len(of) == 0 {
		delete(t.byService, old.service())
	}
	return []name{old.service()}
}

// clearSlices removes every slice.
func (t *table) clearSlices() {
	t.slices, t.byService, t.endpoints = map[name]*Slice{}, map[name]map[name]*Slice{}, 0
}
