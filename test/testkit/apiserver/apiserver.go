// Package apiserver runs a real kube-apiserver and etcd for tests, with our definitions in it. They end with the process that started
// them, also when that is killed.
package apiserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

const (
	// assets is the variable that holds the folder of the binaries, as envtest reads it.
	assets = "KUBEBUILDER_ASSETS"
	// startLimit and stopLimit are generous: other tests may be busy on the same machine.
	startLimit, stopLimit = 2 * time.Minute, time.Minute
)

// Server is an API server that runs.
type Server struct {
	Env *envtest.Environment
	// Config and Client have all rights, and no limit on requests.
	Config *rest.Config
	Client client.Client
	// Scheme knows the types of Kubernetes and our own.
	Scheme *runtime.Scheme
	folder string
}

// Start starts one. root is the way to the root of the repository; configure, unless it is nil, may change what is started.
func Start(root string, configure func(*envtest.APIServer)) (_ *Server, err error) {
	log.SetLogger(logr.Discard())
	s := &Server{Scheme: runtime.NewScheme()}
	if err := errors.Join(clientgoscheme.AddToScheme(s.Scheme), v1alpha1.AddToScheme(s.Scheme)); err != nil {
		return nil, err
	}
	if s.folder, err = binaries(); err != nil {
		return nil, err
	}
	s.Env = &envtest.Environment{
		CRDDirectoryPaths: []string{filepath.Join(root, "config", "crd", "bases")}, ErrorIfCRDPathMissing: true,
		BinaryAssetsDirectory: s.folder, ControlPlaneStartTimeout: startLimit, ControlPlaneStopTimeout: stopLimit,
	}
	// The paths are given because the variable would win over the folder.
	server := s.Env.ControlPlane.GetAPIServer()
	server.Path = filepath.Join(s.folder, "kube-apiserver")
	s.Env.ControlPlane.Etcd = &envtest.Etcd{Path: filepath.Join(s.folder, "etcd")}
	if configure != nil {
		configure(server)
	}
	if s.Config, err = s.Env.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start kube-apiserver and etcd: %w", err), s.Stop())
	}
	s.Config.QPS, s.Config.Burst = -1, -1
	if s.Client, err = client.New(s.Config, client.Options{Scheme: s.Scheme}); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Stop ends it.
func (s *Server) Stop() error { return errors.Join(s.Env.Stop(), os.RemoveAll(s.folder)) }

// Admin is the user with all rights.
func (s *Server) Admin() *api.AuthInfo {
	return &api.AuthInfo{ClientCertificateData: s.Config.CertData, ClientKeyData: s.Config.KeyData}
}

// WriteKubeconfig writes the way to the server as a user.
func (s *Server) WriteKubeconfig(file string, user *api.AuthInfo) error {
	return clientcmd.WriteToFile(api.Config{
		Clusters:       map[string]*api.Cluster{"test": {Server: s.Config.Host, CertificateAuthorityData: s.Config.CAData}},
		AuthInfos:      map[string]*api.AuthInfo{"test": user},
		Contexts:       map[string]*api.Context{"test": {Cluster: "test", AuthInfo: "test"}},
		CurrentContext: "test",
	}, file)
}

// binaries makes a folder with the programs that envtest starts, as scripts that make them end with their parent: envtest has no way
// to say so, and it starts them in process groups of their own, which no signal to ours reaches.
func binaries() (string, error) {
	from := os.Getenv(assets)
	if from == "" {
		return "", errors.New(assets + " is not set: these tests need a kube-apiserver and an etcd: " +
			"make them with `hack/cluster/build envtest` (it prints the folder), or run `make test`")
	}
	folder, err := os.MkdirTemp("", "apiserver")
	for _, name := range []string{"kube-apiserver", "etcd"} {
		script := fmt.Sprintf("#!/bin/sh\nexec setpriv --pdeathsig KILL -- '%s' \"$@\"\n", filepath.Join(from, name))
		err = errors.Join(err, os.WriteFile(filepath.Join(folder, name), []byte(script), 0o700)) //nolint:gosec // it is to be run
	}
	return folder, err
}

// Run starts a server, runs the tests of a package with it and stops it. It returns the exit code, and prints what went wrong.
func Run(root string, configure func(*envtest.APIServer), tests func(*Server) (int, error)) int {
	s, err := Start(root, configure)
	if err != nil {
		fmt.Fprintln(os.Stderr, "API server:", err)
		return 1
	}
	code, err := tests(s)
	if err = errors.Join(err, s.Stop()); err != nil {
		fmt.Fprintln(os.Stderr, "API server:", err)
		return 1
	}
	return code
}
