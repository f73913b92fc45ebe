// Command proxy is Fairlead's node proxy: it serves a YAML stream of Mesh and Dtab documents, or the Mesh of a cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/fairlead/fairlead/proxy/app"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/control"
)

// version is set by the linker.
var version = "devel"

type flags struct {
	config, mesh, meshUID, snapshotDir, kubeconfig string
	drain                                          time.Duration
	validate, printVersion                         bool
}

func main() {
	f, err := parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err == nil && f.printVersion:
		fmt.Println(version)
		return
	case err == nil && f.validate:
		err = validate(f.config)
	case err == nil:
		err = run(f)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "proxy: %v\n", err)
		os.Exit(1)
	}
}

func parse(args []string) (*flags, error) {
	f := &flags{}
	set := flag.NewFlagSet("proxy", flag.ContinueOnError)
	set.StringVar(&f.config, "config", "", "file with Mesh and Dtab documents; with --mesh the folder of the mounted ConfigMap")
	set.StringVar(&f.mesh, "mesh", "", "NAMESPACE/NAME of the Mesh to serve in a cluster; empty: standalone")
	set.StringVar(&f.meshUID, "mesh-uid", "", "UID of that Mesh")
	set.StringVar(&f.snapshotDir, "snapshot-dir", "", "folder for the snapshot of the last good state")
	set.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig to use in place of the Pod's service account")
	set.DurationVar(&f.drain, "drain", 20*time.Second, "how long requests under way may take to end once nothing new is accepted; those that take longer are cut")
	set.BoolVar(&f.validate, "validate", false, "check the file given by --config and exit")
	set.BoolVar(&f.printVersion, "version", false, "print the version and exit")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if set.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q; the file is given by --config; see --help", set.Arg(0))
	}
	if f.config == "" && f.mesh == "" && !f.printVersion {
		return nil, errors.New("--config FILE is required; see --help")
	}
	return f, nil
}

func validate(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	cfg, problem := config.DecodeConfig(file, data, config.Standalone)
	if problem != nil {
		return problem
	}
	findings, err := app.Findings(cfg)
	for _, f := range findings {
		fmt.Fprintln(os.Stderr, "proxy: "+f)
	}
	return err
}

func run(f *flags) error {
	level := zap.NewAtomicLevelAt(zapcore.InfoLevel)
	log, flush, err := newLogger(level)
	if err != nil {
		return err
	}
	defer flush()
	limitMemory(log)
	ctx, stop := untilSignal()
	defer stop()
	upgrade := make(chan os.Signal, 1)
	signal.Notify(upgrade, syscall.SIGUSR2)
	o := app.RunOptions{Version: version, Config: f.config, Drain: f.drain, Log: log, Upgrade: upgrade, LogLevel: func(l string) {
		level.SetLevel(map[string]zapcore.Level{"debug": zapcore.DebugLevel}[l])
	}}
	if f.mesh != "" {
		o.Cluster = cluster(f)
	}
	return app.Run(ctx, o)
}

// untilSignal returns a context that ends with SIGTERM, or with SIGINT, of which its cause tells. Another one then ends the process at once,
// as if nobody caught it: whoever sends it does not want to wait any longer.
func untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			if s == os.Interrupt {
				cancel(app.ErrInterrupted)
			}
			cancel(nil)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

func cluster(f *flags) *app.ClusterOptions {
	o := &app.ClusterOptions{
		Kubeconfig: f.kubeconfig, Mesh: f.mesh, MeshUID: f.meshUID, SnapshotDir: f.snapshotDir,
		Pod: control.Pod{
			Name: os.Getenv("POD_NAME"), Namespace: os.Getenv("POD_NAMESPACE"), UID: os.Getenv("POD_UID"), Node: os.Getenv("NODE_NAME"),
		},
	}
	for _, name := range []string{"POD_IP", "HOST_IP"} {
		if ip, err := netip.ParseAddr(os.Getenv(name)); err == nil {
			o.Own = append(o.Own, ip)
		}
	}
	return o
}

func newLogger(level zap.AtomicLevel) (log logr.Logger, flush func(), err error) {
	cfg := zap.NewProductionConfig()
	cfg.Level = level
	cfg.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	cfg.DisableStacktrace = true
	z, err := cfg.Build()
	if err != nil {
		return logr.Logger{}, nil, fmt.Errorf("logger: %w", err)
	}
	return zapr.NewLogger(z), func() { _ = z.Sync() }, nil // stderr cannot always be synced, and nothing can be done about it
}

// memoryShare of the container's limit is where the garbage collector begins to work harder.
const memoryShare = 0.9

// limitMemory sets the soft memory limit from the cgroup's hard one, unless GOMEMLIMIT says otherwise. GOMAXPROCS follows the
// cgroup by itself.
func limitMemory(log logr.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		data, err := os.ReadFile(file)
		var limit int64
		if err != nil {
			continue
		}
		if _, err := fmt.Sscan(string(data), &limit); err != nil || limit <= 0 || limit > 1<<46 {
			continue
		}
		debug.SetMemoryLimit(int64(float64(limit) * memoryShare))
		log.V(1).Info("Memory limit set from the cgroup", "bytes", limit)
		return
	}
}
