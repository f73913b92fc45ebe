package app

import (
	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/protocol/http1"
)

// marks are those of a listener as the HTTP/1 engine wants them.
func marks(router string, m *config.Marks) http1.Marks {
	out := http1.Marks{Timestamp: m.Timestamp}
	switch m.XForwarded {
	case v1alpha1.XForwardedAppend:
		out.XForwarded = http1.XForwardedAppend
	case v1alpha1.XForwardedReplace:
		out.XForwarded = http1.XForwardedReplace
	}
	if m.By != nil && m.For != nil {
		out.Forwarded, out.By, out.For = true, labeler(router, m.By), labeler(router, m.For)
	}
	return out
}

func labeler(router string, l *v1alpha1.ForwardedLabeler) http1.Labeler {
	switch l.Kind {
	case v1alpha1.KindForwardedIP:
		return http1.Labeler{Kind: http1.LabelIP}
	case v1alpha1.KindForwardedIPPort:
		return http1.Labeler{Kind: http1.LabelIPPort}
	case v1alpha1.KindForwardedConnectionRandom:
		return http1.Labeler{Kind: http1.LabelConnection}
	case v1alpha1.KindForwardedRouter:
		return http1.Labeler{Kind: http1.LabelStatic, Text: router}
	case v1alpha1.KindForwardedStatic:
		return http1.Labeler{Kind: http1.LabelStatic, Text: l.Label}
	}
	return http1.Labeler{Kind: http1.LabelRequest}
}
