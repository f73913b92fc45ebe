package app

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/proxy/transport"
)

// Clients that were turned away are told of with their number, the limit and what to do, once in a while; none is forgotten.
func TestShortageIsSaid(t *testing.T) {
	t.Parallel()
	var lines []string
	log := funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{})
	l, err := transport.Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), transport.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var s shortage
	now := time.Now()
	said := func(after time.Duration, want string) {
		t.Helper()
		lines = nil
		s.say(log, l, now.Add(after))
		got := strings.Join(lines, "\n")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("after %v: said %q, want %q", after, got, want)
		}
	}
	said(0, "")
	l.Starved.Add(3)
	said(time.Second, `"starved"=3 "acceptErrors"=0 "open"=0 "limit"=`)
	if !strings.Contains(lines[0], "RLIMIT_NOFILE") {
		t.Errorf("%q does not say what to do", lines[0])
	}
	l.Starved.Add(2)
	said(2*time.Second, "")
	l.Errors.Add(1)
	said(11*time.Second, `"starved"=2 "acceptErrors"=1 `)
	said(time.Minute, "")
}

// A small limit is told of at the start, with how many clients it is enough for.
//
//nolint:paralleltest // the limit is that of the process
func TestSmallLimitIsSaid(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &old) }()
	for limit, want := range map[uint64]string{
		4096:              `"limit"=4096 "recommended"=24576 "clientsAtMost"=3072 "clientsAndEndpointsAtMost"=3968 "action"="raise RLIMIT_NOFILE`,
		enoughDescriptors: "",
	} {
		if limit > old.Max {
			t.Logf("a limit of %d is more than this process may have", limit)
			continue
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: old.Max}); err != nil {
			t.Fatal(err)
		}
		var got string
		warnOfDescriptors(funcr.New(func(_, args string) { got = args }, funcr.Options{}))
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("limit %d: %q", limit, got)
		}
	}
}
