//go:build !race

package transport

import (
	"syscall"
	"unsafe"
)

// The system calls that move bytes are made without a word to Go's scheduler. What they are for never blocks, and on one processor a
// scheduler that hears of a call takes the processor away from whoever is in it for 20 us: its monitor then never rests, and threads
// change places many hundred times a second.

// read is read(2), made again while signals interrupt it.
func read(fd uintptr, p []byte) (int, syscall.Errno) { return call(syscall.SYS_READ, fd, p) }

// write is write(2), made again while signals interrupt it.
func write(fd uintptr, p []byte) (int, syscall.Errno) { return call(syscall.SYS_WRITE, fd, p) }

func call(number, fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}
