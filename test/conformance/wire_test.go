package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
)

var wireFile = flag.String("wire-cases", "testdata/wire-cases.json", "the HTTP/1 wire cases to run; testdata/README.md has the format")

// wireCase is one fact about the wire. testdata/README.md says what the fields mean.
type wireCase struct {
	Name   string     `json:"name"`
	Source string     `json:"source"`
	Router string     `json:"router"`
	AtOnce bool       `json:"atOnce"`
	Steps  []wireStep `json:"steps"`
	After  wireAfter  `json:"after"`
	Note   string     `json:"note"`
}

// wireStep is one thing that happens: exactly one of its fields but On is set.
type wireStep struct {
	Send     wireBytes `json:"send"`
	Sees     wireBytes `json:"sees"`
	Answer   wireBytes `json:"answer"`
	Gets     wireBytes `json:"gets"`
	Refused  *refusal  `json:"refused"`
	Client   string    `json:"client"`
	Upstream string    `json:"upstream"`
	Ends     string    `json:"ends"`
	On       int       `json:"on"`
}

// refusal is a response that the proxy made itself.
type refusal struct {
	Status    int    `json:"status"`
	Reason    string `json:"reason"`
	Closing   bool   `json:"closing"`
	KeepAlive bool   `json:"keepAlive"`
	Retryable bool   `json:"retryable"`
	Head      bool   `json:"head"`
}

// wireAfter is what is left of the connections when all steps were taken.
type wireAfter struct {
	Client   string `json:"client"`
	Upstream string `json:"upstream"`
}

// wireBytes are bytes: a string whose characters U+0000 to U+00FF stand for one byte each, or a list of such strings and of repetitions.
type wireBytes []byte

// maxRepeated bounds what one case can make of a repetition.
const maxRepeated = 1 << 20

// UnmarshalJSON implements json.Unmarshaler.
func (w *wireBytes) UnmarshalJSON(data []byte) error {
	parts := []json.RawMessage{data}
	if data[0] == '[' {
		if err := strict(data, &parts); err != nil {
			return err
		}
	}
	out := wireBytes{}
	for _, part := range parts {
		r := struct {
			Repeat string `json:"repeat"`
			Times  int    `json:"times"`
		}{Times: 1}
		var err error
		if part[0] == '{' {
			err = strict(part, &r)
		} else {
			err = strict(part, &r.Repeat)
		}
		if err != nil {
			return err
		}
		b, err := latin1(r.Repeat)
		if err != nil {
			return err
		}
		if r.Times < 0 || r.Times*len(b) > maxRepeated {
			return fmt.Errorf("%d times %d bytes: at most %d bytes are expected", r.Times, len(b), maxRepeated)
		}
		out = append(out, bytes.Repeat(b, r.Times)...)
	}
	*w = out
	return nil
}

func latin1(s string) ([]byte, error) {
	out := make([]byte, 0, len(s))
	for _, c := range s {
		if c > 0xff {
			return nil, fmt.Errorf("the character %q is no byte: U+0000 to U+00FF are expected", c)
		}
		out = append(out, byte(c))
	}
	return out, nil
}

// check says what is wrong with the case itself.
func (c *wireCase) check() error {
	if len(c.Steps) == 0 {
		return errors.New("it has no steps")
	}
	if _, ok := wireRouters[c.Router]; !ok {
		return fmt.Errorf("router %q is unknown", c.Router)
	}
	for i := range c.Steps {
		if err := c.Steps[i].check(); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	if !slices.Contains([]string{"kept", "closed", "reset", "gone"}, c.After.Client) {
		return fmt.Errorf("after.client is %q: kept, closed, reset or gone is expected", c.After.Client)
	}
	if !slices.Contains([]string{"kept", "closed", "none"}, c.After.Upstream) {
		return fmt.Errorf("after.upstream is %q: kept, closed or none is expected", c.After.Upstream)
	}
	return nil
}

func (s *wireStep) check() error {
	n := 0
	for _, is := range []bool{s.Send != nil, s.Sees != nil, s.Answer != nil, s.Gets != nil, s.Refused != nil, s.Client != "",
		s.Upstream != "", s.Ends != ""} {
		if is {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("%d things happen in it: exactly one of send, sees, answer, gets, refused, client, upstream and ends is expected", n)
	}
	does := []string{"", "closes", "half-closes", "resets"}
	if !slices.Contains(does, s.Client) || !slices.Contains(does, s.Upstream) {
		return fmt.Errorf("client %q, upstream %q: closes, half-closes or resets is expected", s.Client, s.Upstream)
	}
	if !slices.Contains([]string{"", "client", "upstream"}, s.Ends) {
		return fmt.Errorf("ends is %q: client or upstream is expected", s.Ends)
	}
	if onUpstream := s.Sees != nil || s.Answer != nil || s.Upstream != "" || s.Ends == "upstream"; s.On < 0 || s.On > 0 && !onUpstream {
		return errors.New("on is the number of a connection of the upstream, from 1, and stands beside sees, answer, upstream or ends alone")
	}
	return nil
}

// readWireCases reads a file of cases and checks each.
func readWireCases(t *testing.T, file string) []wireCase {
	t.Helper()
	cases := readCases[wireCase](t, file)
	names := make(map[string]bool)
	for _, c := range cases {
		if err := c.check(); err != nil {
			t.Errorf("%s: case %q: %v", file, c.Name, err)
		}
		if c.Name == "" || names[c.Name] {
			t.Errorf("%s: the name %q is empty or not the only one", file, c.Name)
		}
		names[c.Name] = true
	}
	if t.Failed() {
		t.FailNow()
	}
	return cases
}

// TestWireCases runs the cases of the file that -wire-cases names against the proxy's binary: once with what the peers send in one write
// for each step, and once in pieces.
func TestWireCases(t *testing.T) {
	cases := readWireCases(t, *wireFile)
	p := startProxy(t)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			p.run(t, &c, false)
			if !c.AtOnce && !t.Failed() {
				p.run(t, &c, true)
			}
		})
	}
}

func TestWireCasesAreChecked(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"unknown field":      {`[{"name": "a", "sent": "b"}]`, "unknown field"},
		"two lists":          {`[] []`, "something follows"},
		"unknown step":       {`[{"steps": [{"sends": "b"}]}]`, "unknown field"},
		"unknown repetition": {`[{"steps": [{"send": [{"repeat": "a", "time": 2}]}]}]`, "unknown field"},
		"not a byte":         {`[{"steps": [{"send": "é€"}]}]`, "U+0000 to U+00FF"},
		"too much":           {`[{"steps": [{"send": [{"repeat": "a", "times": 2000000}]}]}]`, "at most 1048576"},
	} {
		var cases []wireCase
		if err := strict([]byte(tc.text), &cases); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %s", name, err, tc.want)
		}
	}
	kept := wireAfter{"kept", "kept"}
	for want, c := range map[string]wireCase{
		"no steps":              {After: kept},
		"router \"x\"":          {Steps: []wireStep{{Send: wireBytes("a")}}, Router: "x", After: kept},
		"2 things":              {Steps: []wireStep{{Send: wireBytes("a"), Gets: wireBytes("b")}}, After: kept},
		"0 things":              {Steps: []wireStep{{}}, After: kept},
		"client \"leaves\"":     {Steps: []wireStep{{Client: "leaves"}}, After: kept},
		"ends is":               {Steps: []wireStep{{Ends: "both"}}, After: kept},
		"on is the number":      {Steps: []wireStep{{Send: wireBytes("a"), On: 1}}, After: kept},
		"after.client is \"\"":  {Steps: []wireStep{{Send: wireBytes("a")}}},
		"after.upstream is \"x": {Steps: []wireStep{{Send: wireBytes("a")}}, After: wireAfter{"kept", "x"}},
	} {
		if err := c.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	var b wireBytes
	if err := json.Unmarshal([]byte(`["a\u0000\u00ff", {"repeat": "bc", "times": 2}]`), &b); err != nil || string(b) != "a\x00\xffbcbc" {
		t.Errorf("got %q, %v", b, err)
	}
}
