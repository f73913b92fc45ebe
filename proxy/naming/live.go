package naming

import "sync"

// Var is a value that its owner sets and others watch. It implements Live; its Close does nothing, since its owner keeps it.
type Var[T any] struct {
	mu      sync.Mutex
	v       T
	state   State
	err     error
	changed chan struct{}
}

// NewVar returns a Var that is Pending.
func NewVar[T any]() *Var[T] { return &Var[T]{changed: make(chan struct{})} }

// Fixed returns a Var that is Ok and holds v.
func Fixed[T any](v T) *Var[T] {
	l := NewVar[T]()
	l.Set(v)
	return l
}

// Set makes v the value and the state Ok.
func (l *Var[T]) Set(v T) { l.update(func() { l.v, l.state, l.err = v, Ok, nil }) }

// Fail makes the state Failed and keeps the last good value.
func (l *Var[T]) Fail(err error) { l.update(func() { l.state, l.err = Failed, err }) }

// Reset makes the state Failed and forgets the last good value.
func (l *Var[T]) Reset(err error) {
	l.update(func() {
		var zero T
		l.v, l.state, l.err = zero, Failed, err
	})
}

func (l *Var[T]) update(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	close(l.changed)
	l.changed = make(chan struct{})
}

// Load implements Live.
func (l *Var[T]) Load() (T, State, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.v, l.state, l.err
}

// Changed implements Live.
func (l *Var[T]) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// Close implements Live.
func (l *Var[T]) Close() {}

// Shared is a Var with users that are counted: the last one to close ends what feeds it.
type Shared[T any] struct {
	*Var[T]
	mu      sync.Mutex
	users   int
	ended   bool
	onClose func()
}

// NewShared returns a Shared with no user yet. onLastClose is called once, when the last user closes; it must not call back
// into the Shared.
func NewShared[T any](v *Var[T], onLastClose func()) *Shared[T] {
	return &Shared[T]{Var: v, onClose: onLastClose}
}

// Acquire returns a Live for one more user, or false when the last user has closed already.
func (s *Shared[T]) Acquire() (Live[T], bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, false
	}
	s.users++
	return &share[T]{Shared: s}, true
}

// share is one user's part of a Shared.
type share[T any] struct {
	*Shared[T]
	once sync.Once
}

// Close implements Live.
func (s *share[T]) Close() {
	s.once.Do(func() {
		s.Shared.mu.Lock()
		s.users--
		last := s.users == 0
		s.ended = s.ended || last
		s.Shared.mu.Unlock()
		if last {
			s.onClose()
		}
	})
}

// Watch calls fn with the current value and again after each change, from one goroutine, until stop is called. stop waits for
// a call under way to end; it must not be called from fn.
func Watch[T any](l Live[T], fn func(v T, s State, err error)) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			changed := l.Changed()
			v, s, err := l.Load()
			fn(v, s, err)
			select {
			case <-changed:
			case <-quit:
				return
			}
		}
	}()
	var once sync.Once
	return func() {
		once.Do(func() { close(quit) })
		<-done
	}
}
