package control

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/naming/k8s"
)

func sample() *snapshot {
	return &snapshot{
		MeshUID: "u", Written: time.Unix(1, 0).UTC(), Config: "---\n{}\n",
		Endpoints: k8s.Snapshot{
			Services: []*k8s.Service{{Namespace: "d", Name: "web", Ports: []k8s.ServicePort{{Name: "http", Port: 80}}}},
			Slices: []*k8s.Slice{{Namespace: "d", Name: "web-1", Service: "web", Ports: []k8s.SlicePort{{Name: "http", Port: 8080}},
				Addresses: []k8s.Address{{IP: netip.MustParseAddr("10.0.0.1"), Node: "n", Zone: "z", Ready: true, Serving: true}}}},
		},
	}
}

func TestSnapshotRoundTrip(t *testing.T) {
	dir := t.TempDir()
	if _, err := readSnapshot(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no snapshot: %v", err)
	}
	for range 2 {
		if err := writeSnapshot(dir, sample()); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readSnapshot(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// Whatever a disk does to a snapshot, it is noticed.
func TestBrokenSnapshotIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := writeSnapshot(dir, sample()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, snapshotName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, at int, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := readSnapshot(dir); err == nil {
			t.Errorf("%s at %d: read %+v", what, at, s)
		}
	}
	for i := range whole {
		check("cut", i, whole[:i])
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1
		check("flipped", i, flipped)
	}
	check("appended", len(whole), append(bytes.Clone(whole), 'x'))
}

func TestFailedWriteKeepsTheOldSnapshot(t *testing.T) {
	dir := t.TempDir()
	if err := writeSnapshot(filepath.Join(dir, "missing"), sample()); err == nil {
		t.Error("written to a folder that does not exist")
	}
	left := filepath.Join(dir, snapshotName+".tmp-killed")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	removeLeftovers(dir)
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Error("what a killed write left is still there")
	}
}

func TestReadMounted(t *testing.T) {
	dir := t.TempDir()
	if _, err := readMounted(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty folder: %v", err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte("packed")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(v1alpha1.CompressedConfigKey, packed.Bytes())
	if m, err := readMounted(dir); err != nil || string(m.data) != "packed" || m.incomplete {
		t.Errorf("packed: %+v, %v", m, err)
	}
	write(v1alpha1.CompressedConfigKey, packed.Bytes()[:10])
	if _, err := readMounted(dir); err == nil {
		t.Error("a cut file was read")
	}
	write(v1alpha1.ConfigKey, []byte("plain"))
	write(v1alpha1.IncompleteConfigKey, nil)
	if m, err := readMounted(dir); err != nil || string(m.data) != "plain" || !m.incomplete {
		t.Errorf("plain: %+v, %v", m, err)
	}
}
