// Package fs is the io.l5d.fs namer: a folder with one file per name, each line a host, a port and perhaps a weight.
package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
)

const (
	// PollInterval is how often files that cannot be watched are read again, and those of names beside which something changed.
	PollInterval = 250 * time.Millisecond
	// SafetyInterval is how often all are: reading sees renames, links and any file system alike.
	SafetyInterval = 2 * time.Second
	// settleTime is how long after an event files are read: whoever makes a file writes it right after.
	settleTime = 20 * time.Millisecond
	// MaxFileBytes bounds one file.
	MaxFileBytes = 1 << 20
	// MaxEndpoints bounds the lines of one file that name an endpoint.
	MaxEndpoints = 10_000
	// MaxHosts bounds the host names of one file that DNS is asked for.
	MaxHosts = 1000
)

// Namer answers /<file>[/residual] below its prefix: subdirectories nest, a folder or a missing file is Neg, an empty file is
// bound without endpoints, and a bad line keeps the endpoints of before.
type Namer struct {
	prefix   dtab.Path
	root     string
	dns      *dns.Resolver
	refusals *refusals
	// interval is PollInterval, or longer in tests.
	interval time.Duration
	watcher  *watcher

	mu    sync.Mutex // guards names
	names map[string]*entry

	cancel context.CancelFunc
	done   chan struct{}
}

// entry is one path in use: the name as asked for, and what its file last said.
type entry struct {
	path   dtab.Path
	shared *naming.Shared[naming.Tree]
	tree   *naming.Var[naming.Tree]
	// watches are those of the watcher, with the element that matters in each.
	watches map[int32]string
	// polled is set while the name cannot be watched, or its file not be read.
	polled atomic.Bool

	mu     sync.Mutex // guards what follows; the file is read under it
	closed bool
	file   string
	addrs  *dns.Endpoints
	text   string
	failed string
	// refused is the file that failed is about.
	refused string
}

// Options of a Namer. All are required.
type Options struct {
	// Resolver resolves the host names in files.
	Resolver *dns.Resolver
	// OnRefusal is called once for each version of a file that is not taken; err has its line, and what was expected. It must not call
	// back into the Namer.
	OnRefusal func(file string, err error)
}

// New returns the namer of a folder. Close ends its watches.
func New(prefix dtab.Path, root string, o Options) *Namer {
	return newNamer(prefix, root, o, newWatcher(true), PollInterval)
}

func newNamer(prefix dtab.Path, root string, o Options, w *watcher, interval time.Duration) *Namer {
	ctx, cancel := context.WithCancel(context.Background())
	n := &Namer{
		prefix: prefix, root: root, dns: o.Resolver, refusals: newRefusals(o.OnRefusal), watcher: w, interval: interval,
		names: make(map[string]*entry), cancel: cancel, done: make(chan struct{}),
	}
	go n.poll(ctx)
	return n
}

// Close ends the watches and the polling, and waits for that. Names already given out no longer change.
func (n *Namer) Close() {
	n.cancel()
	<-n.done
	n.watcher.close()
}

// Lookup implements naming.Namer.
func (n *Namer) Lookup(p dtab.Path) naming.Live[naming.Tree] {
	key := p.String()
	n.mu.Lock()
	if e := n.names[key]; e != nil {
		if live, ok := e.shared.Acquire(); ok {
			n.mu.Unlock()
			return live
		}
	}
	e := &entry{path: p, tree: naming.NewVar[naming.Tree]()}
	e.shared = naming.NewShared(e.tree, func() {
		n.mu.Lock()
		if n.names[key] == e {
			delete(n.names, key)
		}
		n.mu.Unlock()
		e.close()
		n.watcher.forget(e)
	})
	n.names[key] = e
	live, _ := e.shared.Acquire()
	n.mu.Unlock()
	n.read(e)
	return live
}

func (n *Namer) poll(ctx context.Context) {
	defer close(n.done)
	tick := time.NewTicker(n.interval)
	defer tick.Stop()
	var settled <-chan time.Time
	for polls := 1; ; {
		var entries []*entry
		select {
		case <-ctx.Done():
			return
		case <-n.watcher.woken:
			if settled == nil {
				settled = time.After(settleTime) //nolint:forbidigo // it fires in milliseconds, and is waited for
			}
			continue
		case <-settled:
			settled = nil
			entries = n.watcher.take(false)
		case <-tick.C:
			entries = append(n.watcher.take(true), n.inUse(polls%int(SafetyInterval/PollInterval) != 0)...)
			polls++
		}
		for _, e := range entries {
			if ctx.Err() != nil {
				return
			}
			n.read(e)
		}
	}
}

// inUse returns the names in use, or of them those that must be polled. Files are read outside the lock: a slow disk keeps no other name
// waiting.
func (n *Namer) inUse(polled bool) (out []*entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.names {
		if !polled || e.polled.Load() {
			out = append(out, e)
		}
	}
	return out
}

// read brings an entry up to date with its file.
func (n *Namer) read(e *entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	followed := n.watcher.follow(e, n.root) // before it is read, so that no change is between
	file, used, text, err := n.find(e.path)
	// What cannot be read, for want of descriptors say, can be later without a change that is told.
	e.polled.Store(!followed || err != nil)
	if err == nil && e.refused != "" && e.refused != file {
		n.settled(e)
	}
	if err == nil && file == "" {
		if _, state, _ := e.tree.Load(); state != naming.Ok || e.file != "" {
			e.unbind()
			e.tree.Set(naming.Neg())
		}
		return
	}
	if err == nil && file == e.file && text == e.text && e.failed == "" {
		return
	}
	var targets []dns.Target
	if err == nil {
		targets, err = parse(file, text)
	}
	if err != nil {
		e.refused = file
		n.refusals.refused(file, text, err)
		e.fail(err)
		return
	}
	n.settled(e)
	mended := e.failed != ""
	e.failed, e.text = "", text
	if e.file == file && !mended {
		e.addrs.Follow(targets)
		return
	}
	if e.file != file {
		e.unbind()
		e.file, e.text, e.addrs = file, text, n.dns.Endpoints()
	}
	e.addrs.Follow(targets)
	e.tree.Set(naming.BoundLeaf(&naming.Bound{
		ID: n.prefix.Append(e.path[:used]...), Residual: e.path[used:], Addrs: e.addrs,
	}))
}

// settled forgets that the file of an entry was refused: it is good, or gone.
func (n *Namer) settled(e *entry) {
	if e.refused != "" {
		n.refusals.taken(e.refused)
		e.refused = ""
	}
}

// fail keeps what was there and says why, once for each reason.
func (e *entry) fail(err error) {
	if e.failed == err.Error() {
		return
	}
	e.failed = err.Error()
	if e.addrs != nil {
		e.addrs.Fail(err)
	}
	e.tree.Fail(err)
}

func (e *entry) unbind() {
	if e.addrs != nil {
		e.addrs.End()
	}
	e.file, e.addrs, e.text, e.failed = "", nil, "", ""
}

func (e *entry) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	e.unbind()
}

// find returns the file a path names, the number of elements it used and its text; file is "" where there is none. With an error it is
// what the error is about.
func (n *Namer) find(p dtab.Path) (file string, used int, text string, err error) {
	dir := n.root
	for i, part := range p {
		if !isPlain(part) {
			return "", 0, "", nil
		}
		dir = filepath.Join(dir, part)
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, iofs.ErrNotExist):
			return "", 0, "", nil
		case err != nil:
			return dir, 0, "", err
		case info.IsDir():
			continue
		case !info.Mode().IsRegular():
			return dir, 0, "", fmt.Errorf("%s: expected a regular file", dir)
		}
		text, err := readFile(dir)
		if errors.Is(err, iofs.ErrNotExist) {
			return "", 0, "", nil
		}
		return dir, i + 1, text, err
	}
	return "", 0, "", nil
}

func readFile(name string) (string, error) {
	// Not blocking, for the case that a pipe took the file's place since it was looked at.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // read only
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s: expected a regular file", name)
	}
	text, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err == nil && len(text) > MaxFileBytes {
		err = fmt.Errorf("%s: longer than %d bytes", name, MaxFileBytes)
	}
	return string(text), err
}
