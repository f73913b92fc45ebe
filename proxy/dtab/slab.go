package dtab

// slabElements bounds how many elements a slab takes at a time. It begins with what one text needs.
const slabElements = 1024

// slab cuts slices from larger ones.
type slab[T any] struct {
	free, last []T
}

// take returns an empty slice with room for n elements.
func (s *slab[T]) take(n int) []T {
	if n > len(s.free) {
		s.last = make([]T, max(min(2*len(s.last), slabElements), n))
		s.free = s.last
	}
	out := s.free[:0:n]
	s.free = s.free[n:]
	return out
}

// again makes what was taken free, except for what other memory had to be asked for since.
func (s *slab[T]) again() { s.free = s.last }

// Parser parses one text after the other in the same memory. Its zero value is ready for use, by one goroutine.
type Parser struct {
	paths    slab[string]
	prefixes slab[Elem]
	branches slab[Weighted]
}

// again makes the memory of all that was parsed free.
func (shared *Parser) again() *Parser {
	shared.paths.again()
	shared.prefixes.again()
	shared.branches.again()
	return shared
}
