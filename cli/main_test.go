package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/fairlead/fairlead/api/v1alpha1"
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
	code, err := runWithServer(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

func runWithServer(m *testing.M) (int, error) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return 0, errors.New("KUBEBUILDER_ASSETS is not set: these tests need a kube-apiserver and an etcd.\n" +
			"Make them with `hack/cluster/build envtest` (it prints the folder), or run `make test`.")
	}
	ctrl.SetLogger(zap.New(zap.WriteTo(io.Discard)))
	env := &envtest.Environment{
		CRDDirectoryPaths: []string{filepath.Join("..", "config", "crd", "bases")}, ErrorIfCRDPathMissing: true,
		ControlPlaneStartTimeout: 2 * time.Minute,
	}
	config, err := env.Start()
	if err != nil {
		return 0, fmt.Errorf("start kube-apiserver and etcd: %w", err)
	}
	folder, err := os.MkdirTemp("", "fairlead-cli")
	if err == nil {
		defer os.RemoveAll(folder)
		scheme := runtime.NewScheme()
		err = errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
		apiServer.kubeconfig = filepath.Join(folder, "kubeconfig")
		file := api.Config{
			Clusters:       map[string]*api.Cluster{"test": {Server: config.Host, CertificateAuthorityData: config.CAData}},
			AuthInfos:      map[string]*api.AuthInfo{"test": {ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}},
			Contexts:       map[string]*api.Context{"test": {Cluster: "test", AuthInfo: "test"}},
			CurrentContext: "test",
		}
		err = errors.Join(err, clientcmd.WriteToFile(file, apiServer.kubeconfig))
		if err == nil {
			apiServer.admin, err = client.New(config, client.Options{Scheme: scheme})
		}
	}
	code := 1
	if err == nil {
		code = m.Run()
	}
	return code, errors.Join(err, env.Stop())
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
