package control

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/naming/k8s"
)

const (
	snapshotName = "snapshot"
	// snapshotHeader begins the first line, which ends in the SHA-256 of all that follows it.
	snapshotHeader = "fairlead-snapshot/1 "
	// maxSnapshotBytes bounds what is read back, packed and unpacked.
	maxSnapshotBytes = 512 << 20
)

// snapshot is the last good state as it stands on disk.
type snapshot struct {
	MeshUID string    `json:"meshUID"`
	Written time.Time `json:"written"`
	// Config is the Mesh and the Dtabs as served: only what was accepted ever gets here.
	Config    string       `json:"config"`
	Endpoints k8s.Snapshot `json:"endpoints"`
}

// writeSnapshot replaces the snapshot in dir. A crash at any point leaves the old or the new one.
func writeSnapshot(dir string, s *snapshot) error {
	var body bytes.Buffer
	packed, err := gzip.NewWriterLevel(&body, gzip.BestSpeed)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if err := errors.Join(json.NewEncoder(packed).Encode(s), packed.Close()); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	sum := sha256.Sum256(body.Bytes())
	head := snapshotHeader + hex.EncodeToString(sum[:]) + "\n"
	tmp, err := os.CreateTemp(dir, snapshotName+".tmp-*")
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	_, errHead := tmp.WriteString(head)
	_, errBody := tmp.Write(body.Bytes())
	if err := errors.Join(errHead, errBody, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("snapshot: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	if err := os.Rename(tmp.Name(), filepath.Join(dir, snapshotName)); err != nil {
		return fmt.Errorf("snapshot: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	return syncDir(dir)
}

// syncDir makes a rename last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

// removeLeftovers deletes what writes that were killed left in dir.
func removeLeftovers(dir string) {
	old, _ := filepath.Glob(filepath.Join(dir, snapshotName+".tmp-*")) // the pattern is well-formed
	for _, name := range old {
		_ = os.Remove(name) // tried again at the next start
	}
}

// readSnapshot returns the snapshot in dir, or fs.ErrNotExist when there is none. Anything but exactly what was written is an
// error.
func readSnapshot(dir string) (*snapshot, error) {
	file, err := os.Open(filepath.Join(dir, snapshotName))
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	if info, err := file.Stat(); err != nil || info.Size() > maxSnapshotBytes {
		return nil, errors.New("snapshot: too large or not readable")
	}
	in := bufio.NewReader(file)
	head, err := in.ReadString('\n')
	want, ok := strings.CutPrefix(strings.TrimSuffix(head, "\n"), snapshotHeader)
	if err != nil || !ok {
		return nil, errors.New("snapshot: not a snapshot of this version")
	}
	body, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != want {
		return nil, errors.New("snapshot: checksum does not match")
	}
	packed, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	var s snapshot
	if err := json.NewDecoder(io.LimitReader(packed, maxSnapshotBytes)).Decode(&s); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return &s, nil
}

// mounted is what a ConfigMap holds, or held when kubelet last refreshed its mount.
type mounted struct {
	data []byte
	// incomplete: the Dtabs did not fit, so this must not be served.
	incomplete bool
}

// readMounted returns what is mounted at dir, or fs.ErrNotExist.
func readMounted(dir string) (mounted, error) {
	return unpack(func(key string) ([]byte, error) { return readLimited(filepath.Join(dir, key)) })
}

// unpack returns the documents among the values of a ConfigMap; get says fs.ErrNotExist for a key that is not there.
func unpack(get func(key string) ([]byte, error)) (mounted, error) {
	var m mounted
	_, err := get(v1alpha1.IncompleteConfigKey)
	m.incomplete = err == nil
	if m.data, err = get(v1alpha1.ConfigKey); !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	packed, err := get(v1alpha1.CompressedConfigKey)
	if err != nil {
		return m, err
	}
	in, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return m, fmt.Errorf("%s: %w", v1alpha1.CompressedConfigKey, err)
	}
	m.data, err = io.ReadAll(io.LimitReader(in, maxFileBytes))
	if err != nil {
		return m, fmt.Errorf("%s: %w", v1alpha1.CompressedConfigKey, err)
	}
	return m, nil
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	return io.ReadAll(io.LimitReader(f, maxFileBytes))
}
