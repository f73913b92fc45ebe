package fs

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// folder is a namer over a real folder.
type folder struct {
	*Namer
	t       *testing.T
	root    string
	options Options

	mu    sync.Mutex // guards lines
	lines []string
}

// told returns what was told of since it was asked last.
func (f *folder) told() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.lines
	f.lines = nil
	return out
}

func newFolder(t *testing.T) *folder {
	t.Helper()
	return newFolderBy(t, newWatcher(true), PollInterval)
}

func newFolderBy(t *testing.T, w *watcher, interval time.Duration) *folder {
	t.Helper()
	r := dns.New(dns.Options{Lookup: func(_ context.Context, host string) ([]netip.Addr, time.Duration, error) {
		if host == "two.test" {
			return []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")}, 0, nil
		}
		return nil, 0, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}})
	t.Cleanup(r.Close)
	f := &folder{t: t, root: t.TempDir()}
	f.options = Options{Resolver: r, OnRefusal: func(file string, err error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.lines = append(f.lines, file+" "+err.Error())
	}}
	f.Namer = newNamer(dtab.Path{"#", "io.l5d.fs"}, f.root, f.options, w, interval)
	t.Cleanup(f.Namer.Close)
	return f
}

func (f *folder) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) write(name, text string) {
	f.t.Helper()
	file := filepath.Join(f.root, name)
	f.must(os.MkdirAll(filepath.Dir(file), 0o755))
	f.must(os.WriteFile(file, []byte(text), 0o644))
}

// replace puts a new file in the place of the old one at once, as editors and kubelet do.
func (f *folder) replace(name, text string) {
	f.t.Helper()
	f.write(name+".new", text)
	f.must(os.Rename(filepath.Join(f.root, name+".new"), filepath.Join(f.root, name)))
}

// lookup returns the live tree of a path given by its elements.
func (f *folder) lookup(elements ...string) naming.Live[naming.Tree] {
	live := f.Lookup(elements)
	f.t.Cleanup(live.Close)
	return live
}

func await[T any](t *testing.T, l naming.Live[T], ok func(T, naming.State, error) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		changed := l.Changed()
		v, s, err := l.Load()
		if ok(v, s, err) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("still %+v, state %d, error %v", v, s, err)
		}
	}
}

func awaitKind(t *testing.T, l naming.Live[naming.Tree], kind dtab.Kind) *naming.Bound {
	t.Helper()
	var b *naming.Bound
	await(t, l, func(tree naming.Tree, s naming.State, _ error) bool {
		b = tree.Bound
		return s == naming.Ok && tree.Kind == kind
	})
	return b
}

func awaitAddrs(t *testing.T, b *naming.Bound, want string) {
	t.Helper()
	await(t, b.Addrs, func(a naming.Addrs, s naming.State, _ error) bool { return s == naming.Ok && shown(a) == want })
}

func shown(a naming.Addrs) string {
	var out []string
	for _, e := range a.Endpoints {
		s := e.Addr.String()
		if e.Weight != 1 {
			s += fmt.Sprintf("*%g", e.Weight)
		}
		if !e.Serving {
			s += "!"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestLookup(t *testing.T) {
	f := newFolder(t)
	f.write("web", "# the servers\n\n10.0.0.1 80\n  10.0.0.2\t8080 * 2.5 # the big one\n10.0.0.1 80\n127.1 1\n::1 443 * 0\r\n")
	f.write("dir/sub/api", "two.test 90\n")
	f.write("empty", "")
	f.write(".hidden", "10.0.0.1 80")
	f.write("blank", "\n#nothing\n")
	f.must(os.Symlink(filepath.Join(f.root, "web"), filepath.Join(f.root, "link")))
	for _, c := range []struct {
		path         []string
		id, residual string // id "" means Neg
		addrs        string
	}{
		{[]string{"web"}, "/#/io.l5d.fs/web", "/", "10.0.0.1:80 10.0.0.2:8080*2.5 127.0.0.1:1 [::1]:443*0"},
		{[]string{"web", "a", "b"}, "/#/io.l5d.fs/web", "/a/b", "10.0.0.1:80 10.0.0.2:8080*2.5 127.0.0.1:1 [::1]:443*0"},
		{[]string{"link", "x"}, "/#/io.l5d.fs/link", "/x", "10.0.0.1:80 10.0.0.2:8080*2.5 127.0.0.1:1 [::1]:443*0"},
		{[]string{"dir", "sub", "api", "v1"}, "/#/io.l5d.fs/dir/sub/api", "/v1", "10.9.0.1:90 10.9.0.2:90"},
		{[]string{"empty"}, "/#/io.l5d.fs/empty", "/", ""},
		{[]string{"blank"}, "/#/io.l5d.fs/blank", "/", ""},
		{path: []string{"none"}},
		{path: nil},
		{path: []string{"dir"}},
		{path: []string{"dir", "sub"}},
		{path: []string{"dir", "web"}},
		{path: []string{".hidden"}},
		{path: []string{"."}},
		{path: []string{"..", filepath.Base(f.root), "web"}},
		{path: []string{"dir", "..", "web"}},
		{path: []string{"dir/sub/api"}},
		{path: []string{"/web"}},
		{path: []string{"web\x00"}},
		{path: []string{""}},
		{path: []string{strings.Repeat("a", 256)}},
		{path: []string{strings.Repeat("a", 5000)}},
	} {
		live := f.lookup(c.path...)
		if c.id == "" {
			// Known when Lookup returns: no wait.
			if tree, s, err := live.Load(); tree.Kind != dtab.Neg || s != naming.Ok {
				t.Errorf("%q: %s, state %d, error %v", c.path, tree.Kind, s, err)
			}
			continue
		}
		b := awaitKind(t, live, dtab.Leaf)
		if b.ID.String() != c.id || b.Residual.String() != c.residual {
			t.Errorf("%q: bound as %s with %s left", c.path, b.ID, b.Residual)
		}
		awaitAddrs(t, b, c.addrs)
	}
}

// Changes are seen by inotify alone, and by polling alone.
func TestChangesAreSeen(t *testing.T) {
	t.Run("inotify", func(t *testing.T) { changesAreSeen(t, newFolderBy(t, newWatcher(true), time.Hour)) })
	t.Run("polling", func(t *testing.T) { changesAreSeen(t, newFolderBy(t, newWatcher(false), PollInterval)) })
}

func changesAreSeen(t *testing.T, f *folder) {
	t.Helper()
	f.must(os.Mkdir(filepath.Join(f.root, "v1"), 0o755))
	f.write("v1/api", "10.0.1.1 80")
	f.write("v2/api", "10.0.2.1 80")
	f.must(os.Symlink("v1", filepath.Join(f.root, "current")))
	web, api := f.lookup("web"), f.lookup("current", "api")
	awaitKind(t, web, dtab.Neg)

	f.write("web", "10.0.0.1 80")
	b := awaitKind(t, web, dtab.Leaf)
	awaitAddrs(t, b, "10.0.0.1:80")
	f.replace("web", "10.0.0.1 80\n10.0.0.2 80")
	awaitAddrs(t, b, "10.0.0.1:80 10.0.0.2:80")
	f.replace("web", "two.test 81")
	awaitAddrs(t, b, "10.9.0.1:81 10.9.0.2:81")
	f.replace("web", "")
	awaitAddrs(t, b, "")
	if again := awaitKind(t, web, dtab.Leaf); again != b {
		t.Error("a change of lines bound the name anew")
	}
	f.must(os.Remove(filepath.Join(f.root, "web")))
	awaitKind(t, web, dtab.Neg)
	f.must(os.Mkdir(filepath.Join(f.root, "web"), 0o755))
	f.must(os.Remove(filepath.Join(f.root, "web")))
	f.write("web", "10.0.0.3 80")
	awaitAddrs(t, awaitKind(t, web, dtab.Leaf), "10.0.0.3:80")

	b = awaitKind(t, api, dtab.Leaf)
	awaitAddrs(t, b, "10.0.1.1:80")
	f.must(os.Symlink("v2", filepath.Join(f.root, "next")))
	f.must(os.Rename(filepath.Join(f.root, "next"), filepath.Join(f.root, "current")))
	awaitAddrs(t, b, "10.0.2.1:80")
}

// A folder as kubelet makes it of a ConfigMap: files are links by way of one link, which is replaced.
func TestMountedConfigMap(t *testing.T) {
	f := newFolder(t)
	f.write("..1/web", "10.0.1.1 80")
	f.write("..2/web", "10.0.2.1 80")
	f.must(os.Symlink("..1", filepath.Join(f.root, "..data")))
	f.must(os.Symlink("..data/web", filepath.Join(f.root, "web")))
	b := awaitKind(t, f.lookup("web"), dtab.Leaf)
	awaitAddrs(t, b, "10.0.1.1:80")
	f.must(os.Symlink("..2", filepath.Join(f.root, "next")))
	f.must(os.Rename(filepath.Join(f.root, "next"), filepath.Join(f.root, "..data")))
	awaitAddrs(t, b, "10.0.2.1:80")
}

func TestBadLineKeepsTheEndpoints(t *testing.T) {
	for line, want := range map[string]string{
		"10.0.0.9":                         `expected <host> <port> [* <weight>], found "10.0.0.9"`,
		"10.0.0.9 http":                    `found port "http"`,
		"10.0.0.9 0":                       `found port "0"`,
		"10.0.0.9 65536":                   `found port "65536"`,
		"10.0.0.9 80 2":                    `found "10.0.0.9 80 2"`,
		"10.0.0.9 80 * -1":                 `found weight "-1"`,
		"10.0.0.9 80 * NaN":                `found weight "NaN"`,
		"10.0.0.9 80 * Inf":                `found weight "Inf"`,
		"10.0.0.9 80 * 1e300":              `found weight "1e300"`,
		"10.0.0.9 80 * heavy":              `found weight "heavy"`,
		"10.0.0.9 80 * 1 extra":            `found "10.0.0.9 80 * 1 extra"`,
		"10.0.0.9, 80":                     `expected an IP address or a host name, found "10.0.0.9,"`,
		"10.0.0.300 80":                    `found "10.0.0.300"`,
		"10.0.0.9:80 80":                   `found "10.0.0.9:80"`,
		"[::1] 80":                         `found "[::1]"`,
		"\ufeff10.0.0.9 80":                `found "\ufeff10.0.0.9"`,
		"http://web 80":                    `found "http://web"`,
		"a..b 80":                          `found "a..b"`,
		strings.Repeat("a.", 127) + "a 80": `expected an IP address or a host name`,
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			f := newFolder(t)
			const good = "10.0.0.1 80\n"
			f.write("web", good)
			live := f.lookup("web")
			b := awaitKind(t, live, dtab.Leaf)
			failed := func(tree naming.Tree, s naming.State, err error) bool {
				return s == naming.Failed && strings.Contains(err.Error(), filepath.Join(f.root, "web")+":3: ") && strings.Contains(err.Error(), want)
			}
			f.replace("web", "10.0.0.2 80\n#\n"+line+"\n")
			await(t, live, failed)
			if tree, _, _ := live.Load(); tree.Bound != b {
				t.Error("the name was bound anew")
			}
			if a, s, err := b.Addrs.Load(); shown(a) != "10.0.0.1:80" || s != naming.Failed || err == nil {
				t.Errorf("endpoints %s, state %d, error %v", shown(a), s, err)
			}
			f.replace("web", good) // the very text of before
			if awaitKind(t, live, dtab.Leaf) == nil {
				t.Fatal("not bound")
			}
			awaitAddrs(t, b, "10.0.0.1:80")

			// Bad from the start: an error, Neg once the file is gone, and the same error again.
			f.replace("new", "#\n\n"+line)
			live = f.lookup("new")
			bad := func(tree naming.Tree, s naming.State, err error) bool {
				return s == naming.Failed && strings.Contains(err.Error(), want)
			}
			await(t, live, bad)
			f.must(os.Remove(filepath.Join(f.root, "new")))
			awaitKind(t, live, dtab.Neg)
			f.replace("new", "#\n\n"+line)
			await(t, live, bad)
		})
	}
}

// Each version of a bad file is told of once, with file, line and what was expected, however many names read it.
func TestBadFilesAreToldOf(t *testing.T) {
	f := newFolder(t)
	bad := func(text string) {
		t.Helper()
		f.replace("web", text)
		for _, residual := range []string{"", "a", "b"} {
			live := f.Lookup(slices.DeleteFunc(dtab.Path{"web", residual}, func(e string) bool { return e == "" }))
			await(t, live, func(_ naming.Tree, s naming.State, _ error) bool { return s == naming.Failed })
			live.Close()
		}
	}
	expect := func(want ...string) {
		t.Helper()
		lines, file := f.told(), filepath.Join(f.root, "web")
		if len(lines) != len(want) {
			t.Fatalf("told of %q; want %q", lines, want)
		}
		for i, line := range lines {
			if !strings.HasPrefix(line, file+" "+file+want[i]) {
				t.Errorf("told of %s, want %s", line, want[i])
			}
		}
	}
	bad("10.0.0.1 80\nhttp\n")
	expect(`:2: expected <host> <port> [* <weight>]`)
	bad("10.0.0.1 80\nhttp\n") // another file with the text of before is no other version
	expect()
	bad("10.0.0.2 80\nhttp\n") // the same mistake in another version
	expect(":2: expected")
	held := f.lookup("web")
	f.replace("web", "10.0.0.1 80\n")
	awaitKind(t, held, dtab.Leaf)
	bad("10.0.0.2 80\nhttp\n")
	await(t, held, func(_ naming.Tree, s naming.State, _ error) bool { return s == naming.Failed })
	expect(":2: expected")
	f.must(os.Remove(filepath.Join(f.root, "web")))
	awaitKind(t, held, dtab.Neg)
	expect()
	f.must(syscall.Mkfifo(filepath.Join(f.root, "web"), 0o600))
	await(t, held, func(_ naming.Tree, s naming.State, _ error) bool { return s == naming.Failed })
	expect(": expected a regular file")
}

func TestOddFiles(t *testing.T) {
	f := newFolder(t)
	f.must(syscall.Mkfifo(filepath.Join(f.root, "pipe"), 0o600))
	f.must(os.Symlink("loop", filepath.Join(f.root, "loop")))
	f.write("long", "10.0.0.1 80\n"+strings.Repeat("#", MaxFileBytes))
	f.write("many", strings.Repeat("10.0.0.1 80\n", MaxEndpoints+1))
	var hosts strings.Builder
	for i := range MaxHosts + 1 {
		fmt.Fprintf(&hosts, "host%d 80\n", i)
	}
	f.write("hosts", hosts.String())
	for name, want := range map[string]string{
		"pipe": "expected a regular file", "loop": "too many levels of symbolic links", "long": "longer than 1048576 bytes",
		"many": "many:10001: more than 10000 endpoints", "hosts": "hosts:1001: more than 1000 host names",
	} {
		if tree, s, err := f.lookup(name).Load(); s != naming.Failed || tree.Bound != nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %s, state %d, error %v; want %s", name, tree.Kind, s, err, want)
		}
	}
	if _, err := readFile(filepath.Join(f.root, "pipe")); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a pipe in the place of a file that was looked at: %v", err)
	}
	for _, host := range []string{"a_b.c-d.", "xn--bcher-kva.test", "1-2.x3", "8080", "A"} {
		if _, err := parseLine([]string{host, "80"}); err != nil {
			t.Error(err)
		}
	}
	// One host that exists is enough, and one that does not makes no error.
	f.write("mixed", "nowhere.test 80\ntwo.test 80\n")
	awaitAddrs(t, awaitKind(t, f.lookup("mixed"), dtab.Leaf), "10.9.0.1:80 10.9.0.2:80")
}

func TestNamesAreSharedAndForgotten(t *testing.T) {
	f := newFolder(t)
	f.write("web", "two.test 80")
	one, two := f.Lookup(dtab.Path{"web"}), f.Lookup(dtab.Path{"web"})
	b := awaitKind(t, one, dtab.Leaf)
	awaitAddrs(t, b, "10.9.0.1:80 10.9.0.2:80")
	if awaitKind(t, two, dtab.Leaf) != b {
		t.Error("one path has two sets of endpoints")
	}
	one.Close()
	f.replace("web", "10.0.0.5 80")
	awaitAddrs(t, b, "10.0.0.5:80")
	two.Close()
	two.Close()
	if len(f.names) != 0 {
		t.Errorf("names kept: %v", f.names)
	}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 300 {
				live := f.Lookup(dtab.Path{"web"})
				await(t, live, func(_ naming.Tree, s naming.State, _ error) bool { return s == naming.Ok })
				live.Close()
			}
		})
	}
	wait.Wait()
	if len(f.names) != 0 {
		t.Errorf("names kept: %v", f.names)
	}
}
