package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/test/testkit/apiserver"
)

// asCommand makes the test binary the command itself, so that it can be run as a process of any name.
const asCommand = "FAIRLEAD_RUN_AS_COMMAND"

// server is the API server of this package's tests. It is set by TestMain and only read after.
type server struct {
	admin      client.Client
	kubeconfig string
}

var apiServer server //nolint:gochecknoglobals // TestMain has no other way to hand it over

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(Run(context.Background(), os.Args, "test", genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}))
	}
	os.Exit(apiserver.Run("..", nil, func(s *apiserver.Server) (int, error) {
		folder, err := os.MkdirTemp("", "fairlead-cli")
		if err != nil {
			return 1, err
		}
		defer os.RemoveAll(folder)
		apiServer = server{admin: s.Client, kubeconfig: filepath.Join(folder, "kubeconfig")}
		if err := s.WriteKubeconfig(apiServer.kubeconfig, s.Admin()); err != nil {
			return 1, err
		}
		return m.Run(), nil
	}))
}

// result is what a command did.
type result struct {
	code     int
	out, err string
}

func (r result) String() string { return fmt.Sprintf("exit code %d\n%s%s", r.code, r.out, r.err) }

// run runs a command with a kubeconfig that leads nowhere, unless the arguments have another.
func run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	var out, failed bytes.Buffer
	code := Run(t.Context(), append([]string{"fairlead"}, args...), "test",
		genericiooptions.IOStreams{In: strings.NewReader(stdin), Out: &out, ErrOut: &failed})
	return result{code, out.String(), failed.String()}
}

// expect checks the exit code, and that each text is in what was printed.
func (r result) expect(t *testing.T, code int, texts ...string) result {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d\n%s", r.code, code, r)
	}
	for _, text := range texts {
		if !strings.Contains(r.out+r.err, text) {
			t.Errorf("%q is not in\n%s", text, r)
		}
	}
	return r
}

// file writes a file of the test and returns its name.
func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
