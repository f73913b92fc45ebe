package dtab

// Hit is one dentry that matches a path, and the tree it gives for it.
type Hit struct {
	Dentry Dentry
	Tree   Tree
}

// Hits returns what one lookup step in t's dtab followed by local is made of: every matching dentry, last dentry first. LookupWith
// joins the same trees.
func (t *Table) Hits(local Dtab, p Path) []Hit {
	var hits []Hit
	for _, d := range []Dtab{local, t.local} {
		for i := len(d) - 1; i >= 0; i-- {
			if n, ok := d[i].Prefix.Matches(p); ok {
				hits = append(hits, Hit{d[i], d[i].hit(p, n).Tree})
			}
		}
	}
	for _, m := range t.find(nil, p) {
		d := t.parts[m.part].At(int(m.index))
		hits = append(hits, Hit{d, d.hit(p, m.used).Tree})
	}
	return hits
}
