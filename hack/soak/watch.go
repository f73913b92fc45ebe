package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	// growth is how much more memory the last quarter may take than the second, and slackBytes what is allowed beside it;
	// slackDescriptors is that of descriptors.
	growth           = 1.25
	slackBytes       = 16 << 20
	slackDescriptors = 64
	// settleTime is how long after the last request what it took may be kept: idle connections to endpoints close after 4 s.
	settleTime = 30 * time.Second
	// settleSlack is how many descriptors and goroutines may be left then, for the connection that asks.
	settleSlack = 4
)

// sample is what the proxy takes at one moment.
type sample struct {
	bytes                   int64
	names                   float64
	descriptors, goroutines int
}

func watch(ctx context.Context, pid int, duration time.Duration) ([]sample, error) {
	tick := time.NewTicker(max(duration/100, 100*time.Millisecond))
	defer tick.Stop()
	var out []sample
	for {
		select {
		case <-ctx.Done():
			return out, nil
		case <-tick.C:
			s, err := measure(pid)
			if err != nil {
				return out, err
			}
			out = append(out, s)
		}
	}
}

func measure(pid int) (s sample, err error) {
	if s.bytes, err = resident(pid); err != nil {
		return s, err
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return s, err
	}
	s.descriptors = len(open)
	var metrics map[string]float64
	body, err := ask("metrics.json?q=rt/outgoing/bindcache/path/size")
	if err = errors.Join(err, json.Unmarshal(body, &metrics)); err != nil {
		return s, err
	}
	for _, v := range metrics {
		s.names = v
	}
	if body, err = ask("debug/pprof/goroutine?debug=1"); err != nil {
		return s, err
	}
	_, err = fmt.Fscanf(bytes.NewReader(body), "goroutine profile: total %d", &s.goroutines)
	return s, err
}

// resident returns RssAnon + RssFile in bytes.
func resident(pid int) (n int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		var kb int64
		if strings.HasPrefix(line, "RssAnon:") || strings.HasPrefix(line, "RssFile:") {
			if _, err := fmt.Sscan(line[len("RssAnon:"):], &kb); err == nil {
				n += kb << 10
			}
		}
	}
	return n, err
}

func ask(page string) ([]byte, error) {
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/%s", admin, page))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	return io.ReadAll(resp.Body)
}

// settled waits until the proxy holds no more than it did at the beginning.
func settled(pid int, begin sample) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(settleTime)
	for {
		s, err := measure(pid)
		// A name that is kept has a goroutine that follows its rules.
		most := begin.goroutines + settleSlack + int(s.names-begin.names)
		if err != nil || s.descriptors <= begin.descriptors+settleSlack && s.goroutines <= most {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s after the last request: %d descriptors, %d goroutines; %d and %d before the first, and %.0f names",
				settleTime, s.descriptors, s.goroutines, begin.descriptors, begin.goroutines, s.names)
		}
		<-tick.C
	}
}

// judge compares the last quarter with the second: the first fills caches.
func judge(c *counts, samples []sample) error {
	n := len(samples)
	if n < 8 {
		return errors.New("too short to tell anything")
	}
	average := func(part []sample, of func(sample) float64) (sum float64) {
		for _, s := range part {
			sum += of(s) / float64(len(part))
		}
		return sum
	}
	both := func(of func(sample) float64) (before, after float64) {
		return average(samples[n/4:n/2], of), average(samples[3*n/4:], of)
	}
	memory, memoryAfter := both(func(s sample) float64 { return float64(s.bytes) })
	open, openAfter := both(func(s sample) float64 { return float64(s.descriptors) })
	routines, routinesAfter := both(func(s sample) float64 { return float64(s.goroutines) - s.names })
	c.print(os.Stdout)
	fmt.Printf("\nsecond quarter -> last: memory %.1f -> %.1f MB; descriptors %.0f -> %.0f; goroutines but for names %.0f -> %.0f; names kept %.0f\n",
		memory/1e6, memoryAfter/1e6, open, openAfter, routines, routinesAfter, samples[n-1].names)
	errs := []error{c.err()}
	if memoryAfter > memory*growth+slackBytes {
		errs = append(errs, fmt.Errorf("memory grew from %.0f to %.0f bytes", memory, memoryAfter))
	}
	if openAfter > open+slackDescriptors {
		errs = append(errs, fmt.Errorf("descriptors grew from %.0f to %.0f", open, openAfter))
	}
	if routinesAfter > routines+slackDescriptors {
		errs = append(errs, fmt.Errorf("goroutines grew from %.0f to %.0f", routines, routinesAfter))
	}
	return errors.Join(errs...)
}

// judgeLog looks for what the proxy should never have to say.
func judgeLog(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if text := lines.Text(); strings.Contains(text, `"level":"error"`) || strings.HasPrefix(text, "panic:") || strings.HasPrefix(text, "fatal error:") {
			return fmt.Errorf("the proxy's log says: %s", text)
		}
	}
	return lines.Err()
}
