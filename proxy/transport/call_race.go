//go:build race

package transport

import "syscall"

// The race detector must see these calls: what one side did before it wrote happens before what the other does once it has read.

func read(fd uintptr, p []byte) (int, syscall.Errno)  { return retried(syscall.Read, fd, p) }
func write(fd uintptr, p []byte) (int, syscall.Errno) { return retried(syscall.Write, fd, p) }

func retried(call func(int, []byte) (int, error), fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, err := call(int(fd), p)
		if errno, _ := err.(syscall.Errno); errno != syscall.EINTR { //nolint:errorlint // a system call returns the number itself
			return n, errno
		}
	}
}
