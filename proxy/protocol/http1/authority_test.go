package http1

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// What is an authority stands in the wire cases; here is that IPv6 addresses are those of net/netip.
func TestIPv6IsThatOfNetip(t *testing.T) {
	t.Parallel()
	check := func(s string) {
		addr, err := netip.ParseAddr(s)
		if want := err == nil && addr.Is6() && addr.Zone() == ""; isIPv6([]byte(s)) != want {
			t.Fatalf("%q: got %t, want %t (%v)", s, !want, want, err)
		}
	}
	for _, s := range []string{"", ":", "::", ":::", "1::", "::1", "1::8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4::5:6:7:8", "::1.2.3.4",
		"1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "1.2.3.4", "::1.2.3", "::1.2.3.4.5", "::01.2.3.4", "::256.1.1.1", "::1.2.3.4:5", "::a.2.3.4"} {
		check(s)
	}
	r := rand.New(rand.NewPCG(1, 2))
	parts := []string{":", ":", "::", "1", "ab", "FFFF", "0", "12345", "g", "1.2.3.4", "255.0.0.1", "."}
	for range 200000 {
		var s strings.Builder
		for range 1 + r.IntN(17) {
			s.WriteString(parts[r.IntN(len(parts))])
		}
		check(s.String())
	}
	for range 20000 { // nearly well-formed
		groups := make([]string, 6+r.IntN(4))
		for i := range groups {
			groups[i] = []string{"1", "a0", "ffff"}[r.IntN(3)]
		}
		if r.IntN(2) == 0 {
			groups[r.IntN(len(groups))] = ""
		}
		if r.IntN(3) == 0 {
			groups[len(groups)-1] = "10.0.0.1"
		}
		check(strings.Join(groups, ":"))
	}
}

func TestAuthorityAllocatesNothing(t *testing.T) {
	hosts := [][]byte{[]byte("web:80"), []byte("[2001:db8::1]:8080"), []byte("[::ffff:10.0.0.1]"), []byte("[fe80::1%25eth0]")}
	if n := testing.AllocsPerRun(100, func() {
		for _, h := range hosts {
			if !isAuthority(h) {
				t.Fatal(string(h))
			}
		}
	}); n > 0 {
		t.Errorf("got %v allocations", n)
	}
}
