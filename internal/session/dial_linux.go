package session

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// shareSourcePorts lets one source port serve connections to several servers: the kernel then chooses the port when
// it connects and not when it binds, where it knows the local half only.
func shareSourcePorts(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	if err != nil {
		return err
	}
	return failed
}
