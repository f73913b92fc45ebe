// Package handover lets a process be replaced by another one that goes on with its listening sockets: a hot upgrade.
//
// The old process starts the new one with the sockets as inherited descriptors and an environment variable that names each by its address.
// Both have the same open sockets, so connections that wait to be accepted wait for either. The new process says that it serves through an
// inherited pipe; whatever else becomes of it, the old one goes on. The package knows neither what is served nor how it ends.
package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Variable is the environment variable in which the new process finds a JSON object: `sockets`, the descriptor of each listening socket by
// its address as the configuration has it (IP:PORT); `ready`, that of the pipe it writes to once it serves; `upgrades` and `failures`, how
// many there were so far. Unknown keys mean nothing, so that either process may be the newer one.
const Variable = "FAIRLEAD_HANDOVER"

// word is what the new process writes to the pipe.
const word = "ready\n"

// message is what Variable holds.
type message struct {
	Sockets  map[string]int `json:"sockets"`
	Ready    int            `json:"ready"`
	Upgrades int            `json:"upgrades"`
	Failures int            `json:"failures"`
}

// Inherited is what a process was given by the one it is to replace. That of a process that replaces none is nil, which is empty.
type Inherited struct {
	// Upgrades were done before, with this one; Failures were tried in vain.
	Upgrades, Failures int

	mu      sync.Mutex // guards what follows
	sockets map[string]*net.TCPListener
	ready   *os.File
}

// Take takes over what Variable tells of, and removes it from the environment. It returns nil where there is nothing, and an error where a
// descriptor is not what it should be. Call it once, at the start.
func Take() (*Inherited, error) {
	text, ok := os.LookupEnv(Variable)
	if !ok {
		return nil, nil
	}
	if err := os.Unsetenv(Variable); err != nil {
		return nil, fmt.Errorf("%s: %w", Variable, err)
	}
	var m message
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return nil, fmt.Errorf("%s: %w", Variable, err)
	}
	i := &Inherited{Upgrades: m.Upgrades, Failures: m.Failures, sockets: make(map[string]*net.TCPListener, len(m.Sockets))}
	for addr, fd := range m.Sockets {
		l, err := listener(fd)
		if err != nil {
			i.close()
			return nil, fmt.Errorf("%s: %s: descriptor %d: %w", Variable, addr, fd, err)
		}
		i.sockets[addr] = l
	}
	if _, err := unix.FcntlInt(uintptr(m.Ready), unix.F_GETFD, 0); m.Ready <= 2 || err != nil {
		i.close()
		return nil, fmt.Errorf("%s: ready: descriptor %d is not that of a pipe", Variable, m.Ready)
	}
	unix.CloseOnExec(m.Ready)
	i.ready = os.NewFile(uintptr(m.Ready), "ready")
	return i, nil
}

// listener makes one of an inherited descriptor, which it closes. It leaves the socket as it is: that it does not block is a property of
// the socket, not of the descriptor, and the old process is accepting.
func listener(fd int) (*net.TCPListener, error) {
	if fd <= 2 {
		return nil, errors.New("not a listening TCP socket")
	}
	file := os.NewFile(uintptr(fd), "listener")
	if file == nil {
		return nil, unix.EBADF
	}
	defer file.Close() //nolint:errcheck // the listener has its own
	if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil {
		return nil, err
	} else if on == 0 {
		return nil, errors.New("not a listening TCP socket")
	}
	l, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(errors.New("not a listening TCP socket"), l.Close())
	}
	return tcp, nil
}

// Listener returns the socket of an address, IP:PORT as the configuration has it, which the caller then owns; nil where there is none.
func (i *Inherited) Listener(addr string) *net.TCPListener {
	if i == nil {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	l := i.sockets[addr]
	delete(i.sockets, addr)
	return l
}

// Ready tells the old process that this one serves, and closes the sockets that nobody asked for: their addresses are not served any more.
// Calls after the first do nothing.
func (i *Inherited) Ready() error {
	if i == nil {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ready == nil {
		return nil
	}
	_, err := i.ready.WriteString(word)
	i.close()
	if err != nil {
		return fmt.Errorf("telling the old process that this one is ready: %w", err)
	}
	return nil
}

// close closes all that is left. i.mu is held, or nobody else has i.
func (i *Inherited) close() {
	for _, l := range i.sockets {
		_ = l.Close() // it was not used
	}
	clear(i.sockets)
	if i.ready != nil {
		_ = i.ready.Close() // what was to be written is
		i.ready = nil
	}
}
