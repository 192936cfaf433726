package simulator

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// limitWriteAhead bounds what the kernel takes ahead of the network on a socket.
// Accepted sockets inherit both options from the one that listens.
func limitWriteAhead(notSentLowat, sendBuffer int) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		outer := c.Control(func(fd uintptr) {
			if notSentLowat > 0 {
				if err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowat); err != nil {
					err = fmt.Errorf("set TCP_NOTSENT_LOWAT to %d: %w", notSentLowat, err)
					return
				}
			}
			if sendBuffer > 0 {
				if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer); err != nil {
					err = fmt.Errorf("set SO_SNDBUF to %d: %w", sendBuffer, err)
				}
			}
		})
		if outer != nil {
			return outer
		}
		return err
	}
}
