package naming

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/proxy/dtab"
)

const (
	// maxTurns bounds the rules that the text of ErrMaxDepth names.
	maxTurns = 5
	// maxTurnText bounds the text of each.
	maxTurnText = 128
	// leastRepeats is how many turns at the end of a way must be as those before them, to be called a circle.
	leastRepeats = 16
)

// turn is one step of a delegation that went too deep: a rule that was applied to a path, or a namer or transformer that gave another.
type turn struct {
	source dtab.Source
	path   dtab.Path
	// by is the prefix of the namer or transformer, nil for a rule.
	by dtab.Path
}

// same reports whether two turns are by one rule, namer or transformer.
func (t turn) same(u turn) bool { return t.source == u.source && slices.Equal(t.by, u.by) }

// depthError is ErrMaxDepth with the way that led there. It is complete once told was called.
type depthError struct {
	turns []turn // the last first
	text  string
}

// Error implements error.
func (d *depthError) Error() string { return ErrMaxDepth.Error() + d.text }

// Unwrap returns ErrMaxDepth.
func (d *depthError) Unwrap() error { return ErrMaxDepth }

// through notes on the way out of a delegation that went too deep who led there.
func (o outcome) through(t turn) outcome {
	var d *depthError
	if o.verdict == broken && errors.As(o.err, &d) {
		d.turns = append(d.turns, t)
	}
	return o
}

// told makes the text of a delegation that went too deep: the rules that go in a circle, in the order they are applied, or where none
// do, as where a rule doubles the way of the one before, the last of them.
func (e *evaluation) told(o outcome) {
	var d *depthError
	if o.verdict != broken || !errors.As(o.err, &d) || len(d.turns) == 0 {
		return
	}
	way := make([]turn, len(d.turns))
	for i, t := range d.turns {
		way[len(way)-1-i] = t
	}
	d.turns = nil
	what, shown := "these lead in a circle", circle(way)
	if shown == nil {
		what, shown = "the last rules were", way[max(0, len(way)-maxTurns):]
	}
	texts := make([]string, 0, maxTurns)
	for _, t := range shown[:min(len(shown), maxTurns)] {
		texts = append(texts, e.turnText(t))
	}
	more := ""
	if n := len(shown) - maxTurns; n > 0 {
		more = fmt.Sprintf(", and %d more", n)
	}
	d.text = "; " + what + ": " + strings.Join(texts, ", ") + more
}

// circle returns what repeats until the end of a way, from where it begins, or nil. It is there twice at least, and more often where
// it is short, so that a rule that a way passes twice by chance is none.
func circle(way []turn) []turn {
	for k := 1; k <= len(way)/2; k++ {
		begin := len(way) - k
		for begin > 0 && way[begin-1].same(way[begin-1+k]) {
			begin--
		}
		if len(way)-k-begin >= max(k, leastRepeats) {
			return way[begin : begin+k]
		}
	}
	return nil
}

// turnText names a turn: object, index and text of a rule, as the command line and /delegator.json do.
func (e *evaluation) turnText(t turn) string {
	if t.by != nil {
		return cut(t.by.String(), maxTurnText)
	}
	object := t.source.Object
	if object == "" {
		object = "mesh"
	}
	rule := ""
	for _, h := range e.rules.table.Hits(e.local, t.path) {
		if h.Dentry.Source == t.source {
			rule = " " + h.Dentry.String()
		}
	}
	return cut(fmt.Sprintf("%s[%d]%s", object, t.source.Index, rule), maxTurnText)
}

// cut ends a text that is too long.
func cut(s string, limit int) string {
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}
