//go:build unix

package link

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// setReceiveBuffer sets SO_RCVBUF of a socket that is not yet connected.
func setReceiveBuffer(raw syscall.RawConn, bytes int) error {
	var err error
	if controlErr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
	}); controlErr != nil {
		return controlErr
	}
	return err
}

// receiveBuffer returns SO_RCVBUF of a connection, or 0 if it has none.
func receiveBuffer(c net.Conn) int {
	conn, ok := c.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	size := 0
	if err := raw.Control(func(fd uintptr) {
		if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil {
			size = n
		}
	}); err != nil {
		return 0
	}
	return size
}

// exhausted tells whether accepting failed for want of something that comes back.
func exhausted(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOBUFS) ||
		errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ECONNABORTED)
}
