package transport

import (
	"sync"
	"sync/atomic"
)

// Sizes of the two classes of buffers. A large one holds the greatest head allowed with room for what is added to it.
const (
	SmallBuffer = 16 << 10
	LargeBuffer = 96 << 10
)

// Buffer is a pooled slice with exactly one owner at a time.
type Buffer struct {
	B    []byte
	pool *sync.Pool
}

// Buffers hands out buffers and counts those not given back.
type Buffers struct {
	small, large sync.Pool
	out          [8]paddedInt
}

type paddedInt struct {
	n atomic.Int64
	_ [56]byte
}

// NewBuffers returns an empty pool.
func NewBuffers() *Buffers {
	p := &Buffers{}
	p.small.New = func() any { return &Buffer{B: make([]byte, SmallBuffer), pool: &p.small} }
	p.large.New = func() any { return &Buffer{B: make([]byte, LargeBuffer), pool: &p.large} }
	return p
}

// Get returns a small buffer. Its bytes are arbitrary.
func (p *Buffers) Get(shard uint32) *Buffer {
	p.out[shard%uint32(len(p.out))].n.Add(1)
	return p.small.Get().(*Buffer)
}

// GetLarge returns a large buffer.
func (p *Buffers) GetLarge(shard uint32) *Buffer {
	p.out[shard%uint32(len(p.out))].n.Add(1)
	return p.large.Get().(*Buffer)
}

// Put takes a buffer back; the caller must not touch it again. nil is allowed.
func (p *Buffers) Put(shard uint32, b *Buffer) {
	if b == nil {
		return
	}
	p.out[shard%uint32(len(p.out))].n.Add(-1)
	b.pool.Put(b)
}

// Outstanding returns how many buffers have an owner: 0 when everything ended.
func (p *Buffers) Outstanding() int64 {
	var n int64
	for i := range p.out {
		n += p.out[i].n.Load()
	}
	return n
}
