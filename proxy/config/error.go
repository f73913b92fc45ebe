package config

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// MaxProblems is how many mistakes of one object or file are listed. The rest is counted.
const MaxProblems = 20

// maxShown is how much of a wrong value a message repeats, in bytes.
const maxShown = 64

// Error returns all problems, one a line.
func (e *Error) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\nand %d more", e.More)
	}
	return b.String()
}

// String returns "file:line:column: field: message" for a mistake in a file, "field:line:column: message" for one in a string
// with a grammar of its own, and "field: message" else.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		p.writePosition(&b)
		b.WriteString(": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field)
		if p.File == "" {
			p.writePosition(&b)
		}
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

func (p Problem) writePosition(b *strings.Builder) {
	if p.Line == 0 {
		return
	}
	fmt.Fprintf(b, ":%d", p.Line)
	if p.Column > 0 {
		fmt.Fprintf(b, ":%d", p.Column)
	}
}

// problems collects the mistakes of one object or file.
type problems struct {
	reason string
	list   []Problem
	more   int
}

func (ps *problems) add(p Problem) {
	if len(ps.list) == MaxProblems {
		ps.more++
		return
	}
	ps.list = append(ps.list, p)
}

// at adds a mistake of the value in a field.
func (ps *problems) at(field, format string, args ...any) {
	ps.add(Problem{Field: field, Message: fmt.Sprintf(format, args...)})
}

// merge adds the mistakes of another error.
func (ps *problems) merge(e *Error) {
	if e == nil {
		return
	}
	if ps.reason == "" {
		ps.reason = e.Reason
	}
	for _, p := range e.Problems {
		ps.add(p)
	}
	ps.more += e.More
}

func (ps *problems) none() bool { return len(ps.list) == 0 }

// err returns nil where nothing was added.
func (ps *problems) err() *Error {
	if ps.none() {
		return nil
	}
	reason := ps.reason
	if reason == "" {
		reason = v1alpha1.ReasonInvalid
	}
	return &Error{Reason: reason, Problems: ps.list, More: ps.more}
}

// refuse returns the error with one problem.
func refuse(reason, field, format string, args ...any) *Error {
	return &Error{Reason: reason, Problems: []Problem{{Field: field, Message: fmt.Sprintf(format, args...)}}}
}

// shown returns s for a message: quoted, valid and of bounded length.
func shown(s string) string {
	if len(s) <= maxShown {
		return fmt.Sprintf("%q", s)
	}
	n := maxShown
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return fmt.Sprintf("%q...", s[:n])
}
