package config

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/fairlead/fairlead/proxy/pace"
)

// chunk is one document of a YAML stream: its text and how many lines of the file come before it.
type chunk struct {
	text []byte
	line int
}

// split cuts a YAML stream at its document markers, which YAML allows nowhere else at the start of a line. What follows a marker
// on its line keeps its column. Documents of blanks alone are left out.
func split(data []byte) []chunk {
	var out []chunk
	start, startLine := 0, 0
	var lead []byte // what stood behind the marker that opened the document
	flush := func(end int) {
		text := data[start:end:end]
		line := startLine
		if lead != nil {
			text = bytes.Join([][]byte{lead, text}, []byte("\n"))
			line--
		}
		if len(bytes.TrimSpace(text)) > 0 {
			out = append(out, chunk{text, line})
		}
	}
	var p pace.Pace
	for pos, line := 0, 0; pos < len(data); line++ {
		if line%64 == 0 {
			p.Step()
		}
		end := len(data)
		if i := bytes.IndexByte(data[pos:], '\n'); i >= 0 {
			end = pos + i + 1
		}
		if rest, ok := marker(data[pos:end]); ok {
			flush(pos)
			start, startLine, lead = end, line+1, nil
			if len(bytes.TrimSpace(rest)) > 0 {
				lead = append([]byte("   "), bytes.TrimRight(rest, "\r\n")...)
			}
		}
		pos = end
	}
	flush(len(data))
	return out
}

// marker reports whether a line begins with "---" or "...", and returns what follows.
func marker(line []byte) (rest []byte, ok bool) {
	if len(line) < 3 || string(line[:3]) != "---" && string(line[:3]) != "..." {
		return nil, false
	}
	rest = line[3:]
	return rest, len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0
}

func tooMany(what string, limit, found int) string {
	return fmt.Sprintf("expected at most %d %s, found %d", limit, what, found)
}

// validUTF8 is utf8.Valid, at a pace.
func validUTF8(data []byte) bool {
	var p pace.Pace
	for len(data) > 0 {
		p.Step()
		end := min(len(data), 64<<10)
		for end < len(data) && !utf8.RuneStart(data[end]) {
			end++
		}
		if !utf8.Valid(data[:end]) {
			return false
		}
		data = data[end:]
	}
	return true
}

// invalidUTF8 returns where the first byte that is no UTF-8 stands.
func invalidUTF8(data []byte) (line, column int) {
	line, column = 1, 1
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 {
			break
		}
		if column++; r == '\n' {
			line, column = line+1, 1
		}
		data = data[n:]
	}
	return line, column
}
