package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden file")

const repository = "../.."

// fakeBinaries makes a folder that looks like the repository after a build, and copies the repository's Dockerfile to it.
func fakeBinaries(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join(repository, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "Dockerfile"), string(text))
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "bin/operator"), "the operator")
	write(t, filepath.Join(dir, "bin/proxy"), "the proxy")
	return dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// readTar returns the members of a tar in order, and their content by name.
func readTar(t *testing.T, raw []byte) ([]*tar.Header, map[string][]byte) {
	t.Helper()
	reader := tar.NewReader(bytes.NewReader(raw))
	var headers []*tar.Header
	content := map[string][]byte{}
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return headers, content
		}
		if err != nil {
			t.Fatal(err)
		}
		if content[header.Name], err = io.ReadAll(reader); err != nil {
			t.Fatal(err)
		}
		headers = append(headers, header)
	}
}

// opened is an archive as an importer sees it: followed from the index, every digest and size checked on the way.
type opened struct {
	index  index
	config configuration
	layer  []byte
}

func open(t *testing.T, path string) opened {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, members := readTar(t, raw)
	blob := func(d descriptor) []byte {
		found, ok := members["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
		if !ok || digest(found) != d.Digest || len(found) != d.Size {
			t.Fatalf("blob %s: found %v, %d bytes, digest %s", d.Digest, ok, len(found), digest(found))
		}
		return found
	}
	decode := func(raw []byte, into any) {
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
	}
	var o opened
	var m manifest
	decode(members["index.json"], &o.index)
	decode(blob(o.index.Manifests[0]), &m)
	decode(blob(m.Config), &o.config)
	unzipped, err := gzip.NewReader(bytes.NewReader(blob(m.Layers[0])))
	if err != nil {
		t.Fatal(err)
	}
	if o.layer, err = io.ReadAll(unzipped); err != nil {
		t.Fatal(err)
	}
	if got := digest(o.layer); got != o.config.RootFS.DiffIDs[0] {
		t.Fatalf("diff id %s, layer is %s", o.config.RootFS.DiffIDs[0], got)
	}
	return o
}

func (o opened) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "name %s\n", o.index.Manifests[0].Annotations["io.containerd.image.name"])
	fmt.Fprintf(&out, "user %s\nentrypoint %q\nenv %q\nworkdir %s\n",
		o.config.Config.User, o.config.Config.Entrypoint, o.config.Config.Env, o.config.Config.WorkingDir)
	return out.String()
}

// TestArchiveIsGolden builds the product's image from the repository's Dockerfile and compares all that is in it.
func TestArchiveIsGolden(t *testing.T) {
	dir := fakeBinaries(t)
	out := filepath.Join(dir, "out.tar")
	if err := run([]string{"-o", out, "-name", "fairlead.dev/fairlead:dev", "-dockerfile", filepath.Join(dir, "Dockerfile")}); err != nil {
		t.Fatal(err)
	}
	img := open(t, out)
	var got strings.Builder
	got.WriteString(img.String())
	headers, content := readTar(t, img.layer)
	for _, h := range headers {
		fmt.Fprintf(&got, "%c %04o %d:%d /%s %q\n", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Name, content[h.Name])
	}
	const golden = "testdata/fairlead.golden"
	if *update {
		write(t, golden, got.String())
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("image differs from %s (-golden +image):\n%s", golden, diff)
	}
}

// TestArchiveIsWhatTheDockerfileSays reads the final stage of the repository's Dockerfile by other means than the builder.
func TestArchiveIsWhatTheDockerfileSays(t *testing.T) {
	dir := fakeBinaries(t)
	text, err := os.ReadFile(filepath.Join(dir, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	final := string(text[bytes.LastIndex(text, []byte("\nFROM "))+1:])
	out := filepath.Join(dir, "out.tar")
	if err := run([]string{"-o", out, "-name", "x:y", "-dockerfile", filepath.Join(dir, "Dockerfile")}); err != nil {
		t.Fatal(err)
	}
	img := open(t, out)
	_, content := readTar(t, img.layer)

	copies := regexp.MustCompile(`(?m)^COPY --from=build /src/(\S+) /(\S+)$`).FindAllStringSubmatch(final, -1)
	if len(copies) != 2 || strings.Count(final, "COPY") != 2 {
		t.Fatalf("the test reads two COPY lines of this form, found %d in:\n%s", len(copies), final)
	}
	for _, c := range copies {
		source, err := os.ReadFile(filepath.Join(dir, c[1]))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(content[c[2]], source) {
			t.Errorf("/%s is %q, the Dockerfile copies %s: %q", c[2], content[c[2]], c[1], source)
		}
	}
	for verb, got := range map[string]string{
		"USER":       img.config.Config.User,
		"ENTRYPOINT": fmt.Sprintf("[%q]", img.config.Config.Entrypoint[0]),
	} {
		if want := regexp.MustCompile(`(?m)^` + verb + ` (.*)$`).FindStringSubmatch(final); want == nil || want[1] != got {
			t.Errorf("%s: image has %s, Dockerfile %q", verb, got, want)
		}
	}
}

func TestArchiveDependsOnItsInputsAlone(t *testing.T) {
	build := func(when time.Time) []byte {
		dir := fakeBinaries(t)
		for _, name := range []string{"bin/operator", "bin/proxy"} {
			if err := os.Chtimes(filepath.Join(dir, name), when, when); err != nil {
				t.Fatal(err)
			}
		}
		out := filepath.Join(dir, "out.tar")
		if err := run([]string{"-o", out, "-name", "x:y", "-dockerfile", filepath.Join(dir, "Dockerfile")}); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	if !bytes.Equal(build(time.Unix(1e9, 0)), build(time.Unix(2e9, 0))) {
		t.Error("two builds of the same binaries differ")
	}
}

func TestArchiveOfGivenFiles(t *testing.T) {
	dir := fakeBinaries(t)
	out := filepath.Join(dir, "out.tar")
	err := run([]string{"-o", out, "-name", "n:t", "-user", "1:2", "-entrypoint", "/opt/x/web", filepath.Join(dir, "bin/proxy") + "=/opt/x/web"})
	if err != nil {
		t.Fatal(err)
	}
	img := open(t, out)
	headers, content := readTar(t, img.layer)
	var names []string
	for _, h := range headers {
		names = append(names, h.Name)
	}
	want := []string{
		"etc/", "home/", "home/nonroot/", "tmp/", "etc/passwd", "etc/group", "etc/nsswitch.conf", "opt/", "opt/x/", "opt/x/web",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if string(content["opt/x/web"]) != "the proxy" || img.config.Config.User != "1:2" {
		t.Errorf("content %q, user %s", content["opt/x/web"], img.config.Config.User)
	}
}

func TestRefusedDockerfiles(t *testing.T) {
	const build = "FROM golang AS build\nWORKDIR /src\nRUN one \\\n  && two\n"
	const final = "FROM " + baseImage + "\nCOPY --from=build /src/bin/proxy /proxy\nUSER 1:1\nENTRYPOINT [\"/proxy\"]\n"
	for name, tt := range map[string]struct{ text, want string }{
		"empty":                {"# nothing\n", "1: no FROM"},
		"another base":         {build + "FROM alpine\n", `5: FROM: the final stage is "alpine"`},
		"instruction":          {build + final + "EXPOSE 4140\n", "9: EXPOSE: not understood"},
		"environment":          {build + final + "ENV A=b\n", "9: ENV: not understood"},
		"after a continuation": {build + final + "\n# why\nLABEL a=b \\\n  c=d\n", "11: LABEL: not understood"},
		"copy of the context":  {build + final + "COPY bin/proxy /x\n", "9: COPY: want --from=STAGE"},
		"copy with a mode":     {build + final + "COPY --from=build --chmod=755 /src/a /a\n", "9: COPY: want --from=STAGE"},
		"copy of two":          {build + final + "COPY --from=build /src/a /src/b /a/\n", "9: COPY: want --from=STAGE"},
		"copy to a folder":     {build + final + "COPY --from=build /src/a /a/\n", "9: COPY: want an absolute path"},
		"unknown stage":        {build + final + "COPY --from=other /src/a /a\n", `9: COPY: no stage is named "other"`},
		"outside the folder":   {build + final + "COPY --from=build /etc/a /a\n", "9: COPY: /etc/a is not below /src"},
		"climbs out":           {build + final + "COPY --from=build /src/../etc/a /a\n", "9: COPY: /src/../etc/a is not below /src"},
		"user by name":         {build + final + "USER nonroot\n", "9: USER: want UID:GID"},
		"entrypoint in shell":  {build + final + "ENTRYPOINT /proxy\n", "9: ENTRYPOINT: want the exec form"},
		"nothing to run":       {build + "FROM " + baseImage + "\n", "5: FROM: the final stage needs"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseDockerfile(tt.text, ".")
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestRefusedFiles(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	write(t, plain, "x")
	// Any program of the distribution asks for a loader.
	dynamic := "/bin/sh"
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"missing":     {[]string{filepath.Join(dir, "none") + "=/x"}, "no such file"},
		"twice":       {[]string{plain + "=/x", plain + "=/x"}, "file /x: it is in the image already"},
		"of the base": {[]string{plain + "=/etc/passwd"}, "file /etc/passwd: it is in the image already"},
		"relative":    {[]string{plain + "=x"}, "want SOURCE=/TARGET"},
		"dynamic":     {[]string{dynamic + "=/x"}, "is dynamically linked"},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out.tar")
			err := run(append([]string{"-o", out, "-name", "n:t", "-entrypoint", "/x"}, tt.args...))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(out), "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
