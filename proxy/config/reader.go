package config

import (
	"hash/maphash"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/pace"
)

// Reader reads one file again and again. Dtab documents whose text did not change, below a Mesh that did not, are not read and accepted
// anew: an edit of one rule of many costs what its document costs. It gives what DecodeConfig gives.
type Reader struct {
	name string
	env  Environment

	// known is what the last good reading came to, by the text of the documents. mesh is the text of its Mesh.
	known map[digest]knownDtab
	mesh  digest
}

// digest tells texts apart within this process.
type digest struct {
	hash   uint64
	length int
}

var seed = maphash.MakeSeed()

func digestOf(text []byte) digest { return digest{maphash.Bytes(seed, text), len(text)} }

type knownDtab struct {
	object   *v1alpha1.Dtab
	accepted *Dtab
}

// NewReader returns a Reader of the file that errors call name.
func NewReader(name string, env Environment) *Reader { return &Reader{name: name, env: env} }

// Read is DecodeConfig for the text that the file has now. Nothing of data is kept.
func (r *Reader) Read(data []byte) (*Config, *Error) {
	docs := r.documents()
	cfg, err := docs.config(docs.decode(data))
	if cfg != nil {
		r.remember(docs, cfg)
	}
	return cfg, err
}

// documents returns what to decode into, with what is known. Each known document is taken once: of two with the same text the second is
// read, so that each has its place in the file.
func (r *Reader) documents() *Documents {
	docs := &Documents{name: r.name, env: r.env, sources: map[any]chunk{}, reused: map[*v1alpha1.Dtab]*Dtab{}}
	taken := make(map[digest]bool)
	docs.reuse = func(chunks []chunk) func(chunk) bool {
		sums := make(map[*byte]digest, len(chunks))
		sameMesh := false
		var p pace.Pace
		for _, c := range chunks {
			p.Step()
			sum := digestOf(c.text)
			sums[&c.text[0]] = sum
			sameMesh = sameMesh || sum == r.mesh
		}
		return func(c chunk) bool {
			sum := sums[&c.text[0]]
			k, ok := r.known[sum]
			if !ok || !sameMesh || taken[sum] {
				return false
			}
			taken[sum] = true
			docs.Dtabs = append(docs.Dtabs, k.object)
			docs.sources[k.object] = c
			docs.reused[k.object] = k.accepted
			return true
		}
	}
	return docs
}

func (r *Reader) remember(docs *Documents, cfg *Config) {
	accepted := make(map[string]*Dtab, len(cfg.Dtabs))
	for _, d := range cfg.Dtabs {
		accepted[d.Namespace+"/"+d.Name] = d
	}
	r.mesh = digestOf(docs.sources[docs.Meshes[0]].text)
	r.known = make(map[digest]knownDtab, len(docs.Dtabs))
	var p pace.Pace
	for _, t := range docs.Dtabs {
		p.Step()
		if a := accepted[t.Namespace+"/"+t.Name]; a != nil {
			r.known[digestOf(docs.sources[t].text)] = knownDtab{t, a}
		}
	}
}
