package app

import (
	"fmt"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/dtab/lint"
)

// Lint reads the rules of one router of a configuration. ignore is that of lint.Input.
func Lint(cfg *config.Config, r *config.Router, ignore func(code, object string) bool) (lint.Report, error) {
	if len(cfg.Mesh.Object.Spec.Routers) == 0 {
		ignore = ignoringDefaults(ignore)
	}
	in := lint.Input{Dtab: r.Effective(), Entry: r.DstPrefix, Ignore: ignore}
	for i := range cfg.Mesh.Spec.Namers {
		spec := &cfg.Mesh.Spec.Namers[i]
		prefix, err := dtab.ParsePath("/#" + spec.Prefix)
		if err != nil {
			return lint.Report{}, err
		}
		n := lint.Namer{Prefix: prefix}
		if spec.Kind == v1alpha1.KindNamerRewrite {
			n.Rewrite = spec.Name
		}
		in.Namers = append(in.Namers, n)
	}
	return lint.Check(in), nil
}

// ignoringDefaults is for routers that nobody wrote: nothing is said of the rules they have by default.
func ignoringDefaults(ignore func(code, object string) bool) func(code, object string) bool {
	return func(code, object string) bool { return object == "" || ignore != nil && ignore(code, object) }
}

// Findings returns what Lint finds in all routers, and the folders of namers that are not there, one line each.
func Findings(cfg *config.Config) (out []string, err error) {
	for i := range cfg.Mesh.Spec.Namers {
		if missing := missingFolder(&cfg.Mesh.Spec.Namers[i]); missing != "" {
			out = append(out, fmt.Sprintf("spec.namers[%d].rootDir: %s", i, missing))
		}
	}
	for i := range cfg.Routers {
		r := &cfg.Routers[i]
		report, err := Lint(cfg, r, nil)
		if err != nil {
			return nil, err
		}
		for _, f := range report.Findings {
			out = append(out, f.Line(r.Name)+": "+f.Why)
		}
	}
	return out, nil
}
