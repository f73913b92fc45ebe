package http1

import "encoding/binary"

// Classes of bytes, one bit each.
const (
	charToken  = 1 << iota // RFC 9110 section 5.6.2
	charValue              // field-content with blanks, RFC 9110 section 5.5
	charTarget             // what a request target may hold: no fragment; bytes of UTF-8 pass as servers in use expect
	charName               // RFC 3986 reg-name but for escapes; no list
)

// chars is the class table. It is computed once and never written again.
var chars = charTable()

func charTable() (t [256]uint8) {
	for i := range 256 {
		c := byte(i)
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if alnum {
			t[i] |= charToken | charName
		}
		if c == '\t' || c >= ' ' && c != 0x7f {
			t[i] |= charValue
		}
		if c > ' ' && c != 0x7f && c != '#' {
			t[i] |= charTarget
		}
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] |= charToken
	}
	for _, c := range "-._~!$&'()*+;=" {
		t[c] |= charName
	}
	return t
}

func all(b []byte, class uint8) bool {
	ok := class
	for _, c := range b {
		ok &= chars[c]
	}
	return ok != 0
}

// validValue is all with charValue, eight bytes at a time: only a word with a control character in it is looked at closely.
func validValue(b []byte) bool {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	for len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b)
		del := w ^ ones*0x7f
		if ((w-ones*0x20)&^w|(del-ones)&^del)&highs != 0 && !all(b[:8], charValue) {
			return false
		}
		b = b[8:]
	}
	return all(b, charValue)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// fold reports whether b is s, which must be in lower case, in any case of ASCII.
func fold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if lower(c) != s[i] {
			return false
		}
	}
	return true
}

func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if lower(c) != lower(s[i]) {
			return false
		}
	}
	return true
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// cutComma splits a list-valued field at its first comma.
func cutComma(b []byte) (item, rest []byte) {
	for i, c := range b {
		if c == ',' {
			return trim(b[:i]), b[i+1:]
		}
	}
	return trim(b), nil
}

// parseLength reads digits alone; ok is false for anything else and for what does not fit.
func parseLength(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
