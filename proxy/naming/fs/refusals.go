package fs

import (
	"hash/maphash"
	"sync"
)

// maxTold bounds the files that are remembered as told of. Beyond, some are told of again.
const maxTold = 1000

// refusals tell of files that cannot be taken, each version of a file once, however many names read it and however often.
type refusals struct {
	tell func(file string, err error)
	seed maphash.Seed

	mu   sync.Mutex // guards told
	told map[string]refusal
}

// refusal is what was said of a file, and of which text.
type refusal struct {
	text   uint64
	reason string
}

func newRefusals(tell func(file string, err error)) *refusals {
	return &refusals{tell: tell, seed: maphash.MakeSeed(), told: make(map[string]refusal)}
}

// refused tells why the text of a file is not taken. text is "" where it could not be read.
func (r *refusals) refused(file, text string, err error) {
	now := refusal{maphash.String(r.seed, text), err.Error()}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told[file] == now {
		return
	}
	if len(r.told) >= maxTold {
		clear(r.told)
	}
	r.told[file] = now
	r.tell(file, err)
}

// taken forgets what was said of a file that is good, or gone.
func (r *refusals) taken(file string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.told, file)
}
