package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// mesh is what is edited: two backends behind one name by changing weights, and one of them behind another.
type mesh struct {
	file  string
	ports [2]string
}

// chosen is the backend that the name edited leads to after n edits.
func chosen(n int) int { return n % 2 }

func (m *mesh) write(n int) error {
	text := fmt.Sprintf(`apiVersion: fairlead.dev/v1alpha1
kind: Mesh
metadata: {name: soak}
spec:
  admin: {port: %d}
  routers:
  - name: outgoing
    servers: [{port: %d}]
    dtab:
    - {prefix: /svc/web, dst: "%d * /$/inet/127.0.0.1/%s & %d * /$/inet/127.0.0.1/%s"}
    - {prefix: /svc/edited, dst: /$/inet/127.0.0.1/%s}
`, admin, listen, 1+n%9, m.ports[0], 9-n%9, m.ports[1], m.ports[chosen(n)])
	next := m.file + ".next"
	return errors.Join(os.WriteFile(next, []byte(text), 0o600), os.Rename(next, m.file))
}

// edit changes the rules every second, and counts an edit that is not served before the next one is due as a failure.
func edit(ctx context.Context, c *counts, m *mesh) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			begin := time.Now()
			err := m.write(n)
			if err == nil {
				err = served(client, n, begin.Add(time.Second))
			}
			c.edit(time.Since(begin), err)
		}
	}
}

// served waits until the edit is: two requests an interval ask for the name that it moved.
func served(client *http.Client, n int, until time.Time) error {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		req, err := http.NewRequest(http.MethodGet, target(""), nil)
		if err != nil {
			return err
		}
		req.Host = "edited"
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("the edited name got %s, l5d-err %q", resp.Status, resp.Header.Get("l5d-err"))
		}
		if resp.Header.Get(headerBackend) == fmt.Sprint(chosen(n)) {
			return nil
		}
		if time.Now().After(until) {
			return errors.New("the edit was not served within a second")
		}
		<-poll.C
	}
}

func ready() error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(30 * time.Second)
	for {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/admin/ready", admin))
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Now().After(end) {
			return errors.New("the proxy did not become ready")
		}
		<-tick.C
	}
}
