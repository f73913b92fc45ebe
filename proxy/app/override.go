package app

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/protocol/http1"
)

// Reasons why the rules that a request brings are refused before they are followed. What they lead to is judged in package route.
const (
	reasonBadOverride   = "bad-dtab-override"
	reasonLargeOverride = "dtab-override-too-large"
	reasonManyRules     = "dtab-override-too-many-rules"
)

// Limits of the rules that one request brings.
const (
	maxOverrideBytes    = 8 << 10
	maxOverrideDentries = 100
)

// The headers with rules, in the order they apply: what travelled with the call graph first, so that what the caller says wins.
const (
	headerContextDtab = "l5d-ctx-dtab"
	headerDtab        = "l5d-dtab"
)

// appendOverrides appends what the rules of the request are known by.
func appendOverrides(key []byte, req *http1.Request) ([]byte, *http1.Failure) {
	size := 0
	for _, header := range [...]string{headerContextDtab, headerDtab} {
		req.Headers(func(name, value []byte) bool {
			if bytes.EqualFold(name, []byte(header)) {
				if size += len(value); size > maxOverrideBytes {
					return false
				}
				key = append(key, 0)
				key = append(key, value...)
			}
			return true
		})
		key = append(key, 0)
	}
	if size > maxOverrideBytes {
		return nil, refused(reasonLargeOverride, "l5d-ctx-dtab and l5d-dtab hold more than %d bytes", maxOverrideBytes)
	}
	return key, nil
}

// overrides parses the rules of the request. Each header line must be a whole dtab.
func overrides(req *http1.Request) (dtab.Dtab, *http1.Failure) {
	var out dtab.Dtab
	for _, header := range [...]string{headerContextDtab, headerDtab} {
		line := 0
		var err error
		req.Headers(func(name, value []byte) bool {
			if !bytes.EqualFold(name, []byte(header)) {
				return true
			}
			line++
			var rules dtab.Dtab
			if rules, err = dtab.Parse(string(value)); err == nil {
				out = out.Concat(rules)
			}
			return err == nil && len(out) <= maxOverrideDentries
		})
		var syntax *dtab.Error
		switch {
		case errors.As(err, &syntax):
			// A header has no line breaks, so the line is that of the header, if it was sent more than once.
			return nil, refused(reasonBadOverride, "%s:%d:%d: %s", header, line, syntax.Column, syntax.Detail())
		case err != nil:
			return nil, refused(reasonBadOverride, "%s:%d: %v", header, line, err)
		case len(out) > maxOverrideDentries:
			return nil, refused(reasonManyRules, "l5d-ctx-dtab and l5d-dtab hold more than %d rules", maxOverrideDentries)
		}
	}
	for i := range out {
		out[i].Source = dtab.Source{Object: naming.LocalObject, Index: i}
	}
	return out, nil
}

func refused(reason, format string, args ...any) *http1.Failure {
	return &http1.Failure{Status: http.StatusBadRequest, Reason: reason, Message: fmt.Sprintf(format, args...)}
}
