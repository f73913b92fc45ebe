package config

import (
	"slices"
	"strings"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// Marks are the headers that tell an endpoint where a request comes from. Zero values add none.
type Marks struct {
	// By and For are the labelers of Forwarded, with every default resolved; both are nil where it is not added. They must not be changed.
	By, For *v1alpha1.ForwardedLabeler
	// XForwarded is "", Append or Replace.
	XForwarded string
	// Timestamp is the name of a header, or "".
	Timestamp string
}

// marksOf returns the marks of an accepted server.
func marksOf(s *v1alpha1.Server) Marks {
	m := Marks{XForwarded: s.XForwardedHeaders, Timestamp: s.TimestampHeader}
	if f := s.AddForwardedHeader; f != nil {
		m.By, m.For = f.By, f.For
	}
	return m
}

// notForTimes are headers that mean something else to the proxy or to whoever gets the request.
var notForTimes = []string{
	"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect", "via", "keep-alive", "proxy-connection",
	"proxy-authenticate", "proxy-authorization", "content-type", "content-encoding", "content-range", "max-forwards", "cache-control",
	"authorization", "cookie", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-client-cert",
}

// checkMarks checks what the schema cannot say.
func checkMarks(ps *problems, field string, s *v1alpha1.Server) {
	name := strings.ToLower(s.TimestampHeader)
	if slices.Contains(notForTimes, name) || strings.HasPrefix(name, "l5d-") {
		ps.at(field+".timestampHeader", "%s has a meaning of its own: expected another name, such as x-request-start", shown(s.TimestampHeader))
	}
	f := s.AddForwardedHeader
	if f == nil {
		return
	}
	for _, l := range []struct {
		name string
		*v1alpha1.ForwardedLabeler
	}{{"by", f.By}, {"for", f.For}} {
		at := field + ".addForwardedHeader." + l.name + ".label"
		switch {
		case l.ForwardedLabeler == nil:
		case l.Kind == v1alpha1.KindForwardedStatic && l.Label == "":
			ps.at(at, "required for kind %s", l.Kind)
		case l.Kind != v1alpha1.KindForwardedStatic && l.Label != "":
			ps.at(at, "key label does not belong to kind %s, but to %s", l.Kind, v1alpha1.KindForwardedStatic)
		}
	}
}
