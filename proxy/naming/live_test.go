package naming_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/fairlead/fairlead/proxy/naming"
)

func TestVar(t *testing.T) {
	v := naming.NewVar[int]()
	if _, s, _ := v.Load(); s != naming.Pending {
		t.Errorf("new: state %d", s)
	}
	broke := errors.New("broke")
	for _, c := range []struct {
		what  string
		do    func()
		value int
		state naming.State
		err   error
	}{
		{"Set", func() { v.Set(1) }, 1, naming.Ok, nil},
		{"Fail", func() { v.Fail(broke) }, 1, naming.Failed, broke},
		{"Set again", func() { v.Set(2) }, 2, naming.Ok, nil},
		{"Reset", func() { v.Reset(broke) }, 0, naming.Failed, broke},
	} {
		changed := v.Changed()
		c.do()
		select {
		case <-changed:
		default:
			t.Errorf("%s told nobody", c.what)
		}
		if value, s, err := v.Load(); value != c.value || s != c.state || !errors.Is(err, c.err) {
			t.Errorf("%s: %d, state %d, error %v", c.what, value, s, err)
		}
	}
}

func TestSharedEndsWithItsLastUser(t *testing.T) {
	ended := 0
	s := naming.NewShared(naming.Fixed(1), func() { ended++ })
	a, _ := s.Acquire()
	b, _ := s.Acquire()
	a.Close()
	a.Close() // counts once
	if ended != 0 {
		t.Error("ended while a user was left")
	}
	b.Close()
	if _, ok := s.Acquire(); ok || ended != 1 {
		t.Errorf("after the last close: acquired %v, ended %d times", ok, ended)
	}
}

// Watch misses no last value, and its function does not run once stop returned.
func TestWatch(t *testing.T) {
	v := naming.NewVar[int]()
	last, stopped := 0, false
	reached := make(chan struct{})
	stop := naming.Watch(v, func(n int, _ naming.State, _ error) {
		if stopped {
			t.Error("called after stop")
		}
		if last = n; n == 1000 {
			close(reached)
		}
	})
	for i := range 1000 {
		v.Set(i + 1)
	}
	<-reached
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(stop)
	}
	wait.Wait()
	stopped = true
	v.Set(1001)
	if last != 1000 {
		t.Errorf("last seen %d", last)
	}
}
