package app

import (
	"bytes"
	"fmt"
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/protocol/http1"
)

// Pick implements http1.Target.
func (t *target) Pick(shard uint32, tried []*balance.Node) (*balance.Node, error) {
	return t.leaf().Pick(shard, tried)
}

// Status implements http1.Target.
func (t *target) Status() int { return t.leaf().Status() }

// AppendHeaders implements http1.Target.
func (t *target) AppendHeaders(dst []byte) []byte { return t.leaf().AppendHeaders(dst) }

// Timeouts implements http1.Target.
func (t *target) Timeouts() (total, attempt time.Duration) { return t.leaf().Timeouts() }

// Finish implements http1.Target.
func (t *target) Finish(shard uint32, o *http1.Outcome) {
	t.leaf().Record(shard, o.Class, o.Reason, time.Duration(o.LatencyNs()), o.ConnectRetries+o.Resends)
}

// appendOverrides appends what the request's own rules are known by.
func appendOverrides(key []byte, req *http1.Request) []byte {
	for _, header := range []string{headerContextDtab, headerDtab} {
		req.Headers(func(name, value []byte) bool {
			if bytes.EqualFold(name, []byte(header)) {
				key = append(key, 0)
				key = append(key, value...)
			}
			return true
		})
		key = append(key, 0)
	}
	return key
}

// overrides parses the rules a request brought: those of l5d-ctx-dtab first, so that those of l5d-dtab win. Each header line must
// be a whole dtab.
func overrides(req *http1.Request) (dtab.Dtab, error) {
	var out dtab.Dtab
	var failed error
	for _, header := range []string{headerContextDtab, headerDtab} {
		req.Headers(func(name, value []byte) bool {
			if !bytes.EqualFold(name, []byte(header)) {
				return true
			}
			rules, err := dtab.Parse(string(value))
			if err != nil {
				failed = fmt.Errorf("%s: %w", header, err)
				return false
			}
			out = out.Concat(rules)
			return true
		})
		if failed != nil {
			return nil, failed
		}
	}
	if len(out) > maxOverrideDentries {
		return nil, fmt.Errorf("%d rules in l5d-dtab and l5d-ctx-dtab, at most %d are taken", len(out), maxOverrideDentries)
	}
	for i := range out {
		out[i].Source = dtab.Source{Object: naming.LocalObject, Index: i}
	}
	return out, nil
}
