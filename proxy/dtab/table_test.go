package dtab

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTableLookup(t *testing.T) {
	for _, c := range lookupCases {
		d, p := mustParse(t, c.dtab), mustPath(t, c.path)
		for split := range len(d) + 1 {
			base, local := Compile(d[:split]), d[split:]
			for name, got := range map[string]Tree{
				"With":       base.With(local).Lookup(p),
				"LookupWith": base.LookupWith(local, p),
				"parts":      Compile(nil, d[:split], nil, local, Dtab{}).Lookup(p),
			} {
				if diff := cmp.Diff(exact(d.Lookup(p)), exact(got)); diff != "" || got.String() != c.want {
					t.Errorf("%s in %q with the last %d as %s:\n%s", c.path, c.dtab, len(local), name, diff)
				}
			}
		}
	}
}

// TestTableOfParts compiles one dtab in every way to cut it in three: it must be the same table.
func TestTableOfParts(t *testing.T) {
	d := mustParse(t, "/a=>/1; /*=>/2; /a/b=>/3; /=>/4; /a=>/5; /c=>/6; /a/*=>/7")
	for i := range len(d) + 1 {
		for k := i; k <= len(d); k++ {
			table := Compile(d[:i], d[i:k], d[k:])
			if got := table.Dtab(); got.String() != d.String() || table.Len() != len(d) {
				t.Errorf("cut at %d and %d: %s of length %d", i, k, got, table.Len())
			}
			for _, path := range []string{"/a/b/x", "/a", "/c/d", "/x", "/"} {
				p := mustPath(t, path)
				if diff := cmp.Diff(exact(d.Lookup(p)), exact(table.Lookup(p))); diff != "" {
					t.Errorf("cut at %d and %d: %s:\n%s", i, k, path, diff)
				}
				if got, want := fmt.Sprint(table.Hits(nil, p)), fmt.Sprint(Compile(d).Hits(nil, p)); got != want {
					t.Errorf("cut at %d and %d: hits of %s: %s, want %s", i, k, path, got, want)
				}
			}
		}
	}
}

// TestRecompile makes a random table of another again and again, as edits of parts do: it must look up what their dtab does.
func TestRecompile(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	made := 0
	part := func(n int) *Rules {
		var text []string
		for range n {
			text = append(text, fmt.Sprintf("%s=>/%d", []string{"/", "/a", "/a/b", "/a/*", "/c"}[random.IntN(5)], made))
			made++
		}
		return RulesOf(mustParse(t, strings.Join(text, ";")))
	}
	var parts []*Rules
	for range 100 {
		parts = append(parts, part(random.IntN(5)))
	}
	table := new(Table).Recompile(parts...)
	shared := 0
	for step := range 400 {
		parts = slices.Clone(parts)
		switch i := random.IntN(len(parts)); random.IntN(15) {
		case 0:
			parts = slices.Delete(parts, i, i+1)
		case 1:
			parts = slices.Insert(parts, i, part(random.IntN(4)), nil)
		case 2:
			k := random.IntN(len(parts))
			parts[i], parts[k] = parts[k], parts[i]
		case 3:
			parts[i] = parts[random.IntN(len(parts))] // the same twice
		default:
			parts[i] = part(random.IntN(6))
		}
		before := table
		table = table.With(part(1).Dtab()).Recompile(parts...)
		if table.base.trie == before.base.trie {
			shared++
		}
		var whole Dtab
		for _, rules := range parts {
			whole = append(whole, rules.Dtab()...)
		}
		if got := table.Dtab(); got.String() != whole.String() || table.Len() != len(whole) {
			t.Fatalf("step %d: the dtab is %s of length %d, want %s", step, got, table.Len(), whole)
		}
		for _, path := range []string{"/a/b/x", "/a", "/c/d", "/x", "/"} {
			p := mustPath(t, path)
			if diff := cmp.Diff(exact(whole.Lookup(p)), exact(table.Lookup(p))); diff != "" {
				t.Fatalf("step %d: %s in %s:\n%s", step, path, whole, diff)
			}
		}
	}
	if shared < 100 || shared > 390 {
		t.Errorf("%d of 400 tables shared most of the one before, expected many and not all", shared)
	}
}

// An edit of one part of a hundred costs what the part does.
func TestRecompileAllocatesForTheEditAlone(t *testing.T) {
	const n, size = 200_000, 2_000
	parts := manyRules(n, size)
	table := new(Table).Recompile(parts...)
	const edits = 10
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range edits {
		parts = slices.Clone(parts)
		parts[50] = RulesOf(parts[50].Dtab())
		table = table.Recompile(parts...)
	}
	runtime.ReadMemStats(&after)
	bytes := (after.TotalAlloc - before.TotalAlloc) / edits
	if bytes > 1<<20 {
		t.Errorf("an edit of %d of %d dentries allocates %d bytes, expected less than 1 MB", size, n, bytes)
	}
}

func TestTableWithIsLayered(t *testing.T) {
	base := Compile(mustParse(t, "/svc=>/a"))
	ctx := base.With(mustParse(t, "/svc=>/b"))
	user := ctx.With(mustParse(t, "/svc=>/c"))
	p := Path{"svc", "x"}
	for _, c := range []struct {
		table *Table
		want  string
		dtab  string
	}{
		{base, "/a/x", "/svc=>/a"},
		{ctx, "/b/x | /a/x", "/svc=>/a;/svc=>/b"},
		{user, "/c/x | /b/x | /a/x", "/svc=>/a;/svc=>/b;/svc=>/c"},
		{base.With(nil), "/a/x", "/svc=>/a"},
	} {
		if got := c.table.Lookup(p).String(); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
		if got := c.table.Dtab(); got.String() != c.dtab || c.table.Len() != len(got) {
			t.Errorf("the dtab is %s of length %d, want %s", got, c.table.Len(), c.dtab)
		}
	}
	if got := user.LookupWith(mustParse(t, "/svc=>/d"), p).String(); got != "/d/x | /c/x | /b/x | /a/x" {
		t.Errorf("three layers: %s", got)
	}
}

// A lookup among a hundred times as many dentries would take a hundred times as long if each were tried. The trie makes it a few times as
// long, for the memory that is touched; how long that is is for the benchmark.
func TestTableLookupDoesNotTryEveryDentry(t *testing.T) {
	few, many := fastestLookup(t, 2_000), fastestLookup(t, 200_000)
	t.Logf("a lookup takes %v among 2,000 dentries and %v among 200,000", few, many)
	if many > 20*few {
		t.Errorf("a lookup takes %v among 2,000 dentries and %v among 200,000", few, many)
	}
}

// fastestLookup returns what one of n dentries takes, by the best of some batches.
func fastestLookup(t *testing.T, n int) time.Duration {
	t.Helper()
	const batches, batch = 10, 100
	table := new(Table).Recompile(manyRules(n, 2_000)...)
	best := time.Duration(math.MaxInt64)
	for b := range batches {
		start := time.Now()
		for i := range batch {
			k := 2 + (b*batch+i)*197%(n-2)
			p := Path{"svc", fmt.Sprintf("team-%d", k%10), fmt.Sprintf("web-%d", k), "x"}
			if got := table.Lookup(p); len(got.Branches) != 2 {
				t.Fatalf("%s: %s", p, got)
			}
		}
		best = min(best, time.Since(start)/batch)
	}
	return best
}

// manyDentries returns n dentries as a large mesh has them: a catch-all, and n-1 names under ten teams, some with a wildcard.
func manyDentries(n int) Dtab {
	d := make(Dtab, 0, n)
	add := func(prefix, dst string) {
		e, err := ParseDentry(prefix, dst)
		if err != nil {
			panic(err)
		}
		e.Source.Index = len(d)
		d = append(d, e)
	}
	add("/svc", "/$/io.buoyant.http.domainToPathPfx/nsSvc")
	add("/svc/*/web-77", "/host")
	for i := len(d); i < n; i++ {
		add(fmt.Sprintf("/svc/team-%d/web-%d", i%10, i), fmt.Sprintf("9*/nsSvc/team/web-%d-v1 & /nsSvc/team/web-%d-v2", i, i))
	}
	return d
}

// manyRules returns manyDentries as texts, in parts of the size.
func manyRules(n, size int) (parts []*Rules) {
	for part := range slices.Chunk(manyDentries(n), size) {
		texts := make(pairs, len(part))
		for i, d := range part {
			texts[i] = [2]string{d.Prefix.String(), d.Dst.String()}
		}
		parts = append(parts, TextRules("", texts))
	}
	return parts
}

func BenchmarkTableLookup(b *testing.B) {
	local := mustParse(b, "/svc/other => /x; /nsSvc => /y")
	for _, n := range []int{10, 1_000, 200_000} {
		table := new(Table).Recompile(manyRules(n, 2_000)...)
		hit := Path{"svc", fmt.Sprintf("team-%d", (n-1)%10), fmt.Sprintf("web-%d", n-1), "users"}
		b.Run(fmt.Sprintf("dentries=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Lookup(hit)
			}
		})
		b.Run(fmt.Sprintf("dentries=%d/with", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.LookupWith(local, hit)
			}
		})
	}
}

// Each lookup takes another of many names, so caches are as cold as they get in a running proxy.
func BenchmarkTableLookupCold(b *testing.B) {
	const n = 200_000
	table := new(Table).Recompile(manyRules(n, 2_000)...)
	paths := make([]Path, n)
	for i := range paths {
		paths[i] = Path{"svc", fmt.Sprintf("team-%d", i%10), fmt.Sprintf("web-%d", i)}
	}
	i := 0
	for b.Loop() {
		i = (i + 100_003) % n
		table.Lookup(paths[i])
	}
}

func BenchmarkCompile(b *testing.B) {
	parts := manyRules(200_000, 2_000)
	b.ReportAllocs()
	for b.Loop() {
		new(Table).Recompile(parts...)
	}
}

// BenchmarkRecompile edits one part of a hundred.
func BenchmarkRecompile(b *testing.B) {
	parts := manyRules(200_000, 2_000)
	table := new(Table).Recompile(parts...)
	b.ReportAllocs()
	for b.Loop() {
		parts = slices.Clone(parts)
		parts[50] = RulesOf(parts[50].Dtab())
		table = table.Recompile(parts...)
	}
}

func BenchmarkParse(b *testing.B) {
	text := manyDentries(1_000).String()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

// Hits are what a lookup is made of.
func TestHitsAreTheLookup(t *testing.T) {
	d, err := Parse("/a => /x; /a/* => ~; / => /y; /b => /z")
	if err != nil {
		t.Fatal(err)
	}
	local, err := Parse("/a/b => /w | !; /c => /v")
	if err != nil {
		t.Fatal(err)
	}
	table := Compile(d).With(local)
	for _, p := range []Path{nil, {"a"}, {"a", "b"}, {"a", "b", "c"}, {"b"}, {"c", "d"}, {"e"}} {
		var trees []Weighted
		for _, h := range table.Hits(local, p) {
			trees = append(trees, Weighted{1, h.Tree})
			if n, ok := h.Dentry.Prefix.Matches(p); !ok || !h.Dentry.Dst.rewrite(p[n:], Source{}).Equal(h.Tree) {
				t.Errorf("%s: %s gives %s", p, h.Dentry, h.Tree)
			}
		}
		if got, want := join(trees), table.LookupWith(local, p); !got.Equal(want) {
			t.Errorf("%s: hits are %s, lookup is %s", p, got, want)
		}
	}
}
