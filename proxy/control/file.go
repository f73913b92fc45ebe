package control

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/pace"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

const (
	// maxFileBytes bounds a configuration file; 250,000 dentries take about 30 MB.
	maxFileBytes = 64 << 20
	// defaultInterval is how often a file is looked at.
	defaultInterval = 200 * time.Millisecond
	// settle is how long a file must stay as it is before it counts: an editor that writes in place shows half a file first.
	settle = 50 * time.Millisecond
	// racy is how young a file's time stamp must be to distrust it: two writes within one tick of the file system's clock look
	// alike.
	racy = 2 * time.Second
	// pieceBytes is how much is read and hashed at a time.
	pieceBytes = 64 << 10
	// retryPolls is after how many polls a good file that could not be applied is tried again: what was in the way, such as another
	// process on its port, may have gone.
	retryPolls = 25
)

// FileOptions of a File.
type FileOptions struct {
	// Path of the YAML stream. It may be a symbolic link, and may be replaced.
	Path  string
	Env   config.Environment
	Apply Apply
	Log   logr.Logger
	// Scope gets the counters reloads and reload_failures, and the gauge config_refused: 1 while the file is not what is served.
	Scope telemetry.Scope
	// Interval is 200 ms unless given.
	Interval time.Duration
}

// File serves from a file and follows its changes. The last good state is in memory alone: at start a bad file is an error.
type File struct {
	opts     FileOptions
	reader   *config.Reader
	reloads  *telemetry.Counter
	failures *telemetry.Counter
	refused  *telemetry.Gauge

	// seen is what the file looked like when it was last read; sum is the hash of what was last given to load.
	seen stamp
	sum  uint64
	// text is what the file holds, in memory that the next reading uses again: to take as much anew takes long for a large file, and is
	// where everything waits.
	text []byte
	// retryIn counts the polls down to the next try of a file that could not be applied; 0 when there is none to come.
	retryIn int
	// again is true while content that could not be applied is tried another time: the same error is then old news.
	again bool

	mu     sync.Mutex
	served *config.Config
	err    error
}

// stamp is what tells a changed file from an unchanged one without reading it.
type stamp struct {
	info os.FileInfo
	err  string
	read time.Time
}

// NewFile returns a File that does nothing until Run.
func NewFile(o FileOptions) *File {
	if o.Interval == 0 {
		o.Interval = defaultInterval
	}
	return &File{
		opts: o, reader: config.NewReader(o.Path, o.Env), reloads: o.Scope.Counter("reloads"), failures: o.Scope.Counter("reload_failures"),
		refused: o.Scope.Gauge("config_refused"),
	}
}

// Run serves the file, and then every good change of it, until ctx is done. It returns an error when the file cannot be served at
// the start: a *config.Error names file, line and column.
func (f *File) Run(ctx context.Context) error {
	data, sum, err := f.read()
	if err != nil {
		return err
	}
	f.sum = sum
	if err := f.load(ctx, data); err != nil {
		return err
	}
	tick := time.NewTicker(f.opts.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			f.poll(ctx)
		}
	}
}

// Ready returns nil once a configuration is served.
func (f *File) Ready() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.served == nil {
		return errors.New("waiting for the first configuration")
	}
	return nil
}

// Served returns what is served, or nil.
func (f *File) Served() *config.Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.served
}

// LastError returns why the file as it is now is not what is served, or nil.
func (f *File) LastError() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// poll looks at the file once. Each content is tried once, but for one that could not be applied.
func (f *File) poll(ctx context.Context) {
	again := f.retryIn == 1
	f.retryIn = max(f.retryIn-1, 0)
	if !f.touched() && !again {
		return
	}
	data, sum, err := f.settled(ctx, again || f.seen.err != "")
	if err != nil {
		if ctx.Err() == nil && err.Error() != f.seen.err {
			f.seen.err = err.Error()
			f.record(nil, err)
		}
		return
	}
	if sum == f.sum && f.seen.err == "" && !again {
		return
	}
	f.again = again && sum == f.sum
	f.seen.err, f.sum = "", sum
	_ = f.load(ctx, data) // recorded and logged there
}

// touched reports whether the file may have changed since it was read.
func (f *File) touched() bool {
	now, err := os.Stat(f.opts.Path)
	old := f.seen
	if err != nil || old.info == nil {
		return true
	}
	return !os.SameFile(now, old.info) || !now.ModTime().Equal(old.info.ModTime()) || now.Size() != old.info.Size() ||
		old.read.Sub(now.ModTime()) < racy
}

// settled returns what the file holds and its hash, once it stays the same for a moment; at once where that is what was last given to load,
// unless it is needed again. A file that is written all the time is tried at the next poll.
func (f *File) settled(ctx context.Context, needed bool) (data []byte, sum uint64, err error) {
	if data, sum, err = f.read(); err != nil || sum == f.sum && !needed {
		return data, sum, err
	}
	pause := time.NewTimer(settle)
	defer pause.Stop()
	for range 20 {
		select {
		case <-ctx.Done():
			return nil, sum, ctx.Err()
		case <-pause.C:
			pause.Reset(settle)
		}
		before := sum
		if data, sum, err = f.read(); err != nil || sum == before {
			return data, sum, err
		}
	}
	return nil, sum, fmt.Errorf("%s: keeps changing while it is read", f.opts.Path)
}

// seed makes hashes of this process that nobody can make collide who writes a file.
var seed = maphash.MakeSeed()

// read returns what the file holds, until the next read, and its hash. It notes what the file looked like.
func (f *File) read() (data []byte, sum uint64, err error) {
	now := time.Now()
	file, err := os.Open(f.opts.Path)
	if err != nil {
		f.seen.info = nil
		return nil, 0, fmt.Errorf("configuration: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	info, err := file.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("configuration: %w", err)
	}
	if size := int(min(info.Size(), maxFileBytes)); cap(f.text) <= size {
		f.text = make([]byte, 0, size+size/16+1) // room for what an edit adds, and to see the end
	}
	if sum, err = f.readAll(file); err != nil {
		return nil, 0, fmt.Errorf("configuration: %w", err)
	}
	if len(f.text) > maxFileBytes {
		return nil, 0, fmt.Errorf("configuration: %s: more than %d bytes", f.opts.Path, maxFileBytes)
	}
	f.seen.info, f.seen.read = info, now
	return f.text, sum, nil
}

// readAll reads into f.text up to the end, or beyond maxFileBytes, and returns the hash.
func (f *File) readAll(from io.Reader) (sum uint64, err error) {
	var hash maphash.Hash
	hash.SetSeed(seed)
	var p pace.Pace
	for f.text = f.text[:0]; len(f.text) <= maxFileBytes; {
		p.Step()
		f.text = slices.Grow(f.text, 1)
		begin := len(f.text)
		n, err := from.Read(f.text[begin:min(cap(f.text), begin+pieceBytes)])
		f.text = f.text[:begin+n]
		_, _ = hash.Write(f.text[begin:]) // never fails
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	return hash.Sum64(), nil
}

// load decodes, validates and applies.
func (f *File) load(ctx context.Context, data []byte) error {
	f.retryIn = 0
	cfg, bad := f.reader.Read(data)
	if bad != nil {
		f.record(nil, bad)
		return bad
	}
	if err := f.opts.Apply(ctx, cfg); err != nil {
		if ctx.Err() != nil {
			return err // not the file's fault
		}
		f.retryIn = retryPolls
		f.record(nil, err)
		return err
	}
	f.record(cfg, nil)
	return nil
}

// record keeps what came of a change. The first error of all is returned by Run, and not logged too.
func (f *File) record(cfg *config.Config, err error) {
	f.mu.Lock()
	before, wrong := f.served, f.err != nil
	known := f.again && f.err != nil && err != nil && f.err.Error() == err.Error()
	f.err = err
	if err == nil {
		f.served = cfg
	}
	f.mu.Unlock()
	if err == nil {
		f.reloads.Incr(0)
		f.refused.Set(0)
		if wrong || !same(cfg, before) {
			f.opts.Log.Info("Configuration served", "path", f.opts.Path, "mesh", cfg.Mesh.Name, "dtabRevision", cfg.Revision, "dtabs", len(cfg.Dtabs))
		}
		return
	}
	f.failures.Incr(0)
	f.refused.Set(1)
	if before != nil && !known {
		f.opts.Log.Error(err, "Configuration refused, the one before is still served", "path", f.opts.Path)
	}
}
