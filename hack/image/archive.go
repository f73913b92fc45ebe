package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"
	"time"
)

// file is one file of the image: source on this machine, target an absolute path in the image.
type file struct{ source, target string }

// image is what an archive is made of.
type image struct {
	name       string // with tag
	files      []file
	user       string // uid:gid; empty for root
	entrypoint []string
}

// entry is a member of a tar; the path of a directory ends in a slash.
type entry struct {
	path    string
	mode    int64
	content []byte
}

// Shapes of the OCI image specification 1.0: the members that are written, in the order they are written.
type (
	descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int               `json:"size"`
		Platform    *platform         `json:"platform,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	platform struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
	}
	manifest struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}
	index struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
	}
	configuration struct {
		platform
		Config execution `json:"config"`
		RootFS rootFS    `json:"rootfs"`
	}
	execution struct {
		User       string   `json:"User,omitempty"`
		Env        []string `json:"Env"`
		Entrypoint []string `json:"Entrypoint"`
		WorkingDir string   `json:"WorkingDir"`
	}
	rootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
)

// archive returns the OCI layout as a tar: one layer, its configuration, the manifest and an index that names the image.
func (img image) archive() ([]byte, error) {
	layer, err := img.layer()
	if err != nil {
		return nil, err
	}
	var compressed bytes.Buffer
	writer := gzip.NewWriter(&compressed) // writes no time and no name
	if _, err := writer.Write(layer); err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	machine := platform{Architecture: runtime.GOARCH, OS: "linux"}
	config, err := json.Marshal(configuration{
		platform: machine,
		Config:   execution{User: img.user, Env: []string{basePath}, Entrypoint: img.entrypoint, WorkingDir: baseWorkingDir},
		RootFS:   rootFS{Type: "layers", DiffIDs: []string{digest(layer)}},
	})
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	content, err := json.Marshal(manifest{
		SchemaVersion: 2, MediaType: "application/vnd.oci.image.manifest.v1+json",
		Config: describeBlob("application/vnd.oci.image.config.v1+json", config),
		Layers: []descriptor{describeBlob("application/vnd.oci.image.layer.v1.tar+gzip", compressed.Bytes())},
	})
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	root := describeBlob("application/vnd.oci.image.manifest.v1+json", content)
	root.Platform = &machine
	root.Annotations = map[string]string{
		"io.containerd.image.name":          img.name, // containerd's import takes the whole name from here
		"org.opencontainers.image.ref.name": img.name[strings.LastIndex(img.name, ":")+1:],
	}
	list, err := json.Marshal(index{
		SchemaVersion: 2, MediaType: "application/vnd.oci.image.index.v1+json", Manifests: []descriptor{root},
	})
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	entries := []entry{
		{path: "oci-layout", mode: 0o644, content: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{path: "index.json", mode: 0o644, content: list},
	}
	for _, blob := range [][]byte{config, content, compressed.Bytes()} {
		name := "blobs/sha256/" + strings.TrimPrefix(digest(blob), "sha256:")
		entries = append(entries, entry{path: name, mode: 0o644, content: blob})
	}
	return pack(entries)
}

func digest(blob []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(blob)) }

func describeBlob(mediaType string, blob []byte) descriptor {
	return descriptor{MediaType: mediaType, Digest: digest(blob), Size: len(blob)}
}

// layer returns the uncompressed file system: the stand-in for the base, then the files, each after its folders.
func (img image) layer() ([]byte, error) {
	entries := append(baseDirectories(), baseFiles()...)
	for _, f := range img.files {
		content, err := os.ReadFile(f.source)
		if err != nil {
			return nil, fmt.Errorf("file %s: %w", f.target, err)
		}
		if err := checkStatic(content); err != nil {
			return nil, fmt.Errorf("file %s: %s %w", f.target, f.source, err)
		}
		entries = append(entries, entry{path: strings.TrimPrefix(path.Clean(f.target), "/"), mode: 0o755, content: content})
	}
	entries, err := withFolders(entries)
	if err != nil {
		return nil, err
	}
	return pack(entries)
}

// checkStatic refuses a binary that needs a loader: the image has none, and the message at run time would be "no such file".
func checkStatic(content []byte) error {
	binary, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return nil //nolint:nilerr // not a binary: a plain file is welcome
	}
	for _, program := range binary.Progs {
		if program.Type == elf.PT_INTERP {
			return fmt.Errorf("is dynamically linked: build it with CGO_ENABLED=0")
		}
	}
	return nil
}

// withFolders puts each folder before what is in it, once. Two files of one path are an error.
func withFolders(entries []entry) ([]entry, error) {
	known := map[string]bool{"./": true}
	var all []entry
	for _, e := range entries {
		for i, r := range e.path {
			folder := e.path[:i+1]
			if r != '/' || folder == e.path || known[folder] {
				continue
			}
			known[folder] = true
			all = append(all, entry{path: folder, mode: 0o755})
		}
		if known[e.path] {
			return nil, fmt.Errorf("file /%s: it is in the image already", e.path)
		}
		known[e.path] = true
		all = append(all, e)
	}
	return all, nil
}

// pack writes a tar whose every header is a function of path, mode and content.
func pack(entries []entry) ([]byte, error) {
	var out bytes.Buffer
	writer := tar.NewWriter(&out)
	for _, e := range entries {
		header := &tar.Header{
			Name: e.path, Mode: e.mode, Size: int64(len(e.content)), Typeflag: tar.TypeReg,
			ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
		}
		if strings.HasSuffix(e.path, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := writer.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("%s: %w", e.path, err)
		}
		if _, err := writer.Write(e.content); err != nil {
			return nil, fmt.Errorf("%s: %w", e.path, err)
		}
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("end of archive: %w", err)
	}
	return out.Bytes(), nil
}
