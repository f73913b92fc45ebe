// Package cli is the command line of Fairlead: it asks the API server and the admin ports of proxies, or reads files, and changes
// nothing.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/fairlead/fairlead/proxy/spelling"
)

// Exit codes. check has codes of its own.
const (
	exitOK      = 0
	exitFailure = 1
)

// failure is an error with an exit code, and with a hint where there is something to do about it. Without text, all has been said.
type failure struct {
	code int
	err  error
	hint string
}

// Error implements error.
func (f *failure) Error() string {
	if f.err == nil {
		return ""
	}
	return f.err.Error()
}

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.err }

// leftOut says that an object is not looked at.
func (o *options) leftOut(err error) {
	fmt.Fprintf(o.ErrOut, "fairlead: left out: %v\n", err)
}

// Run runs the command that args, the name of the program first, stand for, and returns the exit code.
func Run(ctx context.Context, args []string, version string, streams genericiooptions.IOStreams) int {
	o := &options{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true), version: version}
	root := newRoot(o, filepath.Base(args[0]))
	root.SetArgs(args[1:])
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	err := root.ExecuteContext(ctx)
	var f *failure
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &f) && f.err == nil:
		return f.code
	}
	fmt.Fprintf(streams.ErrOut, "fairlead: %v\n", err)
	if f != nil {
		if f.hint != "" {
			fmt.Fprintf(streams.ErrOut, "hint: %s\n", f.hint)
		}
		return f.code
	}
	return exitFailure
}

// options are the flags, as far as several commands have them.
type options struct {
	genericiooptions.IOStreams
	flags   *genericclioptions.ConfigFlags
	version string

	output, mesh, admin, proxy, router string
	timeout                            time.Duration
	files                              []string
	rules                              string
	ruled                              bool // rules were given, were it none
	standalone                         bool
	bound                              []string
}

func newRoot(o *options, program string) *cobra.Command {
	name := "fairlead"
	if strings.HasPrefix(program, "kubectl-") {
		name = "kubectl fairlead"
	}
	root := &cobra.Command{
		Use: "fairlead", Short: "Explain and check what a Fairlead mesh does", Version: o.version, SilenceErrors: true, SilenceUsage: true,
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: name},
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			o.ruled = c.Flags().Changed("dtab")
			if o.output != "" && o.output != "json" {
				return fmt.Errorf("--output: expected json, found %q", o.output)
			}
			if o.admin != "" && (o.mesh != "" || o.proxy != "") {
				return errors.New("--admin: expected neither --mesh nor --proxy beside it, which choose among those of a cluster")
			}
			return nil
		},
	}
	flags := root.PersistentFlags()
	o.flags.AddFlags(flags)
	flags.StringVarP(&o.output, "output", "o", "", "json, or nothing for text")
	flags.StringVar(&o.mesh, "mesh", "", "name of the Mesh, where the namespace has several")
	flags.StringVar(&o.admin, "admin", "", "admin address of one proxy (127.0.0.1:9990; a host alone has port 9990) in place of those of a cluster")
	flags.StringVar(&o.proxy, "proxy", "", "Pod of the proxy to ask; empty: any that is ready")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long everything may take")
	rules := &cobra.Command{Use: "dtab", Short: "Parse, explain, check and compare rules"}
	rules.AddCommand(newParse(o), newDelegate(o), newLint(o), newDiff(o))
	root.AddCommand(rules, newCheck(o), newProxies(o), newVersion(o))
	completes(root, "output", only("json"))
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if !c.Runnable() {
			c.RunE = group
		}
	}
	return root
}

// group is the run of a command that only has commands below it: help, and an error where one is asked for that is not there, which
// cobra would answer with help and exit code 0.
func group(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		var names []string
		for _, sub := range c.Commands() {
			names = append(names, sub.Name())
		}
		return fmt.Errorf("unknown command %q for %q%s", args[0], c.CommandPath(), spelling.DidYouMean(args[0], names))
	}
	return c.Help()
}

// addSources adds the flags of commands that read rules from files.
func (o *options) addSources(c *cobra.Command) {
	c.Flags().StringArrayVarP(&o.files, "filename", "f", nil, "file with Mesh and Dtab documents, - for standard input; may be given several times")
	c.Flags().StringVar(&o.rules, "dtab", "", "rules, as in '/svc => /#/io.l5d.fs'")
	c.Flags().BoolVar(&o.standalone, "standalone", false, "take the files as a proxy without a cluster does: no namers unless told")
	c.Flags().StringVar(&o.router, "router", "", "router of the Mesh; empty: the first one")
}

// context returns one that ends after the timeout.
func (o *options) context(c *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.Context(), o.timeout)
}

// writeJSON is the output of -o json.
func (o *options) writeJSON(v any) error {
	e := json.NewEncoder(o.Out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
