package dtab

// slabElements bounds how many elements a slab takes at a time. It begins with what one text needs.
const slabElements = 1024

// slab cuts slices from larger ones: where many texts are parsed, the collector of garbage then has few objects to follow.
type slab[T any] struct {
	free []T
	size int
}

// take returns an empty slice with room for n elements.
func (s *slab[T]) take(n int) []T {
	if n > len(s.free) {
		s.size = max(min(2*s.size, slabElements), n)
		s.free = make([]T, s.size)
	}
	out := s.free[:0:n]
	s.free = s.free[n:]
	return out
}

// Parser parses many dentries into memory that they share: keep all of them or none. Its zero value is ready for use, by one goroutine.
type Parser struct {
	paths    slab[string]
	prefixes slab[Elem]
	branches slab[Weighted]
}
