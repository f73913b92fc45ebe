package fs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/proxy/dtab"
)

// events are those that may change what a name leads to. Writing itself is none, but its end is: a file is not to be read half written.
const events = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CREATE | unix.IN_DELETE |
	unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ATTRIB

// watcher tells which names may have changed, by inotify: it watches the folders on the way to the file of a name, and the file. Where
// it cannot, names are polled.
type watcher struct {
	// woken tells that due is not empty.
	woken chan struct{}
	done  chan struct{}

	// life is held while fd is used: once closed, it may be the number of another file.
	life sync.RWMutex
	file *os.File // nil without inotify, and once closed
	fd   int

	mu sync.Mutex // guards what follows, and entry.watches
	// watched has for each watch the names it is for, with the element that matters to them; "" is any.
	watched map[int32]map[*entry]string
	// ended counts watches that were removed, or went with what they were of.
	ended uint64
	// due are to be read now. soon are to be read at the next poll: something changed beside them, which may be what a link of theirs
	// leads by.
	due, soon map[*entry]struct{}
}

func newWatcher(inotify bool) *watcher {
	w := &watcher{
		woken: make(chan struct{}, 1), done: make(chan struct{}), watched: make(map[int32]map[*entry]string),
		due: make(map[*entry]struct{}), soon: make(map[*entry]struct{}),
	}
	if inotify {
		if fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err == nil {
			w.fd, w.file = fd, os.NewFile(uintptr(fd), "inotify")
		}
	}
	if w.file == nil {
		close(w.done)
	} else {
		go w.run(w.file)
	}
	return w
}

// close ends all watches.
func (w *watcher) close() {
	w.life.Lock()
	if w.file != nil {
		_ = w.file.Close() // ends run
		w.file = nil
	}
	w.life.Unlock()
	<-w.done
}

// maxFollows bounds how often watches are made anew because others ended meanwhile. Beyond, the name is polled for the moment.
const maxFollows = 8

// follow watches what e depends on, and reports whether that is possible. What happens after it returns is told.
func (w *watcher) follow(e *entry, root string) (ok bool) {
	w.life.RLock()
	defer w.life.RUnlock()
	if w.file == nil {
		return false
	}
	for range maxFollows {
		w.mu.Lock()
		ended := w.ended
		w.mu.Unlock()
		// The disk may be slow, so no lock is held. A watch that another name has too may end until this one is known to need it.
		watches, possible := w.add(e.path, root)
		w.mu.Lock()
		alive := w.ended == ended
		w.keep(e, watches)
		w.mu.Unlock()
		if alive {
			return possible
		}
	}
	return false
}

// add makes the watches of a path, with the element that matters in each, and reports whether they are all it needs.
func (w *watcher) add(path dtab.Path, root string) (watches map[int32]string, ok bool) {
	watches = make(map[int32]string)
	at := root
	for i := 0; ; i++ {
		wd, err := unix.InotifyAddWatch(w.fd, at, events)
		if err != nil {
			// Where the path ends the folder before tells when it goes on. The root has none.
			return watches, i > 0 && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR))
		}
		if i == len(path) || !isPlain(path[i]) {
			watches[int32(wd)] = ""
			return watches, true
		}
		watches[int32(wd)] = path[i]
		at = filepath.Join(at, path[i])
	}
}

// keep makes these the watches of e. life and mu are held.
func (w *watcher) keep(e *entry, watches map[int32]string) {
	old := e.watches
	e.watches = watches
	for wd, element := range watches {
		if w.watched[wd] == nil {
			w.watched[wd] = make(map[*entry]string)
		}
		w.watched[wd][e] = element
	}
	w.release(e, old)
}

// forget ends the watches of e.
func (w *watcher) forget(e *entry) {
	w.life.RLock()
	defer w.life.RUnlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keep(e, nil)
	delete(w.due, e)
	delete(w.soon, e)
}

// release ends those of the watches that e does not have any more. life and mu are held.
func (w *watcher) release(e *entry, watches map[int32]string) {
	for wd := range watches {
		if _, stays := e.watches[wd]; stays {
			continue
		}
		delete(w.watched[wd], e)
		if len(w.watched[wd]) == 0 {
			delete(w.watched, wd)
			if w.file != nil {
				if _, err := unix.InotifyRmWatch(w.fd, uint32(wd)); err == nil { // else it is gone already, as what it was of
					w.ended++
				}
			}
		}
	}
}

// take returns the names to be read, those that wait for a poll among them where it is one.
func (w *watcher) take(poll bool) []*entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := slices.Collect(maps.Keys(w.due))
	clear(w.due)
	if poll {
		out = append(out, slices.Collect(maps.Keys(w.soon))...)
		clear(w.soon)
	}
	return out
}

const eventBytes = 64 << 10

// run reads events until the file is closed.
func (w *watcher) run(file *os.File) {
	defer close(w.done)
	buffer := make([]byte, eventBytes)
	for {
		n, err := file.Read(buffer)
		if err != nil {
			return
		}
		for b := buffer[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd, mask := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:])
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			element, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:min(end, len(b))], []byte{0})
			w.happened(wd, mask, string(element))
			b = b[min(end, len(b)):]
		}
		w.mu.Lock()
		due := len(w.due) > 0
		w.mu.Unlock()
		if due {
			select {
			case w.woken <- struct{}{}:
			default: // it is told already
			}
		}
	}
}

// happened takes one event. element is what it is about in the folder that is watched, or "".
func (w *watcher) happened(wd int32, mask uint32, element string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if mask&unix.IN_Q_OVERFLOW != 0 {
		for _, names := range w.watched {
			for e := range names {
				w.due[e] = struct{}{}
			}
		}
		return
	}
	for e, matters := range w.watched[wd] {
		if element == "" || element == matters {
			w.due[e] = struct{}{}
		} else {
			w.soon[e] = struct{}{}
		}
	}
	if mask&unix.IN_IGNORED != 0 {
		w.ended++
		delete(w.watched, wd) // those it was for are due, and will watch anew
	}
}

// isPlain reports whether a file may have the name: elements are bytes that a request may have chosen, so that only plain file names are
// looked for, and no hidden ones.
func isPlain(element string) bool {
	return element != "" && element[0] != '.' && len(element) <= 255 && !strings.ContainsAny(element, "/\x00")
}
