package simulator

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// setNotSentLowat sets TCP_NOTSENT_LOWAT: how many bytes not yet sent a socket may
// hold before it counts as full.
func setNotSentLowat(c syscall.RawConn, bytes int) error {
	var err error
	if outer := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, bytes)
	}); outer != nil {
		return outer
	}
	if err != nil {
		return fmt.Errorf("set TCP_NOTSENT_LOWAT to %d: %w", bytes, err)
	}
	return nil
}
