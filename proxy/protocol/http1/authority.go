package http1

import "bytes"

// isAuthority reports whether b is a host and, if it has a colon behind it, a port of any number of digits, as RFC 3986, section 3.2, has
// them: what two parsers split in different places leads to one host here and to another one there. User information is none, and an
// empty host is none.
func isAuthority(b []byte) bool {
	if all(b, charName) {
		return len(b) > 0 // nearly every one
	}
	host := b
	if b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 || !isLiteral(b[1:end]) {
			return false
		}
		host = b[:end+1]
	} else {
		if colon := bytes.IndexByte(b, ':'); colon >= 0 {
			host = b[:colon]
		}
		if len(host) == 0 || !isName(host) {
			return false
		}
	}
	port := b[len(host):]
	return len(port) == 0 || port[0] == ':' && areDigits(port[1:])
}

func areDigits(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) {
			return false
		}
	}
	return true
}

// isName reports whether b has characters of a name and whole escapes alone.
func isName(b []byte) bool {
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && i+2 < len(b) && unhex(b[i+1]) >= 0 && unhex(b[i+2]) >= 0 {
			i += 2
			continue
		}
		if chars[b[i]]&charName == 0 {
			return false
		}
	}
	return true
}

// isLiteral reports whether b may stand in brackets: an IPv6 address, which may have a zone (RFC 6874), or one of a version to come.
func isLiteral(b []byte) bool {
	if len(b) > 0 && lower(b[0]) == 'v' {
		return isFuture(b[1:])
	}
	if percent := bytes.IndexByte(b, '%'); percent >= 0 {
		zone, ok := bytes.CutPrefix(b[percent:], []byte("%25"))
		if !ok || len(zone) == 0 || !isName(zone) {
			return false
		}
		b = b[:percent]
	}
	return isIPv6(b)
}

// isFuture reports whether b is the number of a version in hex, a dot, and an address of it.
func isFuture(b []byte) bool {
	version, address, _ := bytes.Cut(b, []byte{'.'})
	if len(version) == 0 || len(address) == 0 {
		return false
	}
	for _, c := range version {
		if unhex(c) < 0 {
			return false
		}
	}
	for _, c := range address {
		if c != ':' && chars[c]&charName == 0 {
			return false
		}
	}
	return true
}

// isIPv6 is netip.ParseAddr of an address without a zone, which would allocate.
func isIPv6(b []byte) bool {
	groups, gap := 0, false
	if bytes.HasPrefix(b, []byte("::")) {
		b, gap = b[2:], true
	}
	for len(b) > 0 {
		n := 0
		for n < len(b) && unhex(b[n]) >= 0 {
			n++
		}
		if n < len(b) && b[n] == '.' {
			groups += 2
			return isIPv4(b) && groups <= 8 && gap == (groups < 8)
		}
		if n == 0 || n > 4 {
			return false
		}
		groups++
		b = b[n:]
		switch {
		case len(b) == 0:
		case bytes.HasPrefix(b, []byte("::")) && !gap:
			b, gap = b[2:], true
		case b[0] == ':' && len(b) > 1 && b[1] != ':':
			b = b[1:]
		default:
			return false
		}
	}
	return groups <= 8 && gap == (groups < 8)
}

// isIPv4 reports whether b is four numbers up to 255 without zeros in front.
func isIPv4(b []byte) bool {
	for parts := 1; ; parts++ {
		n, value := 0, 0
		for n < len(b) && isDigit(b[n]) && value <= 255 {
			value = 10*value + int(b[n]-'0')
			n++
		}
		if n == 0 || value > 255 || n > 1 && b[0] == '0' {
			return false
		}
		if parts == 4 {
			return n == len(b)
		}
		if n == len(b) || b[n] != '.' {
			return false
		}
		b = b[n+1:]
	}
}
