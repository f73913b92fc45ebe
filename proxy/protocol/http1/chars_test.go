package http1

import "testing"

// TestValidValue compares the fast check with the table for every byte at every place of a word, among neighbours that could carry into it.
func TestValidValue(t *testing.T) {
	t.Parallel()
	for _, fill := range []byte{' ', 'a', 0x7e, 0x80, 0xff, '\t'} {
		for c := range 256 {
			for at := range 11 {
				b := []byte{fill, fill, fill, fill, fill, fill, fill, fill, fill, fill, fill}
				b[at] = byte(c)
				want := chars[c]&charValue != 0
				if got := validValue(b); got != want || got != all(b, charValue) {
					t.Fatalf("%q: got %v, want %v", b, got, want)
				}
			}
		}
	}
	if !validValue(nil) {
		t.Error("an empty value is valid")
	}
}
