// Command operator runs the controllers of Mesh and Dtab. It only assembles: what they do is in package controllers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers"
)

type options struct {
	metricsAddr, probeAddr, proxyImage string
	leaderElect, debug                 bool
}

func main() {
	var o options
	flag.StringVar(&o.metricsAddr, "metrics-bind-address", ":8443", "address of the metrics server (TLS, with authentication); 0 turns it off")
	flag.StringVar(&o.probeAddr, "health-probe-bind-address", ":8081", "address of /healthz and /readyz")
	flag.StringVar(&o.proxyImage, "proxy-image", "", "image of proxies whose Mesh names none (default: the image of this Pod)")
	flag.BoolVar(&o.leaderElect, "leader-elect", true, "let one of several operators work")
	flag.BoolVar(&o.debug, "debug", false, "log more")
	flag.Parse()
	if err := run(ctrl.SetupSignalHandler(), o); err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	logConfig := zap.NewProductionConfig()
	logConfig.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	if o.debug {
		logConfig.Level.SetLevel(zap.DebugLevel)
	}
	logger, err := logConfig.Build()
	if err != nil {
		return fmt.Errorf("set up logging: %w", err)
	}
	ctrl.SetLogger(zapr.NewLogger(logger))

	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return fmt.Errorf("build scheme: %w", err)
	}
	if err := awaitAPI(ctx, config, o.probeAddr, zapr.NewLogger(logger)); err != nil {
		return err
	}
	if o.proxyImage == "" {
		if o.proxyImage, err = ownImage(ctx, config, scheme); err != nil {
			return err
		}
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         controllers.CacheOptions(),
		HealthProbeBindAddress:        o.probeAddr,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              "fairlead-operator",
		LeaderElectionReleaseOnCancel: true, // main ends right after
		Metrics: metricsserver.Options{
			BindAddress: o.metricsAddr, SecureServing: true, FilterProvider: filters.WithAuthenticationAndAuthorization,
		},
	})
	if err != nil {
		return fmt.Errorf("set up manager: %w", err)
	}
	if err := errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("ping", healthz.Ping)); err != nil {
		return fmt.Errorf("set up probes: %w", err)
	}
	if err := controllers.Setup(ctx, mgr, controllers.Options{ProxyImage: o.proxyImage}); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// retryAPI is the time between two attempts to reach the API server.
const retryAPI = time.Second

// awaitAPI returns once the API server answers anything at all. To end instead would leave the start to the kubelet's backoff, which
// may be longer than the outage was. Until then it answers the liveness probe itself, for the same reason.
func awaitAPI(ctx context.Context, config *rest.Config, probeAddr string, log logr.Logger) error {
	server, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("set up client: %w", err)
	}
	if reachable(server) == nil {
		return nil
	}
	stop, err := answerLiveness(ctx, probeAddr)
	if err != nil {
		return err
	}
	defer stop()
	ticker := time.NewTicker(retryAPI)
	defer ticker.Stop()
	said := ""
	for {
		err := reachable(server)
		if err == nil {
			return nil
		}
		if err.Error() != said {
			said = err.Error()
			log.Info("The API server does not answer, trying again", "server", config.Host, "error", said)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("reach the API server: %w", err)
		case <-ticker.C:
		}
	}
}

// reachable returns nil if the server answers, be it with a refusal: others will find out what that means.
func reachable(server *discovery.DiscoveryClient) error {
	_, err := server.ServerVersion()
	var answer apierrors.APIStatus
	if errors.As(err, &answer) && answer.Status().Code < http.StatusInternalServerError {
		return nil
	}
	return err
}

// answerLiveness serves /healthz alone, so the Pod is alive and not ready, until stop is called.
func answerLiveness(ctx context.Context, addr string) (stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("probes: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	probes := &http.Server{Handler: mux, ReadHeaderTimeout: retryAPI}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = probes.Serve(listener) // it ends when it is stopped; were it to end before, the probe would tell
	}()
	return func() {
		_ = probes.Close() // only probes are cut off
		<-served
	}, nil
}

// ownImage returns the image of this Pod, so that operator and proxies are of one version whatever put the image there.
func ownImage(ctx context.Context, config *rest.Config, scheme *runtime.Scheme) (string, error) {
	key := client.ObjectKey{Namespace: os.Getenv("POD_NAMESPACE"), Name: os.Getenv("POD_NAME")}
	if key.Namespace == "" || key.Name == "" {
		return "", errors.New("--proxy-image is required outside of a Pod (POD_NAMESPACE and POD_NAME are not set)")
	}
	reader, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return "", fmt.Errorf("set up client: %w", err)
	}
	var pod corev1.Pod
	if err := reader.Get(ctx, key, &pod); err != nil {
		return "", fmt.Errorf("get own pod %s: %w", key, err)
	}
	for _, c := range pod.Spec.Containers {
		if c.Name == "operator" {
			return c.Image, nil
		}
	}
	return "", fmt.Errorf("pod %s has no container named operator: give --proxy-image", key)
}
