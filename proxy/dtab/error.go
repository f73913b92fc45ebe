package dtab

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxShown is how much of a long input Error shows on each side of the offence, in bytes.
const maxShown = 512

// Error is a text that is not what it was parsed as.
type Error struct {
	// Field is "prefix" or "dst" where ParseDentry read the text, and "" elsewhere.
	Field string
	// Input is the whole text.
	Input string
	// Offset is where in Input parsing stopped, in bytes.
	Offset int
	// Line and Column are where that is, from 1. Columns count characters.
	Line, Column int
	// Expected and Found are Finagle's words for what should stand there and what does.
	Expected, Found string
	// Limit is the name of the constant that was exceeded, and "" where the syntax is wrong.
	Limit string

	want string
}

// Error returns Finagle's text, with the offending character of the input in brackets; for a field of a dentry it returns
// field, line, column and detail instead. It is valid UTF-8 whatever the input was.
func (e *Error) Error() string {
	if e.Field != "" {
		return fmt.Sprintf("%s:%d:%d: %s", e.Field, e.Line, e.Column, e.Detail())
	}
	before, rest := e.Input[:e.Offset], e.Input[e.Offset:]
	_, n := utf8.DecodeRuneInString(rest)
	found, after := rest[:n], rest[n:]
	if len(before) > maxShown {
		before = "..." + before[len(before)-maxShown:]
	}
	if len(after) > maxShown {
		after = after[:maxShown] + "..."
	}
	s := e.Expected + " expected but " + e.Found + " found at '" + before + "[" + found + "]" + after + "'"
	return strings.ToValidUTF8(s, "\uFFFD")
}

// Position returns line and column, both from 1.
func (e *Error) Position() (line, column int) { return e.Line, e.Column }

// Detail says what was expected and what was found, on one line and without the input.
func (e *Error) Detail() string {
	found := e.Found
	if rest := e.Input[e.Offset:]; rest != "" {
		switch r, n := utf8.DecodeRuneInString(rest); {
		case r == utf8.RuneError && n == 1:
			found = fmt.Sprintf(`'\x%02x'`, rest[0])
		case !unicode.IsPrint(r):
			found = strconv.QuoteRune(r)
		}
	}
	return "expected " + e.want + ", found " + found
}

// newError describes the character at offset. expected is Finagle's word, want the plain one.
func newError(input string, offset int, expected, want string) *Error {
	before := input[:offset]
	line := before[strings.LastIndexByte(before, '\n')+1:]
	e := &Error{
		Input: input, Offset: offset, Expected: expected, want: want,
		// Only a comment may hold more than ASCII, and nothing follows it on its line: here bytes are characters.
		Line: strings.Count(before, "\n") + 1, Column: len(line) + 1,
		Found: "end of input",
	}
	if rest := input[offset:]; rest != "" {
		_, n := utf8.DecodeRuneInString(rest)
		e.Found = "'" + rest[:n] + "'"
	}
	return e
}
