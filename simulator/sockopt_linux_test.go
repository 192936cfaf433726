package simulator

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWriteAhead checks that the options arrive at the sockets of clients.
func TestWriteAhead(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := limitWriteAhead(c, 16384, 8192); err != nil {
		t.Fatal(err)
	}
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var lowat, sndbuf int
	if err := raw.Control(func(fd uintptr) {
		lowat, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT)
		sndbuf, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
	}); err != nil {
		t.Fatal(err)
	}
	if lowat != 16384 || sndbuf != 2*8192 { // the kernel doubles the second for its own needs
		t.Errorf("TCP_NOTSENT_LOWAT %d, SO_SNDBUF %d: want 16384 and 16384", lowat, sndbuf)
	}
}
